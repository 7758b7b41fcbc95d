"""The figures that the project set itself, and the table that says which of them are met."""

from __future__ import annotations

import math
import operator
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

BENCH, PEERS, SOAK = "make bench", "make bench-peers", "make bench-soak"
_HOLDS = {">=": operator.ge, "<=": operator.le, "<": operator.lt, "=": operator.eq}

Measured = Mapping[str, Sequence[float]]
"""By the key of a figure: what the rounds gave."""


@dataclass(frozen=True)
class Figure:
    """One row: `must` is ">= 0.85", or empty where the figure is only stated."""

    what: str
    must: str
    command: str
    unit: str = ""

    def met(self, values: Sequence[float]) -> str:
        if not self.must:
            return "stated"
        sign, limit = self.must.split()
        return "yes" if _HOLDS[sign](statistics.median(values), float(limit)) else "NO"


def _predict() -> dict[str, Figure]:
    figures = {}
    for model, rate, cpu in (("logistic", ">= 0.85", "<= 1.25"), ("forest", ">= 0.80", "")):
        at = f"{model}, 64 callers:"
        figures[f"rate {model}"] = Figure(f"{at} calls/s / echo", rate, BENCH)
        figures[f"cpu {model}"] = Figure(f"{at} server CPU a call / echo", cpu, BENCH)
        what = f"{model}, 64 callers, transport aio: calls/s / echo"
        figures[f"rate aio {model}"] = Figure(what, "", BENCH)
        for arriving in (1000, 2000, 4000):
            what = f"{model}, {arriving:,} calls/s arriving: p99 / echo"
            figures[f"p99 {model} {arriving}"] = Figure(what, "<= 1", BENCH)
    for model in ("logistic", "forest"):
        what = f"{model}, 1 caller: p50 / grpcio + sklearn by hand"
        figures[f"p50 handwritten {model}"] = Figure(what, "< 1", BENCH)
    return figures


def _throughput() -> dict[str, Figure]:
    return {
        f"{way} {base} {model}": Figure(f"{model}: rows/s, {title} / sklearn {over}", "", BENCH)
        for model in ("logistic", "forest")
        for way, title in (("stream", "PredictStream"), ("rows", "256-row calls"))
        for base, over in (("loop", "row by row"), ("batch", "256 at once"))
    }


def _many_models() -> dict[str, Figure]:
    rows = {
        "start": ("start to first answer", "<= 1.2"),
        "list": ("List page, p50", "<= 1.2"),
        "predict": ("Predict, p50", "<= 1.2"),
        "memory": ("memory after load", ""),
    }
    return {
        f"many {key}": Figure(f"1,000 models / 10: {title}", must, BENCH)
        for key, (title, must) in rows.items()
    }


def _peers() -> dict[str, Figure]:
    figures = {}
    for model, mlserver in (("logistic", ">= 4"), ("forest", ">= 8")):
        at = f"{model}, 64 callers: calls/s /"
        figures[f"rate mlserver {model}"] = Figure(f"{at} MLServer's best", mlserver, PEERS)
        figures[f"rate pytriton {model}"] = Figure(f"{at} PyTriton, batching", ">= 2", PEERS)
    what = "forest on a worker, 64 callers: calls/s / PyTriton, batching"
    figures["rate pytriton worker"] = Figure(what, ">= 1.5", PEERS)
    for model in ("logistic", "forest"):
        what = f"{model}, 1 caller: p50 / MLServer's best"
        figures[f"p50 mlserver {model}"] = Figure(what, "<= 0.5", PEERS)
    for when, title in (("idle", "idle"), ("loaded", "after load")):
        what = f"memory (PSS), both models, {title} / MLServer, default"
        figures[f"memory mlserver {when}"] = Figure(what, "< 1", PEERS)
    return figures


FIGURES = {
    **_predict(),
    **_peers(),
    **_throughput(),
    **_many_models(),
    "memory idle": Figure("memory (PSS), 2 frontends, both models: idle", "< 364", BENCH, "MB"),
    "memory loaded": Figure("memory (PSS), likewise: after load", "< 364", BENCH, "MB"),
    "start": Figure("start to ready, one model", "<= 3", BENCH, "s"),
    "attack p99": Figure("others during the worst attack: p99 / quiet", "<= 3", BENCH),
    "attack lost": Figure("others' calls lost during attacks", "= 0", BENCH),
    "attack memory": Figure("largest process during attacks (RSS)", "< 1500", BENCH, "MB"),
    "push": Figure("push to served, small model, warm", "", BENCH, "s"),
    "push after fetch": Figure("push to served, after the fetch", "<= 0.5", BENCH, "s"),
    "soak failed": Figure("mixed load, a version every 2 s: failed calls", "= 0", SOAK),
    "soak memory": Figure("mixed load: memory at the end / after warm-up", "<= 1.1", SOAK),
}
"""Ratios first."""


def show(measured: Measured, command: str) -> None:
    """Print the table: all for `make bench`, which names the other commands, else its own."""
    assert set(measured) <= set(FIGURES), set(measured) - set(FIGURES)
    shown = {
        key: figure
        for key, figure in FIGURES.items()
        if command in {BENCH, figure.command} or key in measured
    }
    print(f"\nsummary: medians (smallest-largest)\n{'figure':64} {'must reach':>10} "
          f"{'measured':>26}  met?")  # fmt: skip
    for key, figure in shown.items():
        values = [value for value in measured.get(key, ()) if not math.isnan(value)]
        must = f"{figure.must} {figure.unit}".strip() if figure.must else "-"
        if values:
            found, met = spread(values, figure.unit), figure.met(values)
        else:
            found, met = "-", "not measured" if figure.command == command else figure.command
        print(f"{figure.what:64} {must:>10} {found:>26}  {met}")


def all_met(measured: Measured) -> bool:
    """Whether none of these figures misses what it must reach."""
    return all(FIGURES[key].met(values) != "NO" for key, values in measured.items())


def spread(values: Sequence[float], unit: str = "") -> str:
    """Give "median (smallest-largest) unit"."""
    if not values:
        return "-"
    median, low, high = (_number(x) for x in (statistics.median(values), min(values), max(values)))
    return f"{median} ({low}-{high}) {unit}".strip()


def _number(value: float) -> str:
    return f"{value:.2f}" if abs(value) < 100 else f"{value:,.0f}"

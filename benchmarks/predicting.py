"""Predict, one row a call: in a closed loop of callers, and at fixed rates of arrival."""

from __future__ import annotations

import argparse
import statistics
from collections import defaultdict
from dataclasses import dataclass

import load
import models
import summary
from progress import Clock
from subjects import Subject

CALLERS = (1, 64)
ARRIVALS = (1000, 2000, 4000)
"""Calls a second of the open loop, the same for every server."""
ECHO = "no-op echo"
HANDWRITTEN = "by hand"
AIO = "grpc.aio"
"""The other transport: what a server falls back to where it cannot use gRPC's core itself."""


@dataclass(frozen=True)
class Row:
    """One row of the tables: a server and the model that it is asked for."""

    title: str
    subject: Subject
    model: str


Arrived = dict[tuple[str, int], list[load.Load]]
"""By row and calls a second: each round's load."""
Found = dict[tuple[str, int], list[tuple[load.Load, float]]]
"""By row and callers: each round's load, and server CPU in microseconds a call."""


def closed_loop(rows: list[Row], options: argparse.Namespace, clock: Clock) -> Found:
    found: Found = defaultdict(list)
    for i in clock.rounds(options.rounds, "Predict, closed loop", share=0.5):
        for callers in options.callers:
            if i == 0 or len(options.callers) > 1:
                clock.say(f"  {callers} callers")
            for row in rows:
                found[row.title, callers].append(
                    row.subject.measure_with_cpu(row.model, callers, options.seconds)
                )
    print(f"\n{'':18} {'callers':>7} {'calls/s':>24} {'of echo':>8} {'p50 us':>8} {'p99 us':>8} "
          f"{'CPU us/call':>11} {'of echo':>8}")  # fmt: skip
    for callers in options.callers:
        for row in rows:
            print(line(row.title, callers, found[row.title, callers], found[ECHO, callers]))
    return found


def line(title: str, callers: int, runs: list, base: list) -> str:
    rates = [one.rate for one, _ in runs]
    spread = f"{statistics.median(rates):,.0f} ({min(rates):,.0f}-{max(rates):,.0f})"
    p50 = statistics.median(one.p50 for one, _ in runs)
    p99 = statistics.median(one.p99 for one, _ in runs)
    cpu = statistics.median(used for _, used in runs)
    of_echo = statistics.median(rate_ratios(runs, base))
    cpu_of_echo = statistics.median(cpu_ratios(runs, base))
    return (
        f"{title:18} {callers:7} {spread:>24} {of_echo:8.2f} {p50:8.0f} {p99:8.0f}"
        f" {cpu:11.0f} {cpu_of_echo:8.2f}"
    )


def rate_ratios(runs: list, base: list) -> list[float]:
    return [a.rate / b.rate for (a, _), (b, _) in zip(runs, base, strict=True)]


def cpu_ratios(runs: list, base: list) -> list[float]:
    return [a / b for (_, a), (_, b) in zip(runs, base, strict=True)]


def figures(found: Found, engine: str) -> dict[str, list[float]]:
    """Give the summary's figures, for the models on `engine`."""
    given = {}
    for model in ("logistic", "forest"):
        ours = f"{model}, {engine}"
        if found.get((ours, 64)):
            runs, base = found[ours, 64], found[ECHO, 64]
            given[f"rate {model}"] = rate_ratios(runs, base)
            given[f"cpu {model}"] = cpu_ratios(runs, base)
        other = f"{model}, {AIO}"
        if found.get((other, 64)):
            given[f"rate aio {model}"] = rate_ratios(found[other, 64], found[ECHO, 64])
        if found.get((ours, 1)):
            pairs = zip(found[ours, 1], found[f"{model}, {HANDWRITTEN}", 1], strict=True)
            given[f"p50 handwritten {model}"] = [a.p50 / b.p50 for (a, _), (b, _) in pairs]
    return given


def open_loop(rows: list[Row], options: argparse.Namespace, clock: Clock) -> Arrived:
    """Show latencies at fixed rates of arrival: nothing waits for the server's answers."""
    results: Arrived = defaultdict(list)
    for _ in clock.rounds(options.rounds, "Predict, open loop", share=0.65):
        for rate in options.arrivals:
            for row in rows:
                results[row.title, rate].append(
                    row.subject.arriving(row.model, rate, options.seconds)
                )
    print("\nopen loop: Poisson arrivals over 64 connections, the same rate for every server")
    print(f"{'':18} {'asked/s':>8} {'answered/s':>10} {'p50 us':>8} {'p99 us':>8} {'p99.9 us':>8} "
          f"{'p99 of echo':>18} {'failed':>8}")  # fmt: skip
    for rate in options.arrivals:
        for row in rows:
            runs = results[row.title, rate]
            answered, p50, p99, p999 = (
                statistics.median(getattr(one, of) for one in runs)
                for of in ("rate", "p50", "p99", "p999")
            )
            failed = sum(one.failed for one in runs) / sum(one.failed + one.calls for one in runs)
            of_echo = summary.spread(p99_ratios(runs, results[ECHO, rate]))
            print(f"{row.title:18} {rate:8,} {answered:10,.0f} {p50:8,.0f} {p99:8,.0f} {p999:8,.0f}"
                  f" {of_echo:>18} {failed:8.2%}")  # fmt: skip
    return results


def p99_ratios(runs: list[load.Load], base: list[load.Load]) -> list[float]:
    return [a.p99 / b.p99 for a, b in zip(runs, base, strict=True)]


def open_figures(arrived: Arrived, engine: str) -> dict[str, list[float]]:
    """Give the summary's figures of the open loop, for the models on `engine`."""
    return {
        f"p99 {model} {rate}": p99_ratios(runs, arrived[ECHO, rate])
        for model in models.MODELS
        for rate in ARRIVALS
        if (runs := arrived.get((f"{model}, {engine}", rate)))
    }

"""Rows a second where a call carries many: streams and 256-row calls, beside scikit-learn itself.

scikit-learn computes `predict_proba` in this process, on one core; the server answers labels
as well and has all cores, which it shares with h2load.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Sequence

import models
import summary
import wires
from progress import Clock
from subjects import Running, Subject

ROWS = 256
STREAMED = 100
"""One-row requests that a PredictStream call of the measurement brings."""
CALLERS = 8
LOOP, BATCH = "sklearn, row by row", f"sklearn, {ROWS} at once"

Found = dict[tuple[str, str], list[float]]
"""By model and way: rows a second of each round."""


def measure(
    running: Running, engines: Sequence[str], rounds: int, seconds: float, clock: Clock
) -> dict[str, list[float]]:
    """Print the table; give the summary's figures, for the first engine."""
    ways = {engine: (f"PredictStream, {engine}", f"{ROWS}-row calls, {engine}")
            for engine in engines}  # fmt: skip
    found: Found = defaultdict(list)
    for _ in clock.rounds(rounds, "rows a second", share=0.75):
        for model in models.MODELS:
            found[model, LOOP].append(sklearn(model, 1, seconds))
            found[model, BATCH].append(sklearn(model, ROWS, seconds))
            for engine, (stream, many) in ways.items():
                one = Subject.of(stream, running, wires.pushserve_stream(engine))
                result = one.measure(model, CALLERS, seconds, messages=STREAMED)
                found[model, stream].append(result.rate * STREAMED)
                one = Subject.of(many, running, wires.pushserve(engine))
                result = one.measure(model, CALLERS, seconds, rows=ROWS)
                found[model, many].append(result.rate * ROWS)
    titles = [LOOP, BATCH, *(way for pair in ways.values() for way in pair)]
    show(found, titles)
    stream, many = ways[engines[0]]
    return {
        f"{key} {base_key} {model}": ratios(found[model, way], found[model, base])
        for model in models.MODELS
        for key, way in (("stream", stream), ("rows", many))
        for base_key, base in (("loop", LOOP), ("batch", BATCH))
    }


def sklearn(model: str, count: int, seconds: float) -> float:
    """Predict so many rows at a time, again and again; give rows a second."""
    fitted, _ = models.MODELS[model]()
    rows = models.rows(model, count)
    fitted.predict_proba(rows)
    done, begun = 0, time.perf_counter()
    while (passed := time.perf_counter() - begun) < seconds:
        fitted.predict_proba(rows)
        done += count
    return done / passed


def show(found: Found, titles: list[str]) -> None:
    print(f"\nrows a second; {CALLERS} callers; a stream of {STREAMED} one-row requests a call")
    print(f"{'':10} {'':24} {'rows/s':>26} {'of row by row':>20} {f'of {ROWS} at once':>20}")
    for model in models.MODELS:
        for title in titles:
            rates = found[model, title]
            text = f"{statistics.median(rates):,.0f} ({min(rates):,.0f}-{max(rates):,.0f})"
            over = (summary.spread(ratios(rates, found[model, base])) for base in (LOOP, BATCH))
            print(f"{model:10} {title:24} {text:>26} " + " ".join(f"{one:>20}" for one in over))


def ratios(rates: list[float], base: list[float]) -> list[float]:
    return [a / b for a, b in zip(rates, base, strict=True)]

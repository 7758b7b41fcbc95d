"""Run: many random pipelines, each in a process of its own; counts what became of them.

python -m tests.answers.run --pipelines 2000            (make test-answers)
python -m tests.answers.run --seed 1234 --pipelines 1   (one again)
"""

# ruff: noqa: E402, T201 (threads are set before NumPy comes; it is a program)

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import argparse
import json
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))  # as own_steps is imported where people train

import skl2onnx  # noqa: F401 (once, not in each child)

from pushserve_sandbox.onnx_compiler import compile as _compile  # noqa: F401
from tests.answers.trial import Outcome, run_trial

_AGAIN = "python -m tests.answers.run --pipelines 1"
_SECONDS = 60
"""Of processor time, for one pipeline."""


def run_in_child(seed: int, *, quick: bool) -> dict[str, Any]:
    """Run a trial in a child, which may crash or hang; give its outcome."""
    receive, send = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(receive)
        resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS + 1))
        with os.fdopen(send, "w") as out:
            out.write(json.dumps(_outcome(seed, quick=quick), default=str))
        os._exit(0)
    os.close(send)
    with os.fdopen(receive) as source:
        said = source.read()
    _, status, used = os.wait4(pid, 0)
    outcome = (
        json.loads(said)
        if said
        else {**asdict(Outcome(seed, "broken")), "faults": [f"the process ended with {status}"]}
    )
    outcome["cpu"] = used.ru_utime + used.ru_stime
    return outcome


def _outcome(seed: int, *, quick: bool) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="answers-") as folder:
        target = Path(folder) / "model"
        target.mkdir()
        os.chdir(target)
        try:
            return asdict(run_trial(seed, target, quick=quick))
        except Exception:
            return {**asdict(Outcome(seed, "broken")), "faults": [traceback.format_exc()]}
        finally:
            os.chdir("/")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pipelines", type=int, default=2000, help="how many scikit-learn fits")
    parser.add_argument("--seed", type=int, default=0, help="of the first")
    parser.add_argument("--quick", action="store_true", help="ask each for fewer rows")
    parser.add_argument("--json", type=Path, help="write every outcome here")
    return parser.parse_args()


def main() -> int:
    arguments = _arguments()
    outcomes: list[dict[str, Any]] = []
    began, seed, fitted = time.monotonic(), arguments.seed, 0
    try:
        while fitted < arguments.pipelines:
            outcome = run_in_child(seed, quick=arguments.quick)
            seed += 1
            outcomes.append(outcome)
            fitted += outcome["state"] != "unfit"
            for fault in outcome["faults"][:2]:
                print(f"seed {outcome['seed']}: {fault}", flush=True)
            if outcome["faults"]:
                print(f"  again: {_AGAIN} --seed {outcome['seed']}", flush=True)
            if fitted and fitted % 50 == 0 and outcome["state"] != "unfit":
                print(f"… {fitted} pipelines in {time.monotonic() - began:.0f} s", flush=True)
    except KeyboardInterrupt:
        print("interrupted; so far:")
    if arguments.json:
        arguments.json.write_text(json.dumps(outcomes, indent=1))
    return report(outcomes)


def report(outcomes: list[dict[str, Any]]) -> int:
    """Print the counts; give the exit status."""
    fitted = [o for o in outcomes if o["state"] != "unfit"]
    engines = Counter(o["engine"] for o in fitted if o["engine"])
    asks: Counter[str] = Counter()
    for outcome in fitted:
        asks.update(outcome["doors"])
    refused = [o for o in fitted if o["state"] == "refused"]
    faulty = [o for o in fitted if o["faults"]]
    cpu = sum(o["cpu"] for o in outcomes)
    print(f"pipelines fitted: {len(fitted)} (and {len(outcomes) - len(fitted)} that do not fit)")
    print(f"served by a graph: {engines['onnx']}, by a worker: {engines['worker']}")
    print(
        f"asks right: {asks['right']}, right by what the docs say of nulls and JSON's numbers: "
        f"{asks['documented']}, refused as scikit-learn refuses: {asks['refused']}"
    )
    print(f"asks wrong: {asks['wrong']}, refused although scikit-learn answers: {asks['unjust']}")
    print(f"refused at the push: {len(refused)} ({100 * len(refused) / max(len(fitted), 1):.1f} %)")
    for reason, count in Counter(o["reason"] for o in refused).most_common():
        cured = sum(o["cured"] for o in refused if o["reason"] == reason)
        print(f"  {reason}: {count}, of which an example cures {cured}")
    print(f"pipelines with faults: {len(faulty)}; processor time {cpu:.1f} s")
    return 1 if faulty else 0


if __name__ == "__main__":
    sys.exit(main())

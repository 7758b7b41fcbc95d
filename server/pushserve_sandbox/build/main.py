"""Build job: loads a model, finds its signature, runs its examples, and reports.

Messages to the server, each one JSON object (`channel`):

    {"stage": …, "message": …}                    as it goes on
    {"ok": true, "signature": …, "engine": …, "report": …}
    {"ok": false, "reason": …, "message": …, "fix": …}

Before the last message of a model that was compiled goes {"blob": "compiled.onnx", "size": n},
followed by the n bytes of its graph.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from pushserve_runtime import messages
from pushserve_runtime.build_error import BuildFailed, printable
from pushserve_runtime.job_spec import Format, JobSpec
from pushserve_runtime.signature import Layout
from pushserve_sandbox.build.answer_check import check_answers
from pushserve_sandbox.build.door_trials import door_trials
from pushserve_sandbox.build.example_check import check_examples, try_made_rows
from pushserve_sandbox.build.independence import why_dependent
from pushserve_sandbox.build.trial_inputs import trial_inputs
from pushserve_sandbox.build.worker_path import WorkerPath
from pushserve_sandbox.inspection.estimator import predictor_for
from pushserve_sandbox.loading.artifact import sklearn_version
from pushserve_sandbox.loading.captured_output import Notes
from pushserve_sandbox.loading.example_files import Example, read_examples
from pushserve_sandbox.loading.load import (
    Loaded,
    choose_fast_path,
    engine_not_possible,
    make_predictor,
    read_model,
)
from pushserve_sandbox.onnx_compiler.result import Compiled, Refused
from pushserve_sandbox.prediction.predictor import EstimatorPredictor, Predictor

logger = logging.getLogger(__name__)

Progress = Callable[[str, str], None]
Keep = Callable[[str, bytes], None]
"""Takes a file that a build made, by name."""

GRAPH: Final = "compiled.onnx"
_COMPILED: Final = frozenset({Format.JOBLIB, Format.PICKLE, Format.SKOPS})


def main(channel: socket.socket, spec: Mapping[str, Any]) -> None:
    """Build what `spec` says and send the result over `channel`."""

    def progress(stage: str, message: str) -> None:
        messages.send(channel, {"stage": stage, "message": message})

    def keep(name: str, content: bytes) -> None:
        messages.send(channel, {"blob": name, "size": len(content)})
        channel.sendall(content)

    try:
        messages.send(channel, build(spec, progress, keep))
    except messages.ChannelError as error:
        messages.send(channel, _too_large(error).to_json())


def build(
    spec: Mapping[str, Any], progress: Progress, keep: Keep = lambda _name, _content: None
) -> dict[str, Any]:
    """Build a model; give the job's last message. `keep` is given the graph, if there is one."""
    notes = Notes()
    try:
        return _Build(JobSpec.from_json(spec), notes, progress, keep).run()
    except BuildFailed as error:
        failure = _naming_the_file(error, str(spec.get("examples") or "")).to_json()
    except MemoryError:
        fix = "make the model smaller, or ask the server's operator for more (sandbox_memory)"
        failure = BuildFailed("SANDBOX_MEMORY", "it needs too much memory", fix).to_json()
    except Exception:
        logger.exception("a build failed for a reason of its own")
        fix = "see the server's log"
        failure = BuildFailed("BUILD_FAILED", "the build itself went wrong", fix).to_json()
    return {**failure, "log": notes.log.text}


def _naming_the_file(failure: BuildFailed, examples: str) -> BuildFailed:
    """Say which file is meant: people have a test_data.json of their own."""
    if not examples or failure.reason not in ("EXAMPLES_INVALID", "EXAMPLES_FAILED"):
        return failure
    message = failure.message
    if not message.startswith(f"{examples}: "):
        message = f"{examples}: {message}"
    fix = f"{failure.fix} If {examples} is no file of examples for pushserve, rename it."
    return BuildFailed(failure.reason, message, fix)


class _Build:
    """One build, step by step, with the time that each took in seconds."""

    def __init__(self, spec: JobSpec, notes: Notes, progress: Progress, keep: Keep) -> None:
        self.spec = spec
        self.keep = keep
        self.notes = notes
        self.progress = progress
        self.timings: dict[str, float] = {}
        self._started = time.monotonic()

    def run(self) -> dict[str, Any]:
        spec = self.spec
        examples = read_examples(spec.folder / spec.examples) if spec.examples else []
        self._begin("loading", f"loading {spec.artifact or 'predict.py'}")
        model = read_model(spec, self.notes)
        self._end("loading")
        self._begin("inspecting", "finding the signature")
        inputs = [item.input for item in examples]
        loaded = make_predictor(model, spec, inputs, self.notes)
        self._end("inspecting")
        self._begin("examples", f"running {len(examples)} examples")
        asked: Predictor = loaded.predictor
        if asked.signature.layout is not Layout.RECORDS:
            asked = WorkerPath(asked, spec.folder, joins_calls=False)
        checked = check_examples(asked, examples, spec, self.notes)
        if not examples and spec.format is Format.SCRIPT:
            tried = try_made_rows(loaded.predictor, spec, self.notes)
            self.progress("examples", tried)
            loaded = replace(loaded, engine_reason=f"{loaded.engine_reason}; {tried}")
        self._end("examples")
        if spec.format in _COMPILED:
            loaded = self._compile(model, loaded, examples)
        with self.notes.taken():
            groups = trial_inputs(model, loaded.predictor, inputs)
        loaded = self._try_together(model, loaded, groups)
        if loaded.engine == "worker":
            self._begin("fast_path", "looking for a faster way through it")
            loaded = choose_fast_path(loaded, model, spec, inputs, self.notes)
            self._end("fast_path")
        loaded, trials = self._check_answers(model, loaded, groups)
        return {**self._result(loaded, checked), "door_trials": trials}

    def _check_answers(
        self, model: Any, loaded: Loaded, groups: Sequence[Sequence[Any]]
    ) -> tuple[Loaded, list[dict[str, Any]]]:
        """Ask the same rows by every way to the model; give rows for the doors of a server."""
        self._begin("answers", "asking it again, and by every way that a call takes")
        with self.notes.taken():
            remarks = check_answers(model, loaded, self.spec, groups)
            trials = door_trials(loaded.predictor, groups, varies=bool(remarks))
        self._end("answers")
        for remark in remarks:
            self.progress("answers", remark)
        reason = "; ".join([loaded.engine_reason, *remarks])
        return replace(loaded, engine_reason=reason), trials

    def _compile(self, model: Any, loaded: Loaded, examples: Sequence[Example]) -> Loaded:
        """Give the model as a graph, where one answers as it does, else as it is."""
        spec = self.spec
        if spec.engine == "worker":
            return replace(loaded, engine_reason="the manifest says so")
        self._begin("compiling", "compiling it to ONNX, and comparing the answers")
        own = predictor_for(model, loaded.predictor.signature)
        with self.notes.taken():
            result = _compiled(model, own, [e.input for e in examples], spec.graph_limit)
        if isinstance(result, Refused):
            self._end("compiling")
            if spec.engine == "onnx":
                raise engine_not_possible(f"no graph gives the model's answers: {result.reason}")
            return replace(loaded, engine_reason=f"not compiled to ONNX: {result.reason}")
        check_examples(result.predictor, examples, spec, self.notes)
        self.keep(GRAPH, result.graph)
        self._end("compiling")
        return replace(
            loaded, predictor=result.predictor, engine="onnx", engine_reason=result.reason
        )

    def _try_together(self, model: Any, loaded: Loaded, groups: Sequence[Sequence[Any]]) -> Loaded:
        """Find out whether the rows of several callers may be predicted together."""
        spec = self.spec
        said = "the manifest says that its rows depend on each other"
        if spec.joins_calls is None and loaded.engine == "onnx" and spec.format in _COMPILED:
            return loaded  # comparing it has shown that
        if spec.joins_calls is None:
            self._begin("independence", "asking it about rows alone and together")
            with self.notes.taken():
                said = why_dependent(model, loaded.predictor, groups)
            self._end("independence")
        if not said or spec.joins_calls:
            return loaded
        reason = f"{loaded.engine_reason}; calls are answered one at a time: {said}"
        return replace(loaded, joins_calls=False, engine_reason=reason)

    def _begin(self, stage: str, message: str) -> None:
        self._started = time.monotonic()
        self.progress(stage, message)

    def _end(self, stage: str) -> None:
        self.timings[stage] = round(time.monotonic() - self._started, 6)

    def _result(self, loaded: Loaded, examples_checked: int) -> dict[str, Any]:
        return {
            "ok": True,
            "signature": loaded.predictor.signature.to_json(),
            "engine": loaded.engine,
            "report": {
                "engine_reason": loaded.engine_reason,
                "fast_path": loaded.fast_path,
                "joins_calls": loaded.joins_calls,
                "format": str(self.spec.format),
                "estimator": loaded.estimator,
                "sklearn": sklearn_version(),
                "examples_checked": examples_checked,
                "timings": self.timings,
                "warnings": self.notes.warnings,
                "log": self.notes.log.text,
            },
        }


def _too_large(error: messages.ChannelError) -> BuildFailed:
    return BuildFailed(
        "SIGNATURE_TOO_LARGE",
        f"what there is to say about the model is too much ({error})",
        "use fewer features, classes or categories",
    )


def _compiled(
    model: Any, own: EstimatorPredictor, inputs: Sequence[Any], limit: int
) -> Compiled | Refused:
    """Compile it, if the compiler can be imported where this job runs."""
    try:
        from pushserve_sandbox.onnx_compiler.compile import compile_estimator  # noqa: PLC0415
    except Exception as error:  # noqa: BLE001 (packages that do not fit together raise what they like)
        return Refused(f"its environment has no compiler ({printable(str(error))})")
    return compile_estimator(model, own, inputs, limit)

"""Build job: runs the build of one model in the sandbox and judges how it ended."""

from __future__ import annotations

import logging
import selectors
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pushserve_runtime.graph_bounds import GraphBounds
from pushserve_runtime.job_spec import Format
from pushserve_runtime.messages import ChannelError
from pushserve_runtime.signature import Signature
from pushserve_server.build.build_ending import Limits, judge, timed_out
from pushserve_server.build.build_report import (
    clean_text,
    invalid_answer,
    read_door_trials,
    read_engine,
    read_report,
    read_signature,
)
from pushserve_server.build.contract import ModelFiles
from pushserve_server.domain.records import EngineName
from pushserve_server.errors import DeploymentFailed
from pushserve_server.sandbox_client import Job, JobPolicy, SandboxClient
from pushserve_server.settings import Settings

logger = logging.getLogger(__name__)

_POLL: Final = 0.1
_EXIT_PATIENCE: Final = 5.0
_ANSWER_PATIENCE: Final = 10.0
_MOST_NOTES: Final = 50
_MOST_MESSAGES: Final = 200
"""Of one job; an honest one sends about six."""


class Interrupted(Exception):
    """The work was cancelled from outside; nothing is wrong with the model."""


@dataclass(frozen=True, slots=True)
class BuildResult:
    """What a build found out about a model that can be served."""

    engine: EngineName
    signature: Signature
    report: dict[str, Any]
    has_graph: bool = False
    """Whether an artifact that is no graph was compiled to one."""
    door_trials: tuple[dict[str, Any], ...] = ()
    """Rows and answers by which a new version is asked at every door."""


@dataclass(frozen=True, slots=True)
class _Heard:
    """What a child said last, and whether it gave a graph before."""

    answer: Mapping[str, Any]
    has_graph: bool


def build(
    folder: Path,
    model_files: ModelFiles,
    *,
    settings: Settings,
    zygote: SandboxClient,
    cancelled: threading.Event,
    progress: Callable[[str], None],
    graph: Path,
    log_as: Mapping[str, object] | None = None,
) -> BuildResult:
    """Load, inspect and try the model in `folder`; `progress` is told each step.

    What an artifact that is no graph is compiled to is written to `graph`. `log_as` says in the
    log whose the lines are that it prints, as {"model": "iris", …}.

    Raises:
        DeploymentFailed: the model did not pass, with the reason.
        Interrupted: `cancelled` was set.
        Unavailable: the zygote cannot be reached.
    """
    spec = {
        **model_spec(model_files, settings),
        "folder": str(folder),
        "signature": model_files.declared,
        "graph_limit": settings.max_artifact,
        "joins_calls": model_files.independent_rows,
        "repeatable": model_files.repeatable,
    }
    limits = Limits(settings.build_timeout, settings.sandbox_memory, settings.max_artifact)
    with zygote.start("build", spec, _policy(folder, limits), log_as=log_as) as job:
        heard = _Conversation(job, limits, progress, graph).listen(cancelled)
    answer = heard.answer
    if answer.get("ok") is not True:
        raise _refused(answer)
    engine = read_engine(answer)
    if heard.has_graph != (engine is EngineName.ONNX and model_files.format is not Format.ONNX):
        raise invalid_answer("graph")
    signature = read_signature(answer)
    trials = tuple(read_door_trials(answer, signature))
    return BuildResult(engine, signature, read_report(answer), heard.has_graph, trials)


@dataclass(frozen=True, slots=True)
class GraphChecked:
    """What is proved of a graph: `bounds`, or None where it runs in a worker for `reason`."""

    bounds: GraphBounds | None
    reason: str = ""


def check_graph(
    path: Path,
    signature: Signature,
    *,
    settings: Settings,
    zygote: SandboxClient,
    cancelled: threading.Event,
) -> GraphChecked:
    """Have a graph checked by a child that has it alone and has run no code of the repository.

    The child that gave it, or found its signature, may have loaded a stranger's pickle.

    Raises:
        DeploymentFailed: loading it takes too long, or ends the child.
        Interrupted: `cancelled` was set.
        Unavailable: the zygote cannot be reached.
    """
    spec = {"graph": str(path), "signature": signature.to_json()}
    limits = Limits(settings.build_timeout, settings.sandbox_memory)
    with zygote.start("graph", spec, _policy(path, limits)) as job:
        answer = _Conversation(job, limits, lambda _message: None, None).listen(cancelled).answer
    if answer.get("ok") is not True:
        raise _refused(answer)
    if "bounds" in answer:
        return GraphChecked(_bounds(answer["bounds"]))
    return GraphChecked(None, clean_text(answer.get("reason", ""), 500))


def _bounds(data: object) -> GraphBounds:
    try:
        return GraphBounds.from_json(data if isinstance(data, dict) else {})
    except (ValueError, TypeError):
        raise invalid_answer("bounds") from None


def model_spec(model_files: ModelFiles, settings: Settings) -> dict[str, Any]:
    """Give what a build and a worker are both told about a model, as JSON values."""
    return {
        "format": model_files.format,
        "artifact": model_files.artifact,
        "skops_trusted": list(settings.skops_trusted_types),
        "examples": model_files.examples,
        "tolerance": model_files.tolerance.model_dump(),
        "engine": model_files.engine,
    }


def _policy(model: Path, limits: Limits) -> JobPolicy:
    return JobPolicy(
        read=(model,),
        memory=limits.memory,
        cpu_seconds=limits.timeout,
        file_size=0,
        directory=model if model.is_dir() else None,
    )


class _Conversation:
    """What one child says. All of it is input from outside, whose amount is bounded.

    `graph` is where a compiled graph is written; None where none is due.
    """

    def __init__(
        self, job: Job, limits: Limits, progress: Callable[[str], None], graph: Path | None
    ) -> None:
        self._job = job
        self._limits = limits
        self._progress = progress
        self._graph = graph
        self._messages = 0
        self._began = False
        self._raised = ""
        self._has_graph = False

    def listen(self, cancelled: threading.Event) -> _Heard:
        """Pass progress on until the child has given its answer or is gone.

        Raises:
            DeploymentFailed: it ended without an answer, or said what no build says.
            Interrupted: `cancelled` was set.
        """
        deadline = time.monotonic() + self._limits.timeout
        while not cancelled.is_set():
            if time.monotonic() > deadline:
                raise timed_out(self._limits)
            self._job.output.log()
            if _readable(self._job):
                message = self._receive()
                if "ok" in message:
                    return _Heard(message, self._has_graph)
                self._note(message)
        raise Interrupted

    def _receive(self) -> Mapping[str, Any]:
        try:
            message = self._job.receive(_ANSWER_PATIENCE)
            if message is not None and "blob" in message:
                self._receive_graph(message)
        except (ChannelError, TimeoutError) as error:
            raise invalid_answer(clean_text(str(error), 200)) from None
        if message is None:
            end = self._job.wait(_EXIT_PATIENCE)
            raise judge(end, self._limits, began=self._began, raised=self._raised)
        return message

    def _receive_graph(self, message: Mapping[str, Any]) -> None:
        size = message.get("size")
        if self._graph is None or self._has_graph:
            raise ChannelError("a graph that nobody asked for")
        if not isinstance(size, int) or not 0 < size <= self._limits.graph:
            raise ChannelError("a graph of impossible size")
        with self._graph.open("xb") as file:
            self._job.receive_into(file, size, _ANSWER_PATIENCE)
        self._graph.chmod(0o644)  # the sandbox's user reads it, whatever the server's umask
        self._has_graph = True

    def _note(self, message: Mapping[str, Any]) -> None:
        self._messages += 1
        if self._messages > _MOST_MESSAGES:
            raise invalid_answer(f"more than {_MOST_MESSAGES} messages")
        if "failed" in message:
            logger.warning("a build child failed: %s", clean_text(repr(message["failed"])))
            self._raised = _class_in(message["failed"])
        elif "stage" in message:
            self._began = True
            if self._messages <= _MOST_NOTES:
                self._progress(clean_text(message.get("message"), 200))


def _class_in(failed: object) -> str:
    """Give the class that a child says it raised: a stranger may have written it."""
    return clean_text(failed.get("type"), 100) if isinstance(failed, dict) else ""


def _readable(job: Job) -> bool:
    """Wait a little for the child to say something, or to end."""
    with selectors.DefaultSelector() as selector:
        selector.register(job.channel, selectors.EVENT_READ)
        return bool(selector.select(_POLL))


def _refused(answer: Mapping[str, Any]) -> DeploymentFailed:
    reason = clean_text(answer.get("reason"), 64)
    if not reason.replace("_", "").isalnum() or reason != reason.upper():
        return invalid_answer("reason")
    return DeploymentFailed(
        reason, clean_text(answer.get("message")), clean_text(answer.get("fix"))
    )

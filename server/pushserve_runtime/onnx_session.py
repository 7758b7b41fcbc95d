"""ONNX sessions: graphs opened with ONNX Runtime, and what all of a process's sessions share."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from pushserve_runtime.build_error import BuildFailed, brief

_SAME_AS_REQUESTED: Final = 1


def bound_run_memory(most: int) -> None:
    """Have sessions that are opened with `shared_memory` take at most so many bytes for runs.

    To be called once a process. A run for which there is not enough raises; what graphs
    themselves take, their constants, is not counted.
    """
    import onnxruntime as ort  # noqa: PLC0415 (as below)

    arena = ort.OrtArenaCfg({"max_mem": most, "arena_extend_strategy": _SAME_AS_REQUESTED})
    kind, use = ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, ort.OrtMemType.DEFAULT
    ort.create_and_register_allocator(ort.OrtMemoryInfo("Cpu", kind, 0, use), arena)


def open_session(graph: Path | bytes, *, shared_memory: bool = False) -> Any:
    """Open a graph, a file or its content, with ONNX Runtime on one thread.

    Raises:
        BuildFailed: ARTIFACT_UNREADABLE.
    """
    import onnxruntime as ort  # noqa: PLC0415 (its import takes longer than most models' loading)

    options = _options(ort)
    if shared_memory:
        options.add_session_config_entry("session.use_env_allocators", "1")
        options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
    name = "the graph" if isinstance(graph, bytes) else graph.name
    source = graph if isinstance(graph, bytes) else str(graph)
    try:
        return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises classes of its own for each kind of trouble
        raise BuildFailed(
            "ARTIFACT_UNREADABLE",
            f"ONNX Runtime cannot load {name}: {brief(error)}",
            "export it with operators and an opset that ONNX Runtime knows",
        ) from error


def _options(ort: Any) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    # An arena and a pattern of its own for each of many small graphs cost memory (120 KiB a
    # graph against 80, and 1 MiB of addresses) and no call is faster for them.
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    # What a run raises is told by who catches it; a caller could fill the log with it.
    options.log_severity_level = 4
    return options


def is_out_of_memory(error: Exception) -> bool:
    """Say whether there was too little of the shared memory for a run."""
    return "Available memory of" in str(error)


def giving_back() -> Any:
    """Make the options of a run that leaves nothing behind in the shared memory."""
    import onnxruntime as ort  # noqa: PLC0415 (as above)

    options = ort.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return options

"""Forking: what a process has to be that others are forked from. A fork copies one thread alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

ONE_THREAD: Final[Mapping[str, str]] = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    # ONNX Runtime would start a thread that sends to its maker.
    "ORT_DISABLE_TELEMETRY": "1",
}
"""The environment in which the imports of such a process start no thread."""


def insist_on_one_thread() -> None:
    """Check that the imports have started none.

    Raises:
        RuntimeError: an import started a thread, which no forked process would have.
    """
    threads = len(list(Path("/proc/self/task").iterdir()))
    if threads != 1:
        raise RuntimeError(
            f"{threads} threads run after the imports; forking needs exactly one "
            "(are OMP_NUM_THREADS=1 and ORT_DISABLE_TELEMETRY=1 set?)"
        )

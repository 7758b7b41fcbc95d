"""Imports what models need, once, so that a forked job has it at no cost."""

from __future__ import annotations

import ctypes
import gc
import importlib
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, cast

log = logging.getLogger(__name__)

MODULES: Final = (
    "numpy",
    "pandas",
    "scipy.sparse",
    "scipy.special",
    "scipy.stats",
    "joblib",
    "sklearn.calibration",
    "sklearn.cluster",
    "sklearn.compose",
    "sklearn.cross_decomposition",
    "sklearn.decomposition",
    "sklearn.discriminant_analysis",
    "sklearn.dummy",
    "sklearn.ensemble",
    "sklearn.feature_extraction.text",
    "sklearn.feature_selection",
    "sklearn.gaussian_process",
    "sklearn.impute",
    "sklearn.isotonic",
    "sklearn.kernel_approximation",
    "sklearn.kernel_ridge",
    "sklearn.linear_model",
    "sklearn.manifold",
    "sklearn.metrics",
    "sklearn.mixture",
    "sklearn.model_selection",
    "sklearn.multiclass",
    "sklearn.multioutput",
    "sklearn.naive_bayes",
    "sklearn.neighbors",
    "sklearn.neural_network",
    "sklearn.pipeline",
    "sklearn.preprocessing",
    "sklearn.random_projection",
    "sklearn.svm",
    "sklearn.tree",
    "skops.io",
    "onnx",
    "onnx.reference",
    "onnxruntime",
    "skl2onnx",
)
OPTIONAL: Final = ("xgboost", "lightgbm")
"""May be missing. Jobs that need them import them: 60 ms there, 6 MB less here."""
JOBS: Final = {
    "build": "pushserve_sandbox.build.main",
    "graph": "pushserve_sandbox.admission.job",
    "worker": "pushserve_sandbox.worker.main",
}


def preload() -> None:
    """Import everything in the list; what is not installed is left out.

    Raises:
        RuntimeError: an import started a thread, which no forked child would have.
    """
    gc.disable()  # imports make much and drop little: looking for it takes a tenth of the time
    with _hidden("pytest"):  # which scikit-learn's helpers for tests, and so skops, bring along
        for name in (*MODULES, *JOBS.values()):
            try:
                importlib.import_module(name)
            except ModuleNotFoundError as error:
                log.warning("%s is not there: %s", name, error)
    gc.enable()
    with suppress(AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
    _find_libraries_without_files()
    _flush_denormals()
    threads = list(Path("/proc/self/task").iterdir())
    if len(threads) != 1:
        raise RuntimeError(
            f"{len(threads)} threads run after the imports; forking needs exactly one "
            "(are OMP_NUM_THREADS=1 and ORT_DISABLE_TELEMETRY=1 set?)"
        )


def _flush_denormals() -> None:
    """Have every job count with the numbers that server processes count with."""
    numpy: Any = importlib.import_module("numpy")
    for kind in ("half", "single", "double", "longdouble"):
        numpy.finfo(kind)  # is kept, and would miss the denormals later
    with suppress(ModuleNotFoundError):  # an environment without ONNX Runtime has no graphs
        importlib.import_module("pushserve_runtime.onnx_session").flush_denormals()


def _find_libraries_without_files() -> None:
    """Have threadpoolctl, by which KMeans and others bound threads, ask the loader for libraries.

    From 3.8 on it reads /proc/self/maps instead, which no job may. What it avoids by that are
    deadlocks between threads, and a job has one.
    """
    threadpoolctl: Any = importlib.import_module("threadpoolctl")
    if hasattr(threadpoolctl, "_HAS_PROCFS"):
        threadpoolctl._HAS_PROCFS = False  # noqa: SLF001 (there is no other way to say so)


@contextmanager
def _hidden(name: str) -> Iterator[None]:
    """Have a package be one that cannot be imported, unless it is there already."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = cast("Any", None)  # Python's own way to say so
    try:
        yield
    finally:
        del sys.modules[name]

"""Imports that models need, made once, so that a forked job has them at no cost."""

from __future__ import annotations

import ctypes
import gc
import importlib
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, cast

from pushserve_runtime.forking import insist_on_one_thread

log = logging.getLogger(__name__)

# Without xgboost and lightgbm: jobs that need them import them, 60 ms there, 6 MB less here.
MODULES: Final = (
    "numpy",
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
)
OPTIONAL: Final = (
    "pandas",
    "skops.io",
    "onnx",
    "onnx.reference",
    "onnxruntime",
    "skl2onnx",
    "pushserve_sandbox.onnx_compiler.compile",
    "pushserve_sandbox.admission.job",
)
"""What an environment of a version's own may lack: then no model of it needs it."""
JOBS: Final = {
    "build": "pushserve_sandbox.build.main",
    "graph": "pushserve_sandbox.admission.job",
    "worker": "pushserve_sandbox.worker.main",
}


def preload() -> None:
    """Import everything in the lists; of the optional ones, what cannot be imported is left out.

    Raises:
        Exception: what every job needs cannot be imported.
        RuntimeError: an import started a thread, which no forked child would have.
    """
    gc.disable()  # imports make much and drop little: looking for it takes a tenth of the time
    with _hidden("pytest"):  # which scikit-learn's helpers for tests, and so skops, bring along
        for name in (*MODULES, *OPTIONAL, *JOBS.values()):
            try:
                importlib.import_module(name)
            except Exception as error:  # packages that do not fit together raise what they like
                if name not in OPTIONAL:
                    raise
                level = logging.INFO if isinstance(error, ImportError) else logging.WARNING
                log.log(level, "%s cannot be imported: %s", name, error)
    gc.enable()
    with suppress(AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
    from pushserve_sandbox import compat  # noqa: PLC0415 (it imports scikit-learn)

    compat.have_threadpoolctl_read_no_files()
    insist_on_one_thread()


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

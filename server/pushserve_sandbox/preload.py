"""Imports what models need, once, so that a forked job has it at no cost."""

from __future__ import annotations

import importlib
import logging
from pathlib import Path
from typing import Final

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
    "onnxruntime",
    "skl2onnx",
)
OPTIONAL: Final = ("xgboost", "lightgbm")
"""Where they are installed: 60 ms and 1.5 MB for both, beside seconds and 150 MB for the rest."""
JOBS: Final = {"build": "pushserve_sandbox.build", "worker": "pushserve_sandbox.worker"}


def preload() -> None:
    """Import everything in the lists; what is not installed is left out.

    Raises:
        RuntimeError: an import started a thread, which no forked child would have.
    """
    for name in (*MODULES, *OPTIONAL, *JOBS.values()):
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if name not in OPTIONAL:
                log.warning("%s is not there: %s", name, error)
    threads = list(Path("/proc/self/task").iterdir())
    if len(threads) != 1:
        raise RuntimeError(
            f"{len(threads)} threads run after the imports; forking needs exactly one "
            "(are OMP_NUM_THREADS=1 and ORT_DISABLE_TELEMETRY=1 set?)"
        )

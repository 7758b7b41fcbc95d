"""Installed packages: what models are loaded with where they bring no environment of their own."""

from __future__ import annotations

import platform
from functools import cache
from importlib import metadata
from typing import Final

from pushserve.v1 import model_service_pb2 as pb

_NAMED: Final = (
    *("scikit-learn", "numpy", "pandas", "scipy", "joblib", "skops"),
    *("onnx", "onnxruntime", "xgboost", "xgboost-cpu", "lightgbm"),
)


@cache
def server_info() -> pb.InfoResponse:
    """Give the server's versions. They are read from disk, once: nothing is imported."""
    packages = [
        pb.Package(name=name, version=found) for name in _NAMED if (found := _version(name))
    ]
    return pb.InfoResponse(
        version=_version("pushserve"), python=platform.python_version(), packages=packages
    )


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""

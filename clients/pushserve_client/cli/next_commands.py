"""Next commands: what to type to call a model that has just gone live."""

from __future__ import annotations

import json
import os
import shlex
from typing import Any, Final

from pushserve_client.channel import SERVICE
from pushserve_client.cli.connection import DEFAULT_SERVER
from pushserve_client.types import DataType, Deployment, Feature, ModelDetails

_MOST: Final = 60
"""Columns of a model, above which no row is written out."""
_VALUES: Final[dict[DataType, Any]] = {
    DataType.FLOAT64: 0.5,
    DataType.FLOAT32: 0.5,
    DataType.INT64: 1,
    DataType.INT32: 1,
    DataType.BOOL: True,
    DataType.JSON: {},
}


def lines_to_copy(details: ModelDetails, deployment: Deployment, target: str) -> list[str]:
    """Give shell lines that call the deployment's version at the server `target`."""
    model, inputs = details.model, details.version.signature.inputs
    named = "" if target in (DEFAULT_SERVER, os.environ.get("PUSHSERVE_SERVER")) else target
    endpoint = _endpoint(details, deployment)
    options = [word for name, value in endpoint.items() for word in (f"--{name}", value)]
    options += ["--server", named] if named else []
    if not 0 < len(inputs) <= _MOST:
        what = "its columns" if inputs else "what it takes: any JSON object"
        return [
            _shell("pushserve", "get", model.name, *options) + f"  # {what}",
            _shell("pushserve", "predict", model.name, "rows.csv", *options),
        ]
    row = {feature.name: _value(feature) for feature in inputs}
    request = {"model": model.name, **endpoint, "rows": [row]}
    return [
        _shell("pushserve", "predict", model.name, "--data", _json([row]), *options),
        _shell("grpcurl", "-plaintext", "-d", _json(request), target, f"{SERVICE}/Predict"),
    ]


def _endpoint(details: ModelDetails, deployment: Deployment) -> dict[str, str]:
    """Name the ref, or the commit, where the model alone does not lead to the version."""
    if not deployment.ref:
        return {"commit": deployment.commit}
    return {} if deployment.ref == details.model.default_ref else {"ref": deployment.ref}


def _value(feature: Feature) -> Any:
    """A value that the column takes; it is for whoever copies the line to change."""
    if feature.categories:
        known = feature.categories[0]
        return known if feature.dtype is DataType.STRING else json.loads(known)
    return _VALUES.get(feature.dtype, "text")


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _shell(*words: str) -> str:
    return shlex.join(words)

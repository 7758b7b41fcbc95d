"""Older releases: what scikit-learn back to 1.0, pandas and threadpoolctl of that time lack.

A job may run in the environment that its model was trained in. Whatever a release names
otherwise, or does not have, is found here by looking for it; no other module of this package asks
which release it runs beside.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from scipy import special

_MISMATCH: Final = re.compile(r"Trying to unpickle estimator (\S+) from version (\S+) when")
MISMATCH_START: Final = "Trying to unpickle estimator"
"""What scikit-learn's warning of a pickle of another version begins with, in every release."""


def _found(module: str, name: str, default: Any) -> Any:
    with suppress(ImportError):
        return getattr(importlib.import_module(module), name, default)
    return default


def _class(module: str, name: str) -> type[Any]:
    """Find a class; else give one that nothing is an instance of."""
    found: type[Any] = _found(module, name, type(name, (), {}))
    return found


# Since 1.3, 1.5, 1.5 and 1.8.
TargetEncoder: Final = _class("sklearn.preprocessing", "TargetEncoder")
FixedThresholdClassifier: Final = _class("sklearn.model_selection", "FixedThresholdClassifier")
TunedThresholdClassifierCV: Final = _class("sklearn.model_selection", "TunedThresholdClassifierCV")
MultiOutputLinearModel: Final = _class("sklearn.linear_model._base", "MultiOutputLinearModel")

logsumexp: Final[Callable[..., Any]] = _found(
    "sklearn.utils._array_api", "_logsumexp", special.logsumexp
)
"""The one that naive Bayes takes: scikit-learn has its own since 1.8."""


@dataclass(frozen=True, slots=True)
class Tags:
    """What an estimator says of itself; the defaults are for what is none of scikit-learn's."""

    estimator_type: str | None = None
    takes_texts: bool = False
    """It takes a sequence of texts instead of rows."""
    takes_dicts: bool = False
    """It takes a sequence of dicts instead of rows."""
    takes_rows: bool = True
    allows_nan: bool = False


def tags_of(estimator: Any) -> Tags:
    """Give an estimator's tags."""
    with suppress(AttributeError, TypeError):  # no scikit-learn estimator
        return _read_tags(estimator)
    return Tags()


def _current_tags(estimator: Any) -> Tags:
    tags = _get_tags(estimator)
    texts = tags.input_tags.string and not tags.input_tags.two_d_array
    rows = bool(tags.input_tags.two_d_array)
    dicts = tags.input_tags.dict and not rows
    nan = bool(tags.input_tags.allow_nan)
    return Tags(tags.estimator_type, bool(texts), bool(dicts), rows, nan)


def _tags_before_1_6(estimator: Any) -> Tags:
    tags = importlib.import_module("sklearn.utils._tags")._safe_tags(estimator)  # noqa: SLF001
    return Tags(
        getattr(estimator, "_estimator_type", None),
        "string" in tags["X_types"] and "2darray" not in tags["X_types"],
        "dict" in tags["X_types"] and "2darray" not in tags["X_types"],
        "2darray" in tags["X_types"],
        bool(tags["allow_nan"]),
    )


_get_tags: Final = _found("sklearn.utils", "get_tags", None)
_read_tags: Final = _tags_before_1_6 if _get_tags is None else _current_tags


@dataclass(frozen=True, slots=True)
class VersionMismatch:
    """An estimator was saved with another scikit-learn than the one that loads it."""

    estimator: str
    saved_with: str


def version_mismatch(warning: Warning | str) -> VersionMismatch | None:
    """Read scikit-learn's warning (a class of its own since 1.3); None for any other."""
    found = _MISMATCH.match(str(warning))
    return VersionMismatch(found[1], found[2]) if found else None


def transform_output(transformer: Any) -> str:
    """Give what `set_output` (since 1.2) has a transformer give; "default" are arrays."""
    config = _found("sklearn.utils._set_output", "_get_output_config", None)
    return "default" if config is None else str(config("transform", transformer)["dense"])


def text_dtype() -> Any:
    """Give pandas' type of texts (`str` since 3, object before): what a model was trained on."""
    import pandas as pd  # noqa: PLC0415 (most models are asked by matrix)

    return pd.Series(["text"]).dtype


def have_threadpoolctl_read_no_files() -> None:
    """Have threadpoolctl, by which KMeans and others bound threads, ask the loader for libraries.

    From 3.8 on it reads /proc/self/maps instead, and below it runs ldconfig to find the C
    library; no job may do either. What 3.8 avoids are deadlocks between threads, and a job has one.
    """
    with suppress(ImportError):
        threadpoolctl: Any = importlib.import_module("threadpoolctl")
        if hasattr(threadpoolctl, "_HAS_PROCFS"):
            threadpoolctl._HAS_PROCFS = False  # noqa: SLF001 (there is no other way to say so)
        if hasattr(threadpoolctl, "find_library"):
            threadpoolctl.find_library = lambda _name: None  # it then bounds no threads

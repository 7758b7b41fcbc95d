"""Library types: whether an estimator is, all the way down, what its library made.

What reads an estimator's fitted attributes and answers in its place (a graph, a fast path) must
not meet a subclass, or an instance with a method of its own: nothing that it reads shows what
these do.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np

_LIBRARIES: Final = frozenset(
    {
        *("builtins", "collections", "functools", "numpy", "scipy", "pandas", "joblib"),
        *("sklearn", "xgboost", "lightgbm", "datetime", "decimal", "re", "pyarrow"),
        *("ctypes", "pathlib", "enum", "operator", "itertools"),
    }
)
_WITHOUT_ESTIMATORS: Final = frozenset({"builtins", "numpy", "scipy"})
"""What they keep under other names are functions and arrays."""
_WALKED: Final = frozenset({"sklearn", "xgboost", "lightgbm", "_loss"})
_PLAIN: Final = (str, bytes, int, float, complex, bool, type(None), np.generic)
_FUNCTIONS: Final = (
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodType,
    np.ufunc,
)
_CODE: Final = (type, types.ModuleType, *_FUNCTIONS)


def foreign_part(estimator: Any) -> str:
    """Say in words what in an estimator is not its library's own, at any depth; "" if nothing."""
    for item in reachable(estimator):
        found = _foreign_type(type(item)) or own_method(item)
        if found:
            return found
    return ""


def reachable(estimator: Any) -> Iterator[Any]:
    """Give an estimator and all objects in it, at any depth, each once; no numbers and texts."""
    seen: set[int] = set()
    todo = [estimator]
    while todo:
        item = todo.pop()
        if type(item) in _PLAIN or id(item) in seen:
            continue
        seen.add(id(item))
        yield item
        todo.extend(_parts(item))


def _foreign_type(kind: type[Any]) -> str:
    """Say whose a type is, unless the module of a library that it names really has it."""
    top = kind.__module__.partition(".")[0]
    # scikit-learn's losses are compiled as a module of this name.
    if top == "_loss" and "sklearn" in sys.modules:
        return ""
    found: Any = sys.modules.get(kind.__module__)
    for name in kind.__qualname__.split("."):
        found = getattr(found, name, None)
    if top in _LIBRARIES and (found is kind or top in _WITHOUT_ESTIMATORS):
        return ""
    return f"a {kind.__name__} of its own ({kind.__module__})"


def own_method(item: Any) -> str:
    """Name a function that an instance has in its class's place, or beside its settings."""
    values = getattr(item, "__dict__", None)
    kind = type(item)
    if not isinstance(values, dict) or kind.__module__.partition(".")[0] not in _WALKED:
        return ""
    for name, value in values.items():
        over = getattr(kind, str(name), None)
        if callable(over) or isinstance(over, property):
            return f"a {kind.__name__} with a {name} of its own"
        if _is_own_function(value) and hasattr(kind, "get_params") and name not in _settings(kind):
            return f"a {kind.__name__} with a function {name} of its own"
    return ""


def _is_own_function(value: Any) -> bool:
    module = str(getattr(value, "__module__", "") or "")
    return isinstance(value, _FUNCTIONS) and module.partition(".")[0] not in _LIBRARIES


def _settings(kind: type[Any]) -> set[str]:
    """Give the names that may hold a function; that of a search's `scoring` is kept."""
    names = getattr(kind, "_get_param_names", None)
    return {*names(), "scorer_"} if names is not None else set()


def _parts(item: Any) -> Iterator[Any]:
    """Give what an object is made of, where that may be an estimator."""
    if isinstance(item, _CODE):
        return
    if isinstance(item, np.ndarray):
        if item.dtype == object:
            yield from (part for part in item.reshape(-1).tolist() if type(part) not in _PLAIN)
        return
    if isinstance(item, Mapping):
        yield from (part for part in item.values() if type(part) not in _PLAIN)
    elif isinstance(item, list | tuple | set | frozenset):
        yield from (part for part in item if type(part) not in _PLAIN)
    values = getattr(item, "__dict__", None)
    if isinstance(values, dict) and type(item).__module__.partition(".")[0] in _WALKED:
        yield from values.values()

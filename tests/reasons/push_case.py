"""Push case: the files that bring a reason about, and the cure as its fix words it."""

from __future__ import annotations

import io
import pickle
import re
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import joblib
import numpy as np
from sklearn.linear_model import LinearRegression

from tests.fixtures.git_server import Content

Files = Mapping[str, Content]
Cure = Files | Callable[[str], Files]

MANIFEST = "pushserve.toml"


@dataclass(frozen=True)
class PushCase:
    """A push that fails with `reason`, for what `said` names, and what its author does then.

    `follows` are the words of the fix that the author follows. `cure` are the files that these
    words change (None: removed), or makes them of the fix's text, where it has lines to copy.
    """

    reason: str
    files: Files
    said: str
    follows: str
    cure: Cure
    then: str = ""
    """The reason that the cure leads to, where the fix says so; "" for live."""

    def cured(self, fix: str) -> dict[str, Content]:
        """Give all files after the cure."""
        changed = self.cure(fix) if callable(self.cure) else self.cure
        files = {**self.files, **changed}
        return {name: content for name, content in files.items() if content is not None}


def line_of(fix: str, start: str) -> str:
    """Give the line of a fix that begins so, as a person copies it."""
    return next(line for line in fix.splitlines() if line.startswith(start))


def code_of(fix: str, pattern: str) -> str:
    """Give what a fix has to copy within a line."""
    found = re.search(pattern, fix)
    assert found, fix
    return found[0]


def dumped(model: object) -> bytes:
    """What joblib writes of a model."""
    file = io.BytesIO()
    joblib.dump(model, file)
    return file.getvalue()


DATA = np.array([[0.0, 1.0], [1.0, 3.0], [2.0, 2.0], [3.0, 5.0]])


@cache
def good_model() -> bytes:
    """A regressor of two features that is live in no time."""
    return dumped(LinearRegression().fit(DATA, DATA @ [1.0, 2.0]))


def pickled_of(module: str, code: str, expression: str) -> bytes:
    """Pickle what an expression gives, of classes that a module of this code has defined."""
    made = types.ModuleType(module)
    exec(code, vars(made))
    before = sys.modules.get(module)
    sys.modules[module] = made
    try:
        return pickle.dumps(eval(expression, vars(made)))
    finally:
        if before is None:
            del sys.modules[module]
        else:
            sys.modules[module] = before

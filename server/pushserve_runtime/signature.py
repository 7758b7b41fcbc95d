"""Signature of a version: what it takes and gives.

It is made in the sandbox, travels as JSON (`to_json`/`from_json`) and is stored
with the version.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pushserve_runtime.str_enum import StrEnum


class DType(StrEnum):
    """Type of one value. `JSON` is any value, as a `predict.py` takes and gives."""

    FLOAT64 = "float64"
    FLOAT32 = "float32"
    INT64 = "int64"
    INT32 = "int32"
    BOOL = "bool"
    STRING = "string"
    JSON = "json"

    @property
    def is_number(self) -> bool:
        """Whether NumPy holds it as a number or truth value of fixed size."""
        return self not in (DType.STRING, DType.JSON)


class Layout(StrEnum):
    """The form in which a model takes its rows."""

    MATRIX = "matrix"
    """One float array of shape [rows, features]."""
    TABLE = "table"
    """A data frame with named, typed columns."""
    RECORDS = "records"
    """One dict for each row (a `predict.py`)."""


class Accepts(StrEnum):
    """What a feature takes: how far its type is known."""

    DTYPE = "dtype"
    """Its type is known: values of it, and what scikit-learn takes for these."""
    NUMBERS = "numbers"
    """Numbers and truth values, which reach the model in the type they are sent in."""
    ANYTHING = "anything"
    """Numbers, truth values, texts, which reach the model as pandas would have them."""
    UNUSED = "unused"
    """Anything or nothing: no value of it reaches the model."""


class InputForm(StrEnum):
    """What an estimator of layout TABLE is handed."""

    DERIVED = ""
    """What its class tells (versions that were built before this was noted)."""
    FRAME = "frame"
    """A data frame."""
    OBJECTS = "objects"
    """An array of objects of shape [rows, features]."""
    TEXTS = "texts"
    """An array of texts of shape [rows]."""
    SERIES = "series"
    """A pandas Series of the only feature."""
    DICTS = "dicts"
    """A list with a dict for each row, without what is null."""


@dataclass(frozen=True, slots=True)
class Feature:
    """One input. `categories` lists the only values allowed, where it is not empty.

    `dtype` is only a default unless `accepts` is DTYPE. `null_is_none` tells that a null reaches
    the model as None (it was fitted on None), else it is NaN. `as_dates` tells that its texts
    reach the model as pandas' datetimes.
    """

    name: str
    dtype: DType = DType.FLOAT64
    nullable: bool = False
    categories: tuple[str | int | float, ...] = ()
    accepts: Accepts = Accepts.DTYPE
    null_is_none: bool = False
    as_dates: bool = False

    @property
    def is_open(self) -> bool:
        """Whether its values keep the type that they are sent in."""
        return self.accepts is Accepts.ANYTHING or self.accepts is Accepts.NUMBERS


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """One output. `columns` is 0 for one plain value a row, else the row's length."""

    name: str
    dtype: DType
    columns: int = 0
    classes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Signature:
    """Inputs in the order a matrix has them, outputs, and the default outputs' names.

    `inputs` is empty for a `predict.py` whose inputs nobody declared.
    `named` is False where the features have no names of their own (they are then x0, x1, …).
    `form` says what a TABLE's rows are handed to the estimator as.
    """

    layout: Layout
    inputs: tuple[Feature, ...]
    outputs: tuple[OutputSpec, ...]
    default_outputs: tuple[str, ...]
    named: bool = True
    form: InputForm = InputForm.DERIVED

    def to_json(self) -> dict[str, Any]:
        """Give plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Signature:
        """Build it from what `to_json` gave.

        Raises:
            ValueError, TypeError, KeyError: `data` does not have that form.
        """
        return cls(
            layout=Layout(data["layout"]),
            inputs=tuple(
                Feature(
                    name=str(f["name"]),
                    dtype=DType(f["dtype"]),
                    nullable=bool(f["nullable"]),
                    categories=tuple(f["categories"]),
                    accepts=Accepts(f.get("accepts", Accepts.DTYPE)),
                    null_is_none=bool(f.get("null_is_none", False)),
                    as_dates=bool(f.get("as_dates", False)),
                )
                for f in data["inputs"]
            ),
            outputs=tuple(
                OutputSpec(
                    name=str(o["name"]),
                    dtype=DType(o["dtype"]),
                    columns=int(o["columns"]),
                    classes=tuple(str(c) for c in o["classes"]),
                )
                for o in data["outputs"]
            ),
            default_outputs=tuple(str(n) for n in data["default_outputs"]),
            named=bool(data["named"]),
            form=InputForm(data.get("form", InputForm.DERIVED)),
        )


MODEL_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?")
"""What a model may be called (`fullmatch`)."""

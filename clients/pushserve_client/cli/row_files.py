"""Row files: rows that somebody typed or saved, CSV or JSON, as inputs for `Client.predict`.

Text in a file has no types: the model's signature says which columns are numbers.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

from pushserve_client.errors import BadData
from pushserve_client.types import DataType, Feature, Signature

_TRUTH: Final = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def looks_like_json(text: str) -> bool:
    """Whether it starts as a JSON array or object; a CSV header does not."""
    return text.lstrip("\ufeff \t\r\n")[:1] in ("[", "{")


def inputs_from_json(text: str, signature: Signature) -> Any:
    """Read a list of objects, a list of lists, one object, or an object of columns.

    An object of lists is one row where the model takes any object.

    Raises:
        BadData: it is no JSON, or none of these.
    """
    try:
        data = json.loads(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:
        raise BadData(f"the input is not JSON: {error}") from None
    if isinstance(data, dict):
        return [data] if not signature.inputs else data
    if not isinstance(data, list) or not data:
        raise BadData("the input has no rows: give a list of objects, or one object")
    kinds = {type(row) for row in data}
    if kinds in ({dict}, {list}):
        return data
    if kinds <= {int, float}:
        return [data]
    raise BadData(
        "the rows are of different kinds: give a list of objects, or a list of lists of numbers"
    )


def inputs_from_csv(text: str, signature: Signature) -> Any:
    """Read CSV whose first line names the columns; an empty cell is null.

    Raises:
        BadData: there is no header or no row, or a cell does not fit its column's type.
    """
    try:
        lines = list(csv.reader(io.StringIO(text.removeprefix("\ufeff"))))
    except csv.Error as error:  # such as a cell over 128 KiB: a quote that is never closed
        raise BadData(f"the input is no CSV: {error}") from None
    numbered = [(number, line) for number, line in enumerate(lines, start=1) if line]
    if len(numbered) < 2:
        raise BadData("the input has no rows: give a line of column names, then the rows")
    (_, header), *rows = numbered
    names = [name.strip() for name in header]
    _check_header(names, signature.inputs)
    for number, row in rows:
        if len(row) != len(names):
            raise BadData(f"line {number} has {len(row)} cells; the header has {len(names)}")
    features = {feature.name: feature for feature in signature.inputs}
    columns = {
        name: _read_column(name, features.get(name), [(n, row[i]) for n, row in rows])
        for i, name in enumerate(names)
    }
    if signature.inputs:
        return columns
    return [dict(zip(columns, row)) for row in zip(*columns.values())]


def _check_header(names: Sequence[str], features: Sequence[Feature]) -> None:
    doubled = sorted(name for name, count in Counter(names).items() if count > 1)
    if doubled:
        raise BadData(f"the header names these columns twice: {', '.join(doubled)}")
    known = {feature.name for feature in features}
    if known and not known & set(names) and any(_as_number(name) is not None for name in names):
        want = ",".join(feature.name for feature in features)
        raise BadData(f"the first line must name the columns: {want}")


def _read_column(name: str, feature: Feature | None, cells: Sequence[tuple[int, str]]) -> list[Any]:
    """Read a column by its feature's type; one that no feature names, by how it looks."""
    texts = [text.strip() for _, text in cells if text.strip()]
    read = _READERS[feature.dtype] if feature else _guess_reader(texts)
    values = []
    for number, text in cells:
        value = read(text.strip()) if text.strip() else None
        if text.strip() and value is None:
            kind = _KINDS.get(feature.dtype, "a number") if feature else "a value"
            raise BadData(f"line {number}, column {name!r}: {text.strip()!r} is not {kind}")
        values.append(value)
    return values


def _as_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _as_int(text: str) -> int | float | None:
    """An integer; "5.0" stays a float, on which the server decides."""
    try:
        return int(text)
    except ValueError:
        return _as_number(text)


def _as_truth(text: str) -> bool | None:
    return _TRUTH.get(text.lower())


def _as_json(text: str) -> Any:
    """A JSON value; what is none is text."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


_KINDS: Final = {DataType.BOOL: "true or false", DataType.JSON: "a value"}
"""What a cell should have been; all other types that refuse a text are of numbers."""

_READERS: Final[dict[DataType, Callable[[str], Any]]] = {
    DataType.FLOAT64: _as_number,
    DataType.FLOAT32: _as_number,
    DataType.INT64: _as_int,
    DataType.INT32: _as_int,
    DataType.BOOL: _as_truth,
    DataType.STRING: str,
    DataType.JSON: _as_json,
    DataType.UNSPECIFIED: _as_json,
}


def _guess_reader(texts: Sequence[str]) -> Callable[[str], Any]:
    """Numbers where every cell is one, else text."""
    return _as_int if texts and all(_as_number(text) is not None for text in texts) else str

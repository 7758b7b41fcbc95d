"""Row files: rows that somebody typed or saved, CSV or JSON, as inputs for `Client.predict`.

Text in a file has no types: the model's signature says which columns are numbers.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pushserve_client.cli import csv_lines
from pushserve_client.cli.csv_lines import Line
from pushserve_client.errors import BadData
from pushserve_client.types import DataType, Feature, Signature
from pushserve_client.value_messages import ColumnValues

_TRUTH: Final = {
    **dict.fromkeys(("true", "1", "1.0", "yes", "y", "t"), True),
    **dict.fromkeys(("false", "0", "0.0", "no", "n", "f"), False),
}
_NOTHING: Final = frozenset({"nan", "na", "n/a", "#n/a", "<na>", "null", "none", "nat", "-"})
"""How a column of numbers or truth values says that a cell holds nothing, beside an empty cell."""
_NUMBER: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_WHOLE: Final = re.compile(r"[+-]?\d{1,4000}", re.ASCII)
_INFINITY: Final = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)


def looks_like_json(text: str) -> bool:
    """Whether it starts as a JSON array or object; a CSV header does not."""
    return text.lstrip("\ufeff \t\r\n")[:1] in ("[", "{")


def inputs_from_json(text: str, signature: Signature) -> Any:
    """Read a list of objects, of lists or of texts, one object, or an object of columns.

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
    if kinds == {str}:
        return data
    if kinds <= {int, float, bool, type(None)}:
        return [data]
    raise BadData(
        "the rows are of different kinds: give a list of objects, or a list of lists of numbers"
    )


@dataclass(frozen=True)
class CsvForm:
    """How CSV is written: what separates cells ("": it is to be found out), the decimal mark."""

    separator: str = ""
    decimal: str = "."


def inputs_from_csv(
    text: str, signature: Signature, form: CsvForm, remark: Callable[[str], None]
) -> Any:
    """Read CSV whose first line names the columns; an empty cell is null.

    What had to be found out is told to `remark`.

    Raises:
        BadData: there is no header or no row, or a cell does not fit its column's type.
    """
    features = {feature.name: feature for feature in signature.inputs}
    text, separator = csv_lines.without_excels_line(text.removeprefix("\ufeff"))
    if form.separator:
        separator = csv_lines.asked_separator(form.separator)
    separator = separator or csv_lines.find_separator(text, features)
    lines = list(csv_lines.read_lines(text, separator))
    if len(lines) < 2:
        raise BadData(
            "the input has no rows: give CSV with a line of column names, then the rows; or JSON, "
            "a list of objects or one object"
        )
    if separator != "," and not form.separator:
        remark(f"cells are separated by {csv_lines.NAMES.get(separator, repr(separator))}")
    names = [name.strip() for name in lines[0].cells]
    if features and names.count("") == 1 and "" not in features:
        remark("the column without a name is left out")
        lines = [Line(n, [c for c, name in zip(cells, names) if name]) for n, cells in lines]
    if _are_numbered(lines[0].cells, features):
        remark("columns called 0, 1, 2, … are taken by their position")
        lines[0] = Line(lines[0].number, list(features))
    return _inputs(lines, features, form.decimal)


def _are_numbered(names: Sequence[str], features: dict[str, Feature]) -> bool:
    """Whether a header is what pandas writes of columns without names.

    One column called 0 may as well be a row.
    """
    counted = [str(i) for i in range(len(features))]
    return len(counted) > 1 and names == counted and not set(counted) & set(features)


def _inputs(lines: Sequence[Line], features: dict[str, Feature], decimal: str) -> Any:
    header, *rows = lines
    names = [name.strip() for name in header.cells]
    _check_header(names, list(features))
    for row in rows:
        if len(row.cells) != len(names):
            raise BadData(
                f"line {row.number} has {len(row.cells)} cells; the header has {len(names)}"
            )
    columns = {
        name: _read_column(
            name, features.get(name), [(row.number, row.cells[i]) for row in rows], decimal
        )
        for i, name in enumerate(names)
    }
    if features:
        return columns
    return [dict(zip(columns, row)) for row in zip(*(one.values for one in columns.values()))]


def _check_header(names: Sequence[str], features: Sequence[str]) -> None:
    doubled = sorted(name for name, count in Counter(names).items() if count > 1)
    if doubled == [""]:
        raise BadData("the header has two columns without a name")
    if doubled:
        raise BadData(f"the header names these columns twice: {', '.join(doubled)}")
    if (
        features
        and not set(features) & set(names)
        and any(_as_number(name) is not None for name in names)
    ):
        raise BadData(f"the first line must name the columns: {','.join(features)}")


def _read_column(
    name: str, feature: Feature | None, cells: Sequence[tuple[int, str]], decimal: str
) -> ColumnValues:
    """Read a column by its feature's type; one that no feature names, by how it looks."""
    texts = [text.strip() for _, text in cells if text.strip()]
    dtype = feature.dtype if feature else _guessed_type(texts)
    read, values = _READERS[dtype], []
    for number, cell in cells:
        # Spaces around a number mean nothing; around text, they may be part of a category.
        text = cell if dtype is DataType.STRING else cell.strip()
        is_null = not text or (dtype in _KINDS and text.lower() in _NOTHING)
        point = text.replace(decimal, ".") if decimal != "." and dtype in _NUMBERS else text
        value = None if is_null else read(point)
        if value is None and not is_null and dtype in _KINDS:
            raise BadData(f"line {number}, column {name!r}: {_not_a(dtype, text, decimal)}")
        values.append(value)
    return ColumnValues(values, _MESSAGES.get(dtype, "doubles"))


def _not_a(dtype: DataType, text: str, decimal: str) -> str:
    shown = text if len(text) <= 60 else f"{text[:57]}…"
    what = f"{shown!r} is not {_KINDS[dtype]}"
    if decimal == "." and dtype in _NUMBERS and _as_number(text.replace(",", ".")) is not None:
        what += "; where a comma is the decimal mark, say --decimal ,"
    return what


def _as_number(text: str) -> float | None:
    """A number as scientists write it: float() takes 1_000 and other scripts' digits, too."""
    if _NUMBER.fullmatch(text) or _INFINITY.fullmatch(text):
        return float(text)
    truth = {"true": 1.0, "false": 0.0}
    return truth.get(text.lower())


def _as_int(text: str) -> int | float | None:
    """An integer; "5.0" stays a float, on which the server decides."""
    return int(text) if _WHOLE.fullmatch(text) else _as_number(text)


def _as_truth(text: str) -> bool | None:
    return _TRUTH.get(text.lower())


def _as_json(text: str) -> Any:
    """A JSON value; what is none is text."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


_NUMBERS: Final = (DataType.FLOAT64, DataType.FLOAT32, DataType.INT64, DataType.INT32)
_KINDS: Final = {**dict.fromkeys(_NUMBERS, "a number"), DataType.BOOL: "true or false"}
"""What a cell of a type that not every text has should have been."""
_MESSAGES: Final = {
    **dict.fromkeys(_NUMBERS[2:], "ints"),
    DataType.BOOL: "bools",
    DataType.STRING: "strings",
}
"""What a column that holds nothing is sent as, where it is not numbers."""

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


def _guessed_type(texts: Sequence[str]) -> DataType:
    """Numbers where every cell is one, else text."""
    are_numbers = texts and all(_NUMBER.fullmatch(text) for text in texts)
    return DataType.INT64 if are_numbers else DataType.STRING

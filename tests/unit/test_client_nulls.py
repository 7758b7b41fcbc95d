"""Nulls and odd values of every kind, as people have them in frames, dicts and lists."""

import array
import collections
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import math
import sqlite3
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

from pushserve.v1 import model_service_pb2 as pb
from pushserve_client.errors import BadData
from pushserve_client.from_messages import object_from_proto
from pushserve_client.input_messages import fill_inputs

NULLS = {
    "None": None,
    "nan": math.nan,
    "numpy nan": np.float32("nan"),
    "NA": pd.NA,
    "NaT": pd.NaT,
    "numpy NaT": np.datetime64("NaT", "ns"),
    "masked": np.ma.masked,
    "Decimal NaN": decimal.Decimal("NaN"),
}


def filled(inputs) -> pb.PredictRequest:
    request = pb.PredictRequest(model="m")
    fill_inputs(request, inputs)
    return request


def column(inputs, name="a") -> pb.Column:
    (found,) = (c for c in filled(inputs).table.columns if c.name == name)
    return found


def values(column: pb.Column) -> list:
    given = list(getattr(column, column.WhichOneof("values")).values)
    return [None if row in column.null_rows else value for row, value in enumerate(given)]


@pytest.mark.parametrize("null", NULLS.values(), ids=NULLS)
@pytest.mark.parametrize("other", [1.5, 7, "x", True], ids=repr)
@pytest.mark.parametrize("form", ["frame", "columns", "object array", "rows"])
def test_every_null_in_every_form(null, other, form):
    """Beside a value of each type."""
    if form == "rows":
        sent = filled([{"a": null}, {"a": other}]).rows
        assert [{"a": None}, {"a": other}] == [object_from_proto(row) for row in sent]
        return
    listed = [null, other]
    objects = np.empty(2, object)
    objects[:] = listed
    inputs = {
        "frame": pd.DataFrame({"a": pd.Series(listed, dtype=object)}),
        "columns": {"a": listed},
        "object array": {"a": objects},
    }[form]
    assert [None, other] == values(column(inputs))


@pytest.mark.parametrize("null", NULLS.values(), ids=NULLS)
def test_one_row_of_nothing(null):
    """A column of only nulls: its type is the model's to say."""
    for inputs in (pd.DataFrame([{"a": null, "b": 2.0}]), {"a": [null], "b": [2.0]}):
        assert [None] == values(column(inputs))
    assert [{"a": None}] == [object_from_proto(row) for row in filled([{"a": null}]).rows]


@pytest.mark.parametrize(
    ("dtype", "kind"),
    [
        ("float64", "doubles"), ("object", "doubles"), ("Int64", "ints"), ("Float32", "doubles"),
        ("boolean", "bools"), ("str", "strings"), ("string", "strings"), ("category", "doubles"),
    ],
)  # fmt: skip
def test_a_column_of_nulls_has_the_type_that_pandas_knows(dtype, kind):
    sent = column(pd.DataFrame({"a": pd.Series([None, None], dtype=dtype)}))

    assert (kind, [0, 1]) == (sent.WhichOneof("values"), list(sent.null_rows))


MASKS = {
    "float": (np.ma.array([1.0, 2.0, 3.0], mask=[0, 1, 0]), [1.0, None, 3.0]),
    "int": (np.ma.array([2**53 + 1, 2, 3], mask=[0, 1, 0]), [2**53 + 1, None, 3]),
    "unsigned": (np.ma.array([1, 2**64 - 1], mask=[0, 1], dtype=np.uint64), [1, None]),
    "bool": (np.ma.array([True, False], mask=[0, 1]), [True, None]),
    "text": (np.ma.array(["a", "b"], mask=[1, 0]), [None, "b"]),
    "object": (np.ma.array(["a", 1], mask=[0, 1], dtype=object), ["a", None]),
    "no mask": (np.ma.array([1.0, np.nan]), [1.0, None]),
}


@pytest.mark.parametrize("kind", MASKS)
def test_what_is_masked_is_null(kind):
    given, expected = MASKS[kind]

    assert expected == values(column({"a": given}))


@pytest.mark.parametrize(
    "inputs",
    [
        np.ma.array([[1.0, 9.0], [3.0, 4.0]], mask=[[0, 1], [0, 0]]),
        np.ma.array([[1, 9], [3, 4]], mask=[[0, 1], [0, 0]]),
        [np.ma.array([1.0, 9.0], mask=[0, 1]), np.ma.array([3.0, 4.0])],
        [[1.0, None], [3.0, 4.0]],
        [[1, None], [3, 4]],
        np.array([[1, None], [3, 4]], dtype=object),
        np.array([[1.0, pd.NA], [3, np.float64(4)]], dtype=object),
        pd.DataFrame([[1.0, None], [3.0, 4.0]]).to_numpy(),
    ],
    ids=repr,
)
def test_nulls_in_a_matrix_are_nan(inputs):
    """As scikit-learn makes a float array of it."""
    tensor = filled(inputs).tensor

    found = np.frombuffer(tensor.raw, "<f8").reshape(2, 2)
    assert np.array_equal([[1.0, np.nan], [3.0, 4.0]], found, equal_nan=True)


class Colour(str, enum.Enum):  # noqa: UP042 -- as older code has it
    RED = "red"


class Size(enum.IntEnum):
    BIG = 3


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (decimal.Decimal("0.1"), 0.1),
        (fractions.Fraction(1, 3), 1 / 3),
        (Colour.RED, "red"),
        (Size.BIG, 3),
        (np.str_("x"), "x"),
        (np.longdouble("0.5"), 0.5),
        (np.array(5), 5),
        (np.uint8(5), 5),
    ],
    ids=repr,
)
def test_values_that_mean_a_number_or_text(given, sent):
    assert [sent] == values(column({"a": [given]}))
    assert {"a": sent} == object_from_proto(filled([{"a": given}]).rows[0])


@pytest.mark.parametrize(
    "value",
    [
        dt.date(2020, 1, 1),
        dt.datetime(2020, 1, 1),  # noqa: DTZ001
        dt.timedelta(1),
        pd.Timestamp("2020"),
        np.datetime64("2020-01-01", "ns"),
        np.timedelta64(1, "ns"),
        b"bytes",
        1j,
        object(),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("form", [lambda v: {"a": [v]}, lambda v: [{"a": v}]], ids=["list", "row"])
def test_values_without_an_equal_are_refused_by_name(value, form):
    """Nanoseconds as whole numbers would be a silent answer to another question."""
    with pytest.raises(BadData, match="'a' holds"):
        filled(form(value))


@pytest.mark.parametrize(
    "dtype", ["datetime64[ns]", "timedelta64[ns]", "datetime64[D]", "S3", "c16"]
)
def test_arrays_without_an_equal_are_refused_by_name(dtype):
    with pytest.raises(BadData, match="'a' holds"):
        filled({"a": np.zeros(1, dtype)})


class Iris(NamedTuple):
    length: float
    width: float


def database_rows():
    database = sqlite3.connect(":memory:")
    database.row_factory = sqlite3.Row
    found = database.execute(
        "select 2.0 as width, 1.0 as length union all select 4.0, 3.0"
    ).fetchall()
    database.close()
    return found


def pandas_rows():
    return pd.DataFrame({"length": [1.0, 3.0], "width": [2.0, 4.0]})


ROWS = {
    "named tuples": [Iris(1.0, 2.0), Iris(3.0, 4.0)],
    "itertuples": list(pandas_rows().itertuples(index=False)),
    "Series": [row for _, row in pandas_rows().iterrows()],
    "Series, other order": [row for _, row in pandas_rows()[["width", "length"]].iterrows()],
    "database": database_rows(),
    "iterator": iter([{"length": 1.0, "width": 2.0}, {"length": 3.0, "width": 4.0}]),
    "array of dicts": np.array([{"length": 1.0, "width": 2.0}, {"length": 3.0, "width": 4.0}]),
    "user dicts": [collections.UserDict(length=1.0, width=2.0), {"length": 3, "width": 4}],
}


@pytest.mark.parametrize("kind", ROWS)
def test_rows_with_names_are_matched_by_name(kind):
    """Never by position."""
    rows = [object_from_proto(row) for row in filled(ROWS[kind]).rows]

    assert [{"length": 1, "width": 2}, {"length": 3, "width": 4}] == rows


@pytest.mark.parametrize(
    "row",
    [Iris(1.0, 2.0), pandas_rows().iloc[0], database_rows()[0]],
    ids=["named tuple", "Series", "database"],
)
def test_one_row_with_names(row):
    assert [{"length": 1, "width": 2}] == [object_from_proto(r) for r in filled(row).rows]


class Frame(pd.DataFrame):
    """As GeoPandas has one: a frame, whose class is another library's."""


@pytest.mark.parametrize(
    "inputs",
    [
        Frame({"b": [1.0, 2.0], "a": [3.0, 4.0]}),
        np.array([(1.0, 3.0), (2.0, 4.0)], dtype=[("b", "f8"), ("a", "f8")]),
        np.rec.fromarrays([[1.0, 2.0], [3.0, 4.0]], names="b,a"),
        {"b": range(1, 3), "a": array.array("d", [3.0, 4.0])},
        {"b": collections.deque([1.0, 2.0]), "a": pd.Index([3.0, 4.0])},
        {"b": {1: 1.0, 2: 2.0}.values(), "a": pd.array([3.0, 4.0], "Float64")},
    ],
    ids=["subclass", "structured", "record array", "range", "deque", "view"],
)
def test_columns_with_names_are_matched_by_name(inputs):
    table = filled(inputs).table

    assert ["b", "a"] == [column.name for column in table.columns]
    assert [[1, 2], [3, 4]] == [values(column) for column in table.columns]


@dataclasses.dataclass
class Lazy:
    """As a lazy frame of a library: it has columns, and no values yet."""

    columns: list


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (Lazy(["a"]), "named columns.*pandas or Polars"),
        ([], "no rows"),
        ([{"a": 1}, [2]], "row 1 is a list without names"),
        ([[1.0], {"a": 1}], "row 0 is a list without names"),
        (np.array(5), "hold no rows: give an array"),
        ({"a": [1, 2], "b": [1]}, "differ in length"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "given twice: a"),
        ({1: [1], "1": [2]}, "given twice: 1"),
        ([{1: 1, "1": 2}], "given twice: 1"),
        (np.array([[2**64 - 1]], np.uint64), "18446744073709551615"),
    ],
    ids=str,
)
def test_what_cannot_be_sent(inputs, message):
    with pytest.raises(BadData, match=message):
        filled(inputs)


def test_sparse_matrices_are_matrices():
    from scipy import sparse

    tensor = filled(sparse.csr_matrix([[0.0, 2.0], [3.0, 0.0]])).tensor

    assert [0.0, 2.0, 3.0, 0.0] == np.frombuffer(tensor.raw, "<f8").tolist()


def test_unsigned_numbers_are_exact():
    """float64 would round it."""
    tensor = filled(np.array([[2**53 + 1]], np.uint64)).tensor

    assert [2**53 + 1] == np.frombuffer(tensor.raw, "<i8").tolist()


def test_whole_numbers_in_rows_are_exact_or_refused():
    """A JSON number is a 64-bit float."""
    assert {"a": 2**53} == object_from_proto(filled([{"a": 2**53}]).rows[0])
    for number in (2**53 + 1, 10**400, -(2**63) - 1):
        with pytest.raises(BadData, match=r"'a' holds .*cannot hold exactly"):
            filled([{"a": number}])

"""What frames of other libraries become on the wire; run where those are installed (test_frames).

What is expected is what the pandas frame of the same values becomes.
"""

import datetime as dt
import decimal
import subprocess
import sys

import nanoarrow as na
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from pushserve.v1 import model_service_pb2 as pb
from pushserve_client import BadData
from pushserve_client.input_messages import fill_inputs, fill_sendable

LONG = "a text that Arrow's views keep elsewhere, because it is long"
FRAME = pd.DataFrame(
    {
        "text": ["a", None, LONG, "", "ü"],
        "x": [1.5, np.nan, -0.0, np.inf, 1e300],
        "id": [2**53 + 1, -1, 0, 2**63 - 1, 3],
        "maybe": pd.array([1, None, 3, None, 5], "Int64"),
        "flag": [True, False, True, True, False],
        "maybe_flag": pd.array([True, None, False, True, None], "boolean"),
        "small": np.array([1, -2, 3, -4, 5], np.int8),
        "single": np.array([0.5, 1.5, 2.5, 3.5, 4.5], np.float32),
        "kind": pd.Categorical(["u", None, "v", "u", "u"]),
    }
)
TABLE = pa.Table.from_pandas(FRAME, preserve_index=False)


class OnlyStream:
    """A frame of a library that nobody knows."""

    def __init__(self, frame):
        self.frame = frame

    def __arrow_c_stream__(self, requested_schema=None):
        return self.frame.__arrow_c_stream__(requested_schema)


class OnlyArray(OnlyStream):
    def __arrow_c_array__(self, requested_schema=None):
        return self.frame.__arrow_c_array__(requested_schema)

    __arrow_c_stream__ = property()


class OnlyExchange:
    """One that has the elder protocol alone."""

    def __init__(self, frame):
        self.frame = frame

    def __dataframe__(self, nan_as_null=False, allow_copy=True):
        return self.frame.__dataframe__(allow_copy=allow_copy)


def sent(inputs) -> pb.PredictRequest:
    request = pb.PredictRequest(model="m")
    fill_inputs(request, inputs)
    return request


def halves(table: pa.Table) -> pa.Table:
    """The same in two pieces, which start at an offset that is no whole byte of bits."""
    return pa.concat_tables([table.slice(0, 3), table.slice(3)])


FORMS = {
    "polars": lambda: pl.from_pandas(FRAME),
    "polars in pieces": lambda: pl.concat(
        [pl.from_pandas(FRAME)[:1], pl.from_pandas(FRAME)[1:]], rechunk=False
    ),
    "polars categories": lambda: pl.from_pandas(FRAME).with_columns(
        pl.col("kind").cast(pl.Enum(["v", "u"]))
    ),
    "pyarrow": lambda: TABLE,
    "pyarrow in pieces": lambda: halves(TABLE),
    "pyarrow views": lambda: TABLE.set_column(0, "text", TABLE["text"].cast(pa.string_view())),
    "pyarrow large text": lambda: TABLE.set_column(0, "text", TABLE["text"].cast(pa.large_utf8())),
    "batch": lambda: TABLE.combine_chunks().to_batches()[0],
    "reader": TABLE.to_reader,
    "nanoarrow": lambda: na.ArrayStream(TABLE),
    "unknown stream": lambda: OnlyStream(TABLE),
    "unknown array": lambda: OnlyArray(TABLE.combine_chunks().to_batches()[0]),
    "exchange": lambda: OnlyExchange(halves(TABLE)),
    "exchange by pandas": lambda: OnlyExchange(FRAME.drop(columns=["maybe", "maybe_flag"])),
}


@pytest.mark.filterwarnings("ignore:The Dataframe Interchange Protocol")
@pytest.mark.parametrize("form", FORMS)
def test_a_frame_is_sent_as_pandas_own(form):
    frame = FORMS[form]()
    wanted = FRAME.drop(columns=["maybe", "maybe_flag"]) if "by pandas" in form else FRAME

    assert sent(wanted).table == sent(frame).table


@pytest.mark.parametrize("form", ["polars", "pyarrow", "exchange"])
def test_columns_keep_their_names_in_any_order(form):
    names = ["small", "x", "text"]
    frames = {
        "polars": pl.from_pandas(FRAME[names]),
        "pyarrow": TABLE.select(names),
        "exchange": OnlyExchange(TABLE.select(names)),
    }

    assert names == [column.name for column in sent(frames[form]).table.columns]
    assert sent(FRAME[names]).table == sent(frames[form]).table


@pytest.mark.parametrize("start", range(4))
@pytest.mark.parametrize("length", [0, 1, 2])
def test_slices(start, length):
    """Of a batch, whose rows start at an offset, and of Polars'."""
    wanted = sent(FRAME.iloc[start : start + length]).table
    batch = TABLE.combine_chunks().to_batches()[0]
    inner = pa.StructArray.from_arrays(batch.columns, names=batch.schema.names)

    assert wanted == sent(batch.slice(start, length)).table
    assert wanted == sent(inner.slice(start, length)).table
    assert wanted == sent(pl.from_pandas(FRAME).slice(start, length)).table


@pytest.mark.parametrize(
    "column",
    [
        pl.Series("n", [1, None, 3]),
        pa.array([1, None, 3]),
        pa.chunked_array([[1], [None, 3]]),
        pa.array([9, 1, None, 3]).slice(1),
        na.Array([1, None, 3], na.int64()),
        pd.Series([1, None, 3], dtype="Int64"),
        pd.Series([1, None, 3], dtype="int64[pyarrow]"),
        [pa.scalar(1), pa.scalar(None), pa.scalar(3)],
        list(pl.Series([1, None, 3])),
    ],
    ids=lambda column: f"{type(column).__module__}.{type(column).__name__}",
)
def test_a_dict_of_columns_takes_series_and_arrays(column):
    """Beside lists."""
    request = sent({"n": column, "text": ["a", "b", "c"]})

    assert sent({"n": [1, None, 3], "text": ["a", "b", "c"]}) == request
    assert (["n", "text"], [1]) == (
        [c.name for c in request.table.columns],
        list(request.table.columns[0].null_rows),
    )


@pytest.mark.parametrize(
    "empty",
    [
        pl.DataFrame({"a": [None]}),
        pl.DataFrame({"a": pl.Series([None], dtype=pl.Float32)}),
        pa.table({"a": pa.nulls(1)}),
        pa.table({"a": pa.array([None], pa.int16())}),
        pa.table({"a": pa.array([None], pa.string())}),
        OnlyExchange(pa.table({"a": pa.array([None], pa.int16())})),
    ],
    ids=str,
)
def test_a_column_of_nulls_alone(empty):
    (column,) = sent(empty).table.columns

    assert ("a", [0]) == (column.name, list(column.null_rows))
    assert 1 == len(getattr(column, column.WhichOneof("values")).values)


def test_decimals_and_halves_are_numbers():
    """Nearest floats, as Python's own."""
    texts = ["0.10", None, "-12345678901234567.89", "1.25"]
    numbers = [None if t is None else decimal.Decimal(t) for t in texts]
    wanted = sent({"d": [None if n is None else float(n) for n in numbers]}).table

    assert wanted == sent(pa.table({"d": pa.array(numbers, pa.decimal128(20, 2))})).table
    assert wanted == sent(pa.table({"d": pa.array(numbers, pa.decimal256(40, 2))})).table
    assert wanted == sent(pl.DataFrame({"d": pl.Series(numbers, dtype=pl.Decimal(20, 2))})).table
    assert wanted == sent({"d": numbers}).table
    half = pa.table({"d": pa.array(np.array([0.5, 1.5], np.float16))})
    assert sent({"d": [0.5, 1.5]}).table == sent(half).table


@pytest.mark.parametrize(
    "frame",
    [
        pl.DataFrame({"when": [pd.Timestamp("2020-01-01").to_pydatetime()]}),
        pl.DataFrame({"when": [pd.Timestamp("2020-01-01").date()]}),
        pa.table({"when": pa.array([1], pa.timestamp("ms"))}),
        OnlyExchange(pa.table({"when": pa.array([1], pa.timestamp("ms"))})),
        pl.DataFrame({"when": [[1, 2]]}),
        pl.DataFrame({"when": [{"a": 1}]}),
        pl.DataFrame({"when": [b"x"]}),
        pa.table({"when": pa.array([b"x"])}),
        pa.table({"when": pa.array([2**64 - 1], pa.uint64())}),
        pl.LazyFrame({"when": [1]}),
    ],
    ids=lambda frame: type(frame).__name__,
)
def test_what_has_no_equal_is_refused_by_name(frame):
    with pytest.raises(BadData, match=r"'when'|collect"):
        sent(frame)


class OnDevice:
    """A frame whose buffers are a GPU's: their addresses mean nothing here."""

    def __init__(self, inner):
        self.inner = inner

    def __getattr__(self, name):
        if name.startswith("__arrow"):
            raise AttributeError(name)
        found = getattr(self.inner, name)
        if name == "get_buffers":
            return lambda: {"data": (OnDevice(found()["data"][0]), None)}
        if name in ("get_chunks", "get_column_by_name"):
            return lambda *a: (
                [OnDevice(self.inner)] if name == "get_chunks" else OnDevice(found(*a))
            )
        return found

    def __dataframe__(self, **_):
        return OnDevice(self.inner.__dataframe__())

    def __dlpack_device__(self):
        return (2, 0)


def test_memory_of_a_device_is_not_read():
    with pytest.raises(BadData, match="'x' is in a device's memory"):
        sent(OnDevice(pa.table({"x": [1.0]})))


def test_rows_of_these_libraries_are_rows():
    rows = [{"a": 1.0, "b": "x"}, {"a": None, "b": "y"}]
    frame = pl.DataFrame(rows)

    assert sent(rows) == sent(frame.to_dicts())
    assert sent(rows) == sent(frame.iter_rows(named=True))
    assert sent(rows) == sent(pa.Table.from_pylist(rows).to_pylist())


def test_a_series_of_texts_is_a_column():
    """With its name, where it has one."""
    assert ["s"] == [c.name for c in sent(pl.Series("s", ["a"])).table.columns]
    assert [""] == [c.name for c in sent(pa.array(["a"])).table.columns]
    assert ["a"] == list(sent(pa.array(["a"])).table.columns[0].strings.values)


@pytest.mark.filterwarnings("ignore:The Dataframe Interchange Protocol")
@pytest.mark.parametrize("form", ["polars", "pyarrow", "stream", "exchange"])
def test_columns_that_no_message_holds_are_left_to_the_signature(form):
    """Those that can be read are sent, whatever stands beside them."""
    table = pa.table(
        {
            "when": pa.array([dt.date(2026, 1, 31)] * 3),
            "x": [1.0, 2.0, 3.0],
            "took": pa.array([dt.timedelta(1)] * 3),
            "s": ["a", None, "c"],
        }
    )
    if form != "exchange":
        table = table.append_column("tags", pa.array([["a"], [], None]))
    forms = {"polars": pl.from_arrow, "stream": OnlyStream, "exchange": OnlyExchange}
    request = pb.PredictRequest(model="m")

    unsent = fill_sendable(request, forms.get(form, lambda frame: frame)(table))

    assert unsent
    assert sent({"x": [1.0, 2.0, 3.0], "s": ["a", None, "c"]}).table == request.table
    with pytest.raises(BadData, match="'when'"):
        unsent.refuse()


def test_many_rows():
    """Memory is given back, values are not lost at the borders of pieces."""
    numbers = np.random.default_rng(0).normal(size=100_000)
    whole = pa.table({"x": numbers, "s": [str(n) for n in numbers]})

    for _ in range(3):
        table = sent(pl.from_arrow(whole)).table
    assert numbers.tolist() == list(table.columns[0].doubles.values)
    assert [str(n) for n in numbers] == list(table.columns[1].strings.values)


def test_the_client_imports_none_of_them():
    found = "sorted({'polars', 'pyarrow', 'pandas', 'numpy'} & set(sys.modules))"
    command = [sys.executable, "-c", f"import sys, pushserve_client; print({found})"]

    assert "[]\n" == subprocess.check_output(command, text=True)

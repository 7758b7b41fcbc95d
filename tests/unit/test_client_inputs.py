"""What Python data becomes on the wire."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushserve.v1 import model_service_pb2 as pb
from pushserve_client.array_messages import columns_from_frame, tensor_from_array
from pushserve_client.errors import BadData
from pushserve_client.from_messages import object_from_proto
from pushserve_client.input_messages import fill_inputs, table_from_columns
from pushserve_client.value_messages import column_from_values, row_to_struct, tensor_from_lists


def filled(inputs) -> pb.PredictRequest:
    request = pb.PredictRequest(model="m")
    fill_inputs(request, inputs)
    return request


def column(table: pb.Table, name: str) -> pb.Column:
    return next(c for c in table.columns if c.name == name)


@pytest.mark.parametrize(
    ("array", "dtype"),
    [
        (np.array([[1.5, 2.5]]), pb.DATA_TYPE_FLOAT64),
        (np.array([[1.5, 2.5]], dtype=np.float32), pb.DATA_TYPE_FLOAT32),
        (np.array([[1, 2]], dtype=np.int32), pb.DATA_TYPE_INT32),
        (np.array([[2**60 + 1, 2]]), pb.DATA_TYPE_INT64),
        (np.array([[True, False]]), pb.DATA_TYPE_BOOL),
    ],
)
def test_an_array_keeps_its_type(array, dtype):
    """No precision is lost on the way."""
    tensor = tensor_from_array(array)

    assert dtype == tensor.dtype
    assert array.tobytes() == tensor.raw


@pytest.mark.parametrize(
    "array",
    [
        np.array([[1, 2], [3, 4]], dtype=">f8"),
        np.asfortranarray(np.array([[1.0, 2.0], [3.0, 4.0]])),
        np.array([[1, 9, 2, 9], [3, 9, 4, 9]], dtype=np.float64)[:, ::2],
        np.array([[1, 2], [3, 4]], dtype=np.float16),
        np.array([[1, 2], [3, 4]], dtype=np.uint8),
        [[1.0, 2], [3, 4]],
    ],
    ids=["big endian", "column-major", "strided", "half", "uint8", "lists"],
)
def test_every_layout_arrives_row_major_and_little_endian(array):
    """The bytes do not depend on how the array lies in memory."""
    tensor = tensor_from_array(array)

    assert [2, 2] == list(tensor.shape)
    assert [1.0, 2.0, 3.0, 4.0] == np.frombuffer(tensor.raw, "<f8").tolist()


@pytest.mark.parametrize(
    "rows",
    [
        [[1.5, -0.0], [math.inf, math.nan]],
        [[1, 2], [3, -4]],
        [[2**63 - 1, -(2**63)]],
        [[1, 2.5]],
        [[True, False]],
        [[True, 2]],
        [[True, 0.5]],
        [[], []],
        [(1.0, 2.0), (3.0, 4.0)],
    ],
    ids=repr,
)
def test_lists_are_sent_as_numpy_would_send_them(rows):
    """Without NumPy: type, shape and bytes are those of the array."""
    assert tensor_from_array(rows) == tensor_from_lists(rows)


@given(
    st.integers(1, 4).flatmap(
        lambda width: st.lists(
            st.lists(
                st.booleans() | st.integers(-(2**70), 2**70) | st.floats(),
                min_size=width,
                max_size=width,
            ),
            min_size=1,
            max_size=4,
        )
    )
)
def test_lists_are_numpys_or_left_to_it(rows):
    """What does not fit into 64 bits is NumPy's to refuse or to round."""
    tensor = tensor_from_lists(rows)

    assert tensor is None or tensor_from_array(rows) == tensor


def test_lists_of_arrays_and_numpys_scalars_are_left_to_it():
    for rows in ([np.array([1.0, 2.0])], [[np.int32(1), np.int32(2)]]):
        assert tensor_from_lists(rows) is None
        assert [1, 2] == list(filled(rows).tensor.shape)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([1.0, 2.0], r"\[rows, features\]; this has shape \[2\].*wrap it"),
        ([[1.0], [1.0, 2.0]], "differ in length"),
        ([["a"]], "holds numbers; this holds values of the type <U1.*DataFrame"),
        (None, "of the type NoneType hold no rows: give an array"),
        (5, "of the type int hold no rows"),
        ({1, 2}, "of the type set hold no rows"),
        ("good", "of the type str hold no rows: .*, or a list of texts"),
        ([[[1.0, 2.0]]], r"shape \[1, 1, 2\]: each row is a list of numbers"),
        ([[10**30, 1]], "this holds a whole number of more than 64 bits"),
        ([[object(), 1]], "this holds an object of the type object"),
    ],
)
def test_what_is_no_matrix_is_refused(inputs, message):
    """The text says what would be right."""
    with pytest.raises(BadData, match=message):
        filled(inputs)


def test_a_frame_becomes_typed_columns_with_nulls():
    """Every kind of column that pandas has for such data."""
    frame = pd.DataFrame(
        {
            "x": [1.5, math.nan],
            "n": [1, 2],
            "maybe_n": pd.array([None, 7], dtype="Int64"),
            "text": ["a", None],
            "flag": [True, False],
            "maybe_flag": pd.array([True, None], dtype="boolean"),
            "kind": pd.Categorical(["u", None]),
            "single": np.array([0.5, 1.5], dtype=np.float32),
        }
    )

    table = pb.Table(columns=[make() for _, make in columns_from_frame(frame)])

    kinds = {c.name: (c.WhichOneof("values"), list(c.null_rows)) for c in table.columns}
    assert {
        "x": ("doubles", [1]),
        "n": ("ints", []),
        "maybe_n": ("ints", [0]),
        "text": ("strings", [1]),
        "flag": ("bools", []),
        "maybe_flag": ("bools", [1]),
        "kind": ("strings", [1]),
        "single": ("doubles", []),
    } == kinds
    assert [0, 7] == list(column(table, "maybe_n").ints.values)
    assert ["a", ""] == list(column(table, "text").strings.values)
    assert [True, False] == list(column(table, "maybe_flag").bools.values)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame({"t": pd.to_datetime(["2020-01-01"])}), "'t' holds datetime64.*strftime"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "given twice: a"),
        (pd.DataFrame({"a": [1, "x"]}, dtype=object), "'a' holds int, str"),
        (pd.DataFrame({"a": np.array([2**63], dtype=np.uint64)}), "not a 64-bit integer"),
    ],
)
def test_a_frame_that_has_no_equal_is_refused(frame, message):
    """The column is named."""
    with pytest.raises(BadData, match=message):
        filled(frame)


def test_columns_by_name():
    """Lists, arrays and Series stand side by side."""
    request = filled({"a": [1, None], "b": np.array([1.5, math.nan]), "c": pd.Series(["x", "y"])})

    kinds = {c.name: (c.WhichOneof("values"), list(c.null_rows)) for c in request.table.columns}
    assert {"a": ("ints", [1]), "b": ("doubles", [1]), "c": ("strings", [])} == kinds


def test_columns_of_different_length():
    """The lengths are named."""
    with pytest.raises(BadData, match=r"differ in length: {'a': 1, 'b': 2}"):
        table_from_columns({"a": [1], "b": [1, 2]})


def test_mixed_ints_and_floats_are_floats():
    """An int among floats is no error."""
    assert [1.0, 2.5] == list(column_from_values("a", [1, 2.5]).doubles.values)


@pytest.mark.parametrize("values", [[True, 1], [True, 0, None], [False, 2.5], [True, None, 0.5]])
def test_truth_values_among_numbers_are_numbers(values):
    """As NumPy and scikit-learn take them."""
    numbers = [math.nan if value is None else value for value in values]
    present = [value is not None for value in values]

    column = column_from_values("a", values)
    sent = np.array(getattr(column, column.WhichOneof("values")).values)

    wanted = np.array(numbers, float)
    assert wanted[present].tolist() == sent[present].tolist()
    assert [i for i, there in enumerate(present) if not there] == list(column.null_rows)


@pytest.mark.parametrize("values", [["a", 1], [True, "a"], [1.5, "a", None], [1, [2]], [{}, 1]])
def test_a_mixed_column_is_refused(values):
    with pytest.raises(BadData, match=r"'a' holds .*; a column is all text"):
        column_from_values("a", values)


def test_dicts_are_rows():
    """One dict with plain values is one row."""
    several = filled([{"a": 1}, {"a": None}])
    one = filled({"a": 1, "tags": ["x"]})

    assert [{"a": 1}, {"a": None}] == [object_from_proto(row) for row in several.rows]
    assert [{"a": 1, "tags": ["x"]}] == [object_from_proto(row) for row in one.rows]


def test_a_row_takes_numpy_values():
    """What comes out of an array can be sent as it is."""
    row = {"a": np.float32(0.5), "b": np.int64(3), "c": np.array([1, 2]), "d": np.bool_(True)}

    sent = object_from_proto(row_to_struct(row))

    assert {"a": 0.5, "b": 3, "c": [1, 2], "d": True} == sent


def test_a_value_that_is_no_json_is_refused():
    """The field is named, also below."""
    with pytest.raises(BadData, match="'when' holds object"):
        row_to_struct({"a": {"when": object()}})


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_json_comes_back_as_it_went(row):
    """Struct keeps every JSON object."""
    assert json.loads(json.dumps(row)) == object_from_proto(row_to_struct(row))

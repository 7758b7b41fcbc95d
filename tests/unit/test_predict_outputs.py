"""Answers joined from prepared bytes are what protobuf itself would make."""

from datetime import UTC, datetime

import numpy as np
import pytest
from google.protobuf import struct_pb2
from hypothesis import given
from hypothesis import strategies as st

from pushserve.v1 import model_service_pb2 as pb
from pushserve_client.from_messages import prediction_from_proto
from pushserve_runtime.frames import Array
from pushserve_runtime.signature import DType, Layout, OutputSpec, Signature
from pushserve_sandbox.worker.struct_bytes import struct_bytes
from pushserve_server.api.doors.predict_outputs import make_encoder
from pushserve_server.domain.records import EngineName, Version
from pushserve_server.errors import BadAnswer


def struct(value):
    made = struct_pb2.Struct()
    made.update(value)
    return made.SerializeToString()


def encoder(specs):
    signature = Signature(Layout.MATRIX, (), tuple(specs), ())
    version = Version(
        1, "m" * 60, 300, "c" * 40, EngineName.ONNX, "d" * 64, signature, {}, datetime.now(UTC)
    )
    return make_encoder(version, specs)


def answer(specs, arrays):
    """Decode the answer that holds all rows; those for each row alone must be its parts."""
    made = encoder(specs)
    for row, data in enumerate(made.each(arrays)):
        alone = [Array(a.dtype, a.values[row : row + 1]) for a in arrays]
        assert made.one(alone) == data
    return pb.PredictResponse.FromString(made.one(arrays))


def texts(*values):
    array = np.empty(len(values), object)
    array[:] = values
    return array


@pytest.mark.parametrize("rows", [1, 2, 200])
def test_numbers_with_columns(rows):
    values = np.random.default_rng(0).normal(size=(rows, 3))
    values[0, 0] = np.nan
    spec = OutputSpec("probabilities", DType.FLOAT64, 3, ("a", "b", "c" * 200))
    expected = pb.Output(
        name="probabilities",
        shape=[rows, 3],
        classes=spec.classes,
        doubles=pb.Doubles(values=values.ravel()),
    )
    got = answer([spec], [Array(DType.FLOAT64, values)])
    assert expected.SerializeToString() == got.outputs[0].SerializeToString()
    assert ("m" * 60, 300, "c" * 40, pb.ENGINE_ONNX) == (
        got.model, got.version, got.commit, got.engine,
    )  # fmt: skip


CHANCE = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("dtype", "values", "kind"),
    [
        (DType.INT64, CHANCE.integers(0, 128, 10_000), pb.Int64s),
        (DType.INT64, np.r_[CHANCE.integers(0, 128, 10_000), 128], pb.Int64s),
        (DType.INT64, np.r_[CHANCE.integers(0, 128, 10_000), -1], pb.Int64s),
        (DType.INT32, CHANCE.integers(-(2**31), 2**31, (5_000, 2)).astype(np.int32), pb.Int64s),
        (DType.BOOL, CHANCE.integers(0, 2, 10_000).astype(bool), pb.Bools),
        (DType.STRING, texts(*(f"x{'é' * (i % 7)}" for i in range(10_000))), pb.Strings),
    ],
)
def test_many_values_are_serialized_as_one_list(dtype, values, kind):
    spec = OutputSpec("y", dtype, values.shape[1] if values.ndim == 2 else 0)
    data = encoder([spec]).one([Array(dtype, values)])
    (got,) = pb.PredictResponse.FromString(data).outputs
    assert kind(values=values.ravel().tolist()) == getattr(got, got.WhichOneof("values"))
    assert list(values.shape) == list(got.shape)


@pytest.mark.parametrize(
    ("dtype", "values", "field", "kind"),
    [
        (DType.INT64, np.array([0, -1, 2**62, 127, 128]), "ints", pb.Int64s),
        (DType.INT32, np.array([5, -5], np.int32), "ints", pb.Int64s),
        (DType.BOOL, np.array([True, False]), "bools", pb.Bools),
        (DType.STRING, texts("é", "", "x" * 300), "strings", pb.Strings),
        (DType.FLOAT64, np.array([1.5, -0.0, np.inf]), "doubles", pb.Doubles),
        (DType.FLOAT32, np.array([0.1, 2.0], np.float32), "doubles", pb.Doubles),
        (DType.FLOAT64, np.asfortranarray([1.0]), "doubles", pb.Doubles),
    ],
)
def test_every_type(dtype, values, field, kind):
    got = answer([OutputSpec("x", dtype)], [Array(dtype, values)]).outputs[0]
    assert [len(values)] == list(got.shape)
    assert kind(values=values.tolist()) == getattr(got, field)


def test_columns_in_another_memory_order():
    values = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    got = answer([OutputSpec("x", DType.FLOAT64, 3)], [Array(DType.FLOAT64, values)])
    assert [0, 1, 2, 3, 4, 5] == list(got.outputs[0].doubles.values)


def test_several_outputs_keep_their_order():
    specs = [OutputSpec("b", DType.INT64), OutputSpec("a", DType.FLOAT64)]
    arrays = [Array(DType.INT64, np.array([1])), Array(DType.FLOAT64, np.array([2.0]))]
    assert ["b", "a"] == [output.name for output in answer(specs, arrays).outputs]


def test_objects_become_rows():
    rows = texts(struct({"n": 1, "nested": {"list": [1, "x", None, True]}}), struct({}))
    got = answer([OutputSpec("output", DType.JSON)], [Array(DType.JSON, rows)])
    assert [1.0, "x", None, True] == list(got.rows[0]["nested"]["list"])
    assert 2 == len(got.rows)


def test_keys_keep_the_order_of_the_first_row():
    """Through the client, too: an object of protobuf has no order."""
    names = [f"key {i * 7 % 20}" for i in range(20)]
    rows = texts(
        struct_bytes(dict.fromkeys(names, 1)),
        struct_bytes(dict.fromkeys(["z", *reversed(names), "b"], 2)),
    )

    got = prediction_from_proto(
        answer([OutputSpec("output", DType.JSON)], [Array(DType.JSON, rows)])
    )

    assert names == list(got.rows[0])
    assert [*names, "b", "z"] == list(got.rows[1])


@pytest.mark.parametrize("keys", [0, 1, 3, 130, 1001])
def test_long_names_and_many(keys):
    names = [f"{'k' * (i % 200)}{i}" for i in range(keys)]
    rows = texts(struct_bytes({name: {"nested": "x" * 300} for name in names}))
    got = answer([OutputSpec("output", DType.JSON)], [Array(DType.JSON, rows)])
    assert set(names) == set(got.rows[0])
    assert (names if keys <= 1000 else []) == list(got.row_keys)


def test_rows_alone_are_what_they_are_among_others():
    values = np.random.default_rng(1).normal(size=(5, 3))
    specs = [OutputSpec("label", DType.STRING), OutputSpec("p", DType.FLOAT64, 3, ("a", "b", "c"))]
    labels = texts("yes", "no", "yes", "é", "no")
    each = encoder(specs).each([Array(DType.STRING, labels), Array(DType.FLOAT64, values)])
    for row, data in enumerate(each):
        label, numbers = pb.PredictResponse.FromString(data).outputs
        assert [1] == list(label.shape)
        assert [1, 3] == list(numbers.shape)
        assert [labels[row]] == list(label.strings.values)
        assert values[row].tolist() == list(numbers.doubles.values)


@pytest.mark.parametrize(
    "row", [b"x", b"\x0a\x05\x0a\x03a", b"\x0a\x07\x0a\x01\xff\x12\x02\x08\x00"]
)
def test_what_is_no_object_is_not_sent(row):
    """Garbage, an object cut short, and a key that is no UTF-8."""
    with pytest.raises(BadAnswer):
        answer([OutputSpec("output", DType.JSON)], [Array(DType.JSON, texts(row))])


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
VALUES = {
    DType.FLOAT64: st.floats(),
    DType.FLOAT32: st.floats(width=32),
    DType.INT64: st.integers(-(2**63), 2**63 - 1),
    DType.INT32: st.integers(-(2**31), 2**31 - 1),
    DType.BOOL: st.booleans(),
    DType.STRING: TEXTS,
}
NUMPY = {DType.FLOAT64: "<f8", DType.FLOAT32: "<f4", DType.INT64: "<i8", DType.INT32: "<i4"}
FIELDS = {DType.BOOL: ("bools", pb.Bools), DType.STRING: ("strings", pb.Strings)}
NUMBERS = {True: ("doubles", pb.Doubles), False: ("ints", pb.Int64s)}


@st.composite
def some_answer(draw):
    """Outputs, a model's arrays for them, and the message that protobuf makes of these."""
    rows = draw(st.integers(1, 4))
    expected = pb.PredictResponse(
        model="m" * 60, version=300, commit="c" * 40, engine=pb.ENGINE_ONNX
    )
    specs, arrays = [], []
    for _ in range(draw(st.integers(1, 3))):
        dtype, columns = draw(st.sampled_from(list(VALUES))), draw(st.integers(0, 3))
        classes = tuple(draw(st.lists(TEXTS, min_size=columns, max_size=columns)))
        count = rows * max(columns, 1)
        values = draw(st.lists(VALUES[dtype], min_size=count, max_size=count))
        shape = (rows, columns) if columns else (rows,)
        specs.append(OutputSpec(draw(TEXTS), dtype, columns, classes))
        array = np.array(values, NUMPY.get(dtype, "?" if dtype is DType.BOOL else object))
        arrays.append(Array(dtype, array.reshape(shape)))
        field, kind = FIELDS.get(dtype) or NUMBERS[dtype in (DType.FLOAT32, DType.FLOAT64)]
        made = pb.Output(name=specs[-1].name, shape=shape, classes=classes)
        getattr(made, field).CopyFrom(kind(values=values))
        expected.outputs.append(made)
    return specs, arrays, expected


@given(some_answer())
def test_joined_bytes_are_what_protobuf_makes_of_the_same_values(made):
    """As bytes, once protobuf has brought the fields into its order: NaN is not equal to itself."""
    specs, arrays, expected = made
    got = answer(specs, arrays)
    assert expected.SerializeToString(deterministic=True) == got.SerializeToString(
        deterministic=True
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | TEXTS,
    lambda some: st.lists(some, max_size=3) | st.dictionaries(TEXTS, some, max_size=3),
    max_leaves=8,
)


@given(st.lists(st.dictionaries(TEXTS, JSON, max_size=4), min_size=1, max_size=4))
def test_joined_rows_are_what_protobuf_makes_of_the_same_objects(objects):
    expected = pb.PredictResponse(
        model="m" * 60, version=300, commit="c" * 40, engine=pb.ENGINE_ONNX
    )
    for item in objects:
        expected.rows.add().update(item)
    expected.row_keys.extend(objects[0])
    rows = texts(*map(struct_bytes, objects))
    assert expected == answer([OutputSpec("output", DType.JSON)], [Array(DType.JSON, rows)])

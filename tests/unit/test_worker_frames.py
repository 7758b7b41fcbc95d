"""Frames both ways, as any values, in any pieces, and broken in any place."""

import json
import struct
from itertools import pairwise

import numpy as np
import pytest
from google.protobuf import json_format, struct_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from pushserve.v1 import model_service_pb2 as pb
from pushserve_runtime.frame_splitter import FrameSplitter
from pushserve_runtime.frames import (
    HEADER,
    Array,
    FrameError,
    Kind,
    decode_arrays,
    encode_arrays,
    encode_frame,
)
from pushserve_runtime.result_frame import decode_result, numbers_size, result_limit
from pushserve_runtime.signature import DType, Feature, Layout, OutputSpec, Signature
from pushserve_sandbox.prediction.json_values import NotJson, TooLarge, json_object
from pushserve_sandbox.worker.request_decoding import intake_for
from pushserve_sandbox.worker.result_encoding import ArrayAnswers
from pushserve_sandbox.worker.struct_bytes import struct_bytes

LIMIT = 1000
NUMPY = {DType.FLOAT64: "<f8", DType.FLOAT32: "<f4", DType.INT64: "<i8", DType.INT32: "<i4"}
NAMES = st.sampled_from(list(DType))
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NUMBERS = st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False)
WHOLE = st.integers(-(2**53), 2**53)
JSON = st.recursive(
    NUMBERS | WHOLE | TEXTS,
    lambda some: st.lists(some, max_size=4) | st.dictionaries(TEXTS, some, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(
    TEXTS,
    JSON | st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=80),
    max_size=5,
)
FRAMES = st.lists(
    st.tuples(st.integers(0, 2**32 - 1), st.sampled_from(list(Kind)), st.binary(max_size=60)),
    max_size=6,
)


def pieces_of(draw, data: bytes) -> list[bytes]:
    cuts = draw(st.lists(st.integers(0, len(data)), max_size=8).map(sorted))
    return [data[a:b] for a, b in pairwise([0, *cuts, len(data)])]


def admit_small(size, _request, _kind):
    if size > LIMIT:
        raise FrameError("too large")


@st.composite
def some_values(draw, dtype: DType, shape: tuple[int, ...]):
    count = int(np.prod(shape))
    if dtype is DType.BOOL:
        return np.array(draw(st.lists(st.booleans(), min_size=count, max_size=count)), "?")
    if dtype.is_number:
        raw = draw(st.binary(min_size=8 * count, max_size=8 * count))
        return np.frombuffer(raw[: count * np.dtype(NUMPY[dtype]).itemsize], NUMPY[dtype])
    items = draw(st.lists(JSON if dtype is DType.JSON else TEXTS, min_size=count, max_size=count))
    values = np.empty(count, object)
    values[:] = items
    return values


@st.composite
def some_array(draw, rows: int):
    dtype = draw(NAMES)
    columns = 0 if dtype is DType.JSON else draw(st.integers(0, 3))
    shape = (rows, columns) if columns else (rows,)
    nulls = draw(st.none() | st.lists(st.booleans(), min_size=rows, max_size=rows))
    values = draw(some_values(dtype, shape)).reshape(shape)
    return Array(dtype, values, None if nulls is None else np.array(nulls, "?"))


@st.composite
def some_arrays(draw):
    rows = draw(st.integers(1, 4))
    count = draw(st.integers(0, 3))
    return rows, [draw(some_array(rows)) for _ in range(count)]


def plain(array: Array) -> tuple:
    """What an array holds, comparable bit by bit."""
    values = array.values
    held = values.tobytes() if array.dtype.is_number else json.dumps(values.tolist())
    nulls = None if array.nulls is None else array.nulls.tolist()
    return array.dtype, values.shape, held, nulls


@given(st.data(), FRAMES)
def test_frames_come_out_as_they_went_in_however_they_are_cut(data, frames):
    whole = b"".join(b"".join(encode_frame(n, kind, [body])) for n, kind, body in frames)
    asked = []
    splitter = FrameSplitter(lambda *head: asked.append(head))
    got = []
    for piece in pieces_of(data.draw, whole):
        got += [(n, kind, bytes(body)) for n, kind, body in splitter.feed(piece)]
    assert frames == got
    assert [(8 + len(body), n, kind) for n, kind, body in frames] == asked


@given(st.data(), FRAMES, st.integers(LIMIT + 1, 2**32 - 1) | st.integers(0, 7))
def test_a_head_that_is_not_admitted_ends_the_stream_at_once(data, frames, size):
    """Whatever comes with it or after it; what came whole in earlier pieces was given."""
    whole = b"".join(b"".join(encode_frame(n, kind, [body])) for n, kind, body in frames)
    head = HEADER.pack(size, 1, Kind.RESULT)
    splitter = FrameSplitter(admit_small)
    for piece in pieces_of(data.draw, whole):
        splitter.feed(piece)
    parts = pieces_of(data.draw, head)
    with pytest.raises(FrameError):
        list(map(splitter.feed, parts))


@given(st.lists(st.binary(max_size=300), max_size=12))
def test_any_bytes_are_frames_or_an_error_and_little_is_kept(pieces):
    splitter = FrameSplitter(admit_small)
    try:
        for piece in pieces:
            splitter.feed(piece)
            assert len(splitter._kept) <= LIMIT + 4
    except FrameError:
        pass


@given(some_arrays())
def test_arrays_come_out_as_they_went_in(given_arrays):
    rows, arrays = given_arrays
    body = b"".join(encode_arrays(5, rows, arrays))
    mask, said, got = decode_arrays(memoryview(body))
    assert (5, rows) == (mask, said)
    assert [plain(array) for array in arrays] == [plain(array) for array in got]


def broken(draw, body: bytes) -> bytes:
    """The body with some bytes changed, removed or added."""
    changed = bytearray(body)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(changed) - 1, 0)))
        how = draw(st.sampled_from(["change", "cut", "add", "number"]))
        if how == "change" and changed:
            changed[at] = draw(st.integers(0, 255))
        elif how == "cut":
            del changed[at:]
        elif how == "add":
            changed[at:at] = draw(st.binary(max_size=9))
        elif len(changed) >= at + 4:
            struct.pack_into("<I", changed, at, draw(st.sampled_from([0, 1, 2**31, 2**32 - 1])))
    return bytes(changed)


@given(st.data(), some_arrays())
def test_broken_arrays_are_an_error_or_arrays(data, given_arrays):
    rows, arrays = given_arrays
    body = broken(data.draw, b"".join(encode_arrays(1, rows, arrays)))
    try:
        _, said, got = decode_arrays(memoryview(body))
    except FrameError:
        return
    assert all(len(array.values) == said for array in got)
    assert sum(array.values.size for array in got) <= len(body) or not all(
        array.values.size for array in got
    )


@st.composite
def some_outputs(draw):
    """Outputs of a signature, rows, and arrays that a model may give for them."""
    rows = draw(st.integers(1, 4))
    kinds = st.sampled_from([name for name in DType if name is not DType.JSON])
    specs, arrays = [], []
    for i in range(draw(st.integers(1, 3))):
        dtype, columns = draw(kinds), draw(st.integers(0, 3))
        shape = (rows, columns) if columns else (rows,)
        specs.append(OutputSpec(f"o{i}", dtype, columns))
        arrays.append(Array(dtype, draw(some_values(dtype, shape)).reshape(shape)))
    return rows, specs, arrays


class Giving:
    """A model that gives what it was told to."""

    def __init__(self, arrays) -> None:
        self._arrays = arrays

    def predict(self, _arrays, _outputs):
        return self._arrays


@given(st.data(), some_outputs())
def test_a_frontend_reads_what_a_worker_writes(data, outputs):
    """Each request of a batch gets its own rows, in a frame as long as it was allowed to be."""
    rows, specs, arrays = outputs
    cuts = sorted({0, rows, *data.draw(st.lists(st.integers(0, rows), max_size=2))})
    bounds = list(pairwise(cuts))
    answers = ArrayAnswers(Giving(arrays), 10**6)
    frames = answers.frames(range(len(bounds)), bounds, [], specs)
    for number, (start, stop) in enumerate(bounds):
        ((request, kind, body),) = FrameSplitter(lambda *_: None).feed(frames[number])
        assert (number, Kind.RESULT) == (request, kind)
        assert len(frames[number]) - 4 <= result_limit(specs, stop - start, 10**6)
        got = decode_result(body, stop - start, specs)
        expected = [plain(Array(a.dtype, a.values[start:stop])) for a in arrays]
        assert expected == [plain(array) for array in got]


@given(st.data(), some_outputs())
def test_a_broken_result_is_an_error_or_of_the_form_that_was_asked_for(data, outputs):
    rows, specs, arrays = outputs
    body = broken(data.draw, b"".join(encode_arrays(0, rows, arrays)))
    try:
        got = decode_result(memoryview(body), rows, specs)
    except FrameError:
        return
    assert [(spec.dtype, spec.columns) for spec in specs] == [
        (array.dtype, array.values.shape[1] if array.values.ndim == 2 else 0) for array in got
    ]
    assert {rows} == {len(array.values) for array in got}


@given(some_outputs())
def test_how_large_numbers_are_is_known_before(outputs):
    rows, specs, arrays = outputs
    assert sum(a.values.nbytes for a in arrays if a.dtype.is_number) == numbers_size(specs, rows)


LAYOUTS = {
    Layout.MATRIX: (Feature("a"), Feature("b")),
    Layout.TABLE: (Feature("a", DType.STRING, nullable=True), Feature("b")),
    Layout.RECORDS: (),
}


@st.composite
def some_request(draw, layout: Layout):
    rows = draw(st.integers(1, 4))
    if layout is Layout.MATRIX:
        matrix = draw(some_values(DType.FLOAT64, (rows, 2))).reshape(rows, 2)
        return rows, [Array(DType.FLOAT64, matrix)]
    if layout is Layout.RECORDS:
        return rows, [Array(DType.JSON, draw(some_values(DType.JSON, (rows,))))]
    texts = Array(DType.STRING, draw(some_values(DType.STRING, (rows,))), np.zeros(rows, "?"))
    return rows, [texts, Array(DType.FLOAT64, draw(some_values(DType.FLOAT64, (rows,))))]


@pytest.mark.parametrize("layout", LAYOUTS)
@given(data=st.data())
def test_a_worker_reads_what_a_frontend_writes_and_nothing_else(layout, data):
    intake = intake_for(Signature(layout, LAYOUTS[layout], (), ()))
    rows, arrays = data.draw(some_request(layout))
    body = b"".join(encode_arrays(1, rows, arrays))
    mask, said, payload = intake.read(memoryview(body))
    assert (1, rows) == (mask, said)
    assert [plain(a)[2] for a in arrays] == [plain(a)[2] for a in intake.join([payload])]
    try:
        _, said, payload = intake.read(memoryview(broken(data.draw, body)))
    except (FrameError, RecursionError):  # what the worker takes for the end of a connection
        return
    if said:
        assert {said} == {len(array.values) for array in intake.join([payload])}


@given(OBJECTS)
def test_objects_are_what_protobuf_makes_of_them(item):
    expected = struct_pb2.Struct()
    expected.update(item)
    assert expected == struct_pb2.Struct.FromString(struct_bytes(json_object(item, 10**6)))


@settings(max_examples=30)
@given(OBJECTS)
def test_objects_are_json_as_they_were(item):
    got = struct_pb2.Struct.FromString(struct_bytes(json_object(item, 10**6)))
    assert json.loads(json.dumps(item)) == json_format.MessageToDict(got)


def nested(depth: int, how) -> object:
    value: object = 1
    for _ in range(depth):
        value = how(value)
    return value


@pytest.mark.parametrize(
    ("how", "most"), [(lambda inner: [inner], 48), (lambda inner: {"a": inner}, 32)]
)
def test_what_is_nested_as_deep_as_may_be_can_be_read(how, most):
    """In a stream's answer, which is the deepest; one level more is refused."""
    data = struct_bytes(json_object({"x": nested(most, how)}, 10**6))
    reply = pb.PredictStreamResponse(
        response=pb.PredictResponse(rows=[struct_pb2.Struct.FromString(data)])
    ).SerializeToString()
    assert reply == pb.PredictStreamResponse.FromString(reply).SerializeToString()
    with pytest.raises(NotJson, match="nested too deep"):
        json_object({"x": nested(most + 1, how)}, 10**6)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"x": 10**400}, "beyond float64"),
        ({"x": [10**400] * 100}, "beyond float64"),
        ({"x": -(10**400)}, "beyond float64"),
        ({"x": "\ud800"}, "surrogate"),
        ({"\udfff": 1}, "surrogate"),
        ({10**5000: 1}, "thousands of digits"),
        ({(1, 2): 1}, "tuple is not a JSON key"),
        ({"x": b"bytes"}, "builtins.bytes is not a JSON value"),
        ([1], "is an object"),
        (None, "is an object"),
        ("text", "is an object"),
    ],
)
def test_what_cannot_be_sent_is_named(value, says):
    with pytest.raises(NotJson, match=says):
        json_object(value, 10**6)


def doubling() -> list:
    """A list that is small in memory and has 2^40 numbers when it is written out."""
    value: list = [1]
    for _ in range(40):
        value = [value, value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        [0] * 300_000,
        ["x" * 1000] * 2000,
        {str(i): None for i in range(300_000)},
        np.zeros(300_000),
        [[]] * 300_000,
        doubling(),
    ],
    ids=["numbers", "texts", "keys", "an array", "empty lists", "shared lists"],
)
def test_what_is_too_large_is_given_up(value):
    with pytest.raises(TooLarge, match="more than 1000000 bytes"):
        json_object({"x": value}, 10**6)


@pytest.mark.parametrize(
    "values",
    [[1.5] * 100, [float("nan"), *[1.0] * 99], [2**60] * 100, [True, *[1] * 99], [1, 1.5] * 50],
)
def test_long_lists_are_as_short_ones(values):
    got = json_object({"x": values}, 10**6)["x"]
    assert [json_object({"x": value}, 10**6)["x"] for value in values] == got

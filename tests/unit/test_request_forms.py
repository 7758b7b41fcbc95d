"""The same rows as a tensor, a table and rows are the same to a model, and are refused alike."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pushserve.v1 import model_service_pb2 as pb
from pushserve_runtime.signature import DType, Feature, Layout, OutputSpec, Signature
from pushserve_server.api.doors.predict_inputs import request_from_proto
from pushserve_server.errors import BadInput
from pushserve_server.serve.codec.decoding import Decoder

NUMBERS = st.floats(allow_infinity=True) | st.integers(-(2**53), 2**53).map(float)
NAMES = ("a", "b", "c")
Rows = list[list[float]]


def decoder(layout: Layout, dtype: DType, nullable: list[bool]) -> Decoder:
    inputs = tuple(
        Feature(name, dtype, nullable=may) for name, may in zip(NAMES, nullable, strict=True)
    )
    outputs = (OutputSpec("value", DType.FLOAT64),)
    return Decoder(Signature(layout, inputs, outputs, ("value",)), 100)


def as_tensor(rows: Rows) -> pb.PredictRequest:
    values = [value for row in rows for value in row]
    return pb.PredictRequest(tensor=pb.Tensor(shape=[len(rows), 3], values=values))


def as_raw(rows: Rows) -> pb.PredictRequest:
    raw = np.array(rows, "<f8").tobytes()
    tensor = pb.Tensor(shape=[len(rows), 3], raw=raw, dtype=pb.DATA_TYPE_FLOAT64)
    return pb.PredictRequest(tensor=tensor)


def as_table(rows: Rows, order: list[int]) -> pb.PredictRequest:
    columns = [
        pb.Column(name=NAMES[i], doubles=pb.Doubles(values=[row[i] for row in rows])) for i in order
    ]
    return pb.PredictRequest(table=pb.Table(columns=columns))


def as_rows(rows: Rows, order: list[int]) -> pb.PredictRequest:
    message = pb.PredictRequest()
    for row in rows:
        # JSON has no NaN: a null stands for it.
        message.rows.add().update({NAMES[i]: None if math.isnan(row[i]) else row[i] for i in order})
    return message


def outcome(message: pb.PredictRequest, decoder: Decoder) -> object:
    """What reaches the model, bit for bit; the columns that are at fault; or a refusal."""
    try:
        arrays = request_from_proto(pb.PredictRequest.FromString(message.SerializeToString()),
                                    decoder).arrays  # fmt: skip
    except BadInput as error:
        return {violation.field for violation in error.violations}
    # NaN and null are one; which of NaN's bits it is, no model can see.
    found = []
    for array in arrays:
        values = np.array(array.values)
        if array.nulls is not None:
            values = np.where(array.nulls, np.nan, values)
        found.append(np.where(np.isnan(values), np.nan, values).tobytes())
    return found


@given(
    st.lists(st.lists(NUMBERS | st.just(math.nan), min_size=3, max_size=3), min_size=1, max_size=5),
    st.permutations([0, 1, 2]),
    st.lists(st.booleans(), min_size=3, max_size=3),
    st.sampled_from([Layout.MATRIX, Layout.TABLE]),
)
def test_numbers(rows, order, nullable, layout):
    into = decoder(layout, DType.FLOAT64, nullable)
    expected = outcome(as_tensor(rows), into)
    wrong = {
        NAMES[i]
        for row in rows
        for i in range(3)
        if math.isinf(row[i]) or (math.isnan(row[i]) and not nullable[i])
    }
    assert wrong == expected if wrong else isinstance(expected, list)
    assert expected == outcome(as_raw(rows), into)
    assert expected == outcome(as_table(rows, order), into)
    assert expected == outcome(as_rows(rows, order), into)

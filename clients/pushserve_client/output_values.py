"""A reply to Predict as a Prediction."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pushserve.v1 import model_service_pb2 as pb
from pushserve_client.errors import CallError, error_from_stream
from pushserve_client.from_messages import engine_from_proto, object_from_proto
from pushserve_client.prediction import Prediction


def prediction_from_proto(message: pb.PredictResponse) -> Prediction:
    """Convert a reply; outputs become NumPy arrays."""
    return Prediction(
        model=message.model,
        version=message.version,
        commit=message.commit,
        engine=engine_from_proto(message.engine),
        outputs={output.name: array_from_proto(output) for output in message.outputs},
        output_classes={o.name: tuple(o.classes) for o in message.outputs if o.classes},
        rows=tuple(object_from_proto(row) for row in message.rows),
    )


def outcome_from_proto(message: pb.PredictStreamResponse) -> Prediction | CallError:
    """Convert the answer to one request of a stream."""
    if message.HasField("error"):
        return error_from_stream(message.error)
    return prediction_from_proto(message.response)


def array_from_proto(output: pb.Output) -> npt.NDArray[Any]:
    """Give an output's elements in its shape: float64, int64, bool or text."""
    array: npt.NDArray[Any]
    match output.WhichOneof("values"):
        case "ints":
            array = np.asarray(output.ints.values, dtype=np.int64)
        case "strings":
            array = np.array(list(output.strings.values), dtype=np.str_)
        case "bools":
            array = np.asarray(output.bools.values, dtype=np.bool_)
        case _:
            array = np.asarray(output.doubles.values, dtype=np.float64)
    return array.reshape(tuple(output.shape)) if output.shape else array

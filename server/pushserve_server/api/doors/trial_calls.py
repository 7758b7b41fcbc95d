"""Trial calls: a new version is asked by every form of a request, before a ref moves to it.

What goes through is what a caller's request goes through: the bytes of a message, the decoder, the
engine with its worker or graph, the encoder, the bytes of an answer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from google.protobuf import json_format, struct_pb2

from pushserve.v1 import model_service_pb2 as pb
from pushserve_runtime.build_error import printable
from pushserve_runtime.open_columns import EXACT
from pushserve_runtime.signature import DType, Layout, Signature
from pushserve_server.api.doors.model_service import ModelServiceTask
from pushserve_server.domain.door_trial import ANSWERS_DIFFER, DoorTrial, Row
from pushserve_server.errors import ModelFailed, PushserveError, Unavailable
from pushserve_server.serve.models.loaded_version import LoadedVersion

_TOLERANCE: Final = 1e-6
_TRIES: Final = 2


async def ask_every_door(live: LoadedVersion, trials: Sequence[DoorTrial], max_rows: int) -> None:
    """Ask a loaded version about each trial's rows, as rows, as a table and as a tensor.

    Raises:
        ModelFailed: ANSWERS_DIFFER, a form is refused, or gives another answer than the build.
    """
    for trial in trials:
        rows = trial.rows[:max_rows]
        first, answers = "its build", trial.answers
        for form, message in requests_of(live.version.signature, rows):
            found = answers_of(await _answer_to(live, form, message))
            if answers is None:
                first, answers = f"asked by {form}", found
            _compare(rows, (first, answers), (f"asked by {form}", found))


async def _answer_to(
    live: LoadedVersion, form: str, message: pb.PredictRequest
) -> pb.PredictResponse:
    data = message.SerializeToString()
    for tried in range(1, _TRIES + 1):
        try:
            task = ModelServiceTask(pb.PredictRequest.FromString(data), len(data))
            selection = live.selection((), task.make_encoder)
            answer = await live.predict(task.decode(live.decoder), selection)
            return pb.PredictResponse.FromString(answer)
        except Unavailable as error:
            if tried == _TRIES:
                raise _failed(f"asked by {form}, no answer came: {error.message}") from None
        except PushserveError as error:
            text = f"asked by {form}, it refused rows that its build had answered: {error.message}"
            raise _failed(text) from None
    raise AssertionError


def requests_of(
    signature: Signature, rows: Sequence[Row]
) -> Iterator[tuple[str, pb.PredictRequest]]:
    """Give each form of a request that can hold these rows, with its name."""
    names = [feature.name for feature in signature.inputs]
    records = [row if isinstance(row, dict) else dict(zip(names, row, strict=True)) for row in rows]
    structs = _structs(signature, records)
    if structs is not None:
        yield "rows", pb.PredictRequest(rows=structs)
    if not names or signature.layout is Layout.RECORDS:
        return
    made = [_column(name, [record[name] for record in records]) for name in names]
    columns = [column for column in made if column is not None]
    if len(columns) == len(made):
        yield "a table", pb.PredictRequest(table=pb.Table(columns=columns))
    matrix = _matrix(rows) if signature.layout is Layout.MATRIX else None
    if matrix is not None:
        tensor = pb.Tensor(shape=matrix.shape, values=matrix.ravel().tolist())
        yield "a tensor", pb.PredictRequest(tensor=tensor)


def _structs(
    signature: Signature, records: Sequence[Mapping[str, Any]]
) -> list[struct_pb2.Struct] | None:
    """Make the objects, whose keys come in another order than the signature's."""
    as_text = {f.name for f in signature.inputs if f.dtype is DType.INT64 and not f.is_open}
    structs = []
    for record in records:
        plain: dict[str, Any] = {}
        for name, value in reversed(list(record.items())):
            if _is_large(value) and name not in as_text:
                return None
            plain[name] = str(value) if _is_large(value) else value
        structs.append(json_format.ParseDict(plain, struct_pb2.Struct()))
    return structs


def _is_large(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) >= EXACT


def _column(name: str, values: Sequence[Any]) -> pb.Column | None:
    """Make a column of plain values; None for a mixture of types that none can hold."""
    kinds = {type(value) for value in values} - {type(None)}
    nulls = [row for row, value in enumerate(values) if value is None]
    if kinds <= {str} and kinds:
        texts = pb.Strings(values=["" if value is None else value for value in values])
        return pb.Column(name=name, strings=texts, null_rows=nulls)
    filled = [0 if value is None else value for value in values]
    if kinds <= {bool} and kinds:
        return pb.Column(name=name, bools=pb.Bools(values=map(bool, filled)), null_rows=nulls)
    if kinds <= {int} and kinds:
        return pb.Column(name=name, ints=pb.Int64s(values=filled), null_rows=nulls)
    if kinds <= {int, float}:
        return pb.Column(name=name, doubles=pb.Doubles(values=filled), null_rows=nulls)
    return None


def _matrix(rows: Sequence[Row]) -> Any:
    values = [value for row in rows for value in row]
    if any(isinstance(value, str) or _is_large(value) for value in values):
        return None
    return np.array([[math.nan if v is None else v for v in row] for row in rows], np.float64)


def answers_of(response: pb.PredictResponse) -> dict[str, list[Any]]:
    """Give the values of each output, row by row; of a `predict.py`, the objects."""
    if response.rows:
        return {"output": [json_format.MessageToDict(row) for row in response.rows]}
    found = {}
    for output in response.outputs:
        kind = output.WhichOneof("values") or "doubles"
        values = np.array(getattr(output, kind).values, object if kind == "strings" else None)
        found[output.name] = values.reshape(list(output.shape)).tolist()
    return found


def _compare(
    rows: Sequence[Row],
    first: tuple[str, Mapping[str, list[Any]]],
    other: tuple[str, Mapping[str, list[Any]]],
) -> None:
    for name, answers in first[1].items():
        found = other[1].get(name, [])
        if len(found) != len(rows):
            raise _failed(f"{other[0]}, there is no {name} for each of {len(rows)} rows")
        for row, want, got in zip(rows, answers, found, strict=False):
            if not _alike(want, got):
                raise _failed(
                    f"the row {_shown(row)} has two answers in the output {name}: {first[0]} "
                    f"{_shown(want)}, {other[0]} {_shown(got)}"
                )


def _alike(want: Any, got: Any) -> bool:
    if isinstance(want, list):
        return (
            isinstance(got, list)
            and len(want) == len(got)
            and all(_alike(a, b) for a, b in zip(want, got, strict=True))
        )
    if isinstance(want, dict):
        return (
            isinstance(got, dict)
            and want.keys() == got.keys()
            and all(_alike(value, got[key]) for key, value in want.items())
        )
    if isinstance(want, bool) or isinstance(got, bool) or not isinstance(want, int | float):
        return type(want) is type(got) and bool(want == got)
    if not isinstance(got, int | float):
        return False
    return math.isclose(want, got, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE) or want == got


def _shown(value: Any) -> str:
    return printable(str(value), 200)


def _failed(text: str) -> ModelFailed:
    return ModelFailed(f"{ANSWERS_DIFFER}: {text}", reason=ANSWERS_DIFFER)

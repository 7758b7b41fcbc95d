"""Column names: those that inputs lack, taken from the model's signature.

A list of texts has none, and a DataFrame whose columns are numbered has numbers, as scikit-learn
knows them by their position alone.
"""

from __future__ import annotations

from google.protobuf import struct_pb2

from pushserve.v1 import model_service_pb2 as pb
from pushserve_client.errors import BadData
from pushserve_client.types import Signature


def needs_signature(request: pb.PredictRequest) -> bool:
    """Whether its columns are without names, or called 0, 1, 2, … in this order."""
    names = _given(request)
    return names == [""] or (bool(names) and names == [str(i) for i in range(len(names))])


def name_columns(request: pb.PredictRequest, signature: Signature) -> None:
    """Name the columns of such a request as the model does.

    Raises:
        BadData: there is one column without a name, and not one that the model takes.
    """
    given, names = _given(request), [feature.name for feature in signature.inputs]
    if given == names or set(given) & set(names):
        return
    if given == [""] and len(names) != 1:
        takes = ", ".join(names[:8]) + ("" if len(names) <= 8 else f", … ({len(names)} in all)")
        raise BadData(
            "this is one column without a name; "
            + (f"the model takes {takes}" if names else "the model takes any JSON object")
            + ": give a dict of columns, or a list of dicts"
        )
    if len(given) == len(names):
        _rename(request, dict(zip(given, names)))


def _given(request: pb.PredictRequest) -> list[str]:
    if request.rows:
        # The fields of a row have no order.
        return sorted(request.rows[0].fields, key=lambda name: (len(name), name))
    return [column.name for column in request.table.columns]


def _rename(request: pb.PredictRequest, names: dict[str, str]) -> None:
    for column in request.table.columns:
        column.name = names[column.name]
    for row in request.rows:
        renamed = struct_pb2.Struct()
        for name, value in row.fields.items():
            renamed.fields[names.get(name, name)].CopyFrom(value)
        row.CopyFrom(renamed)

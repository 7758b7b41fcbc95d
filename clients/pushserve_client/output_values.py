"""Output values: a reply's outputs as NumPy arrays, or as lists of Python values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from pushserve.v1 import model_service_pb2 as pb

if TYPE_CHECKING:
    import numpy.typing as npt

_DTYPES: Final = {"doubles": "float64", "ints": "int64", "bools": "bool", "strings": "str"}


class OutputArrays(Mapping[str, "npt.NDArray[Any]"]):
    """The outputs of a reply by name, each made an array when it is first asked for.

    Until then nobody needs NumPy: the command prints what `lists` gives.
    """

    def __init__(self, message: pb.PredictResponse) -> None:
        self._outputs = {output.name: output for output in message.outputs}
        self._arrays: dict[str, npt.NDArray[Any]] = {}

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        if name not in self._arrays:
            self._arrays[name] = array_from_proto(self._outputs[name])
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._outputs)

    def __len__(self) -> int:
        return len(self._outputs)

    def __repr__(self) -> str:
        return repr(self.lists())

    def lists(self) -> dict[str, list[Any]]:
        """Give the outputs as lists of Python values, [rows] or [rows][columns]."""
        return {name: lists_from_proto(output) for name, output in self._outputs.items()}


def array_from_proto(output: pb.Output) -> npt.NDArray[Any]:
    """Give an output's elements in its shape: float64, int64, bool or text.

    Raises:
        ModuleNotFoundError: NumPy is not installed.
    """
    try:
        import numpy as np  # noqa: PLC0415 -- takes a while, and may be missing
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "outputs as arrays need NumPy, which is not installed here: pip install "
            "'pushserve-client[numpy]', or take them as lists: prediction.to_lists()",
            name=error.name,
        ) from None
    kind, values = _kind(output), _values(output)
    array: npt.NDArray[Any] = np.asarray(
        list(values) if kind == "strings" else values, dtype=_DTYPES[kind]
    )
    return array.reshape(tuple(output.shape)) if output.shape else array


def lists_from_proto(output: pb.Output) -> list[Any]:
    """Give an output's elements as Python values, in rows where it has columns."""
    flat = list(_values(output))
    if len(output.shape) < 2:
        return flat
    rows, width = output.shape[0], len(flat) // max(1, output.shape[0])
    return [flat[row * width : (row + 1) * width] for row in range(rows)]


def _kind(output: pb.Output) -> str:
    return output.WhichOneof("values") or "doubles"


def _values(output: pb.Output) -> Any:
    return getattr(output, _kind(output)).values

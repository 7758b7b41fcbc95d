"""Predictor: runs a loaded model; arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from numpy.typing import NDArray

from pushserve_runtime.frames import Array
from pushserve_runtime.output_arrays import NotAnOutput, as_type, dense, to_array
from pushserve_runtime.signature import DType, Signature
from pushserve_sandbox.prediction.fast_path import FastPath
from pushserve_sandbox.prediction.model_inputs import InputFunction
from pushserve_sandbox.prediction.model_outputs import OutputFunction


class Predictor(Protocol):
    """A model with its signature."""

    @property
    def signature(self) -> Signature:
        """What it takes and gives."""
        ...

    def predict(self, arrays: Sequence[Array], outputs: Sequence[str]) -> list[Array]:
        """Give the named outputs of the rows in `arrays`, which are as the layout has them.

        Raises:
            Exception: whatever the model raises.
            NotAnOutput: the model gave another number of rows than it was asked.
        """
        ...


class EstimatorPredictor:
    """Runs an estimator: one function builds its input, one function gives each output.

    With a fast path, whatever that gives is taken from it. Rows that it leaves alone, and outputs
    that it does not have, are the functions' own.
    """

    def __init__(
        self,
        signature: Signature,
        build_input: InputFunction,
        functions: Mapping[str, OutputFunction],
        fast_path: FastPath | None = None,
    ) -> None:
        self._signature = signature
        self.build_input = build_input
        self.functions = {spec.name: functions[spec.name] for spec in signature.outputs}
        self._specs = {spec.name: spec for spec in signature.outputs}
        self._fast_path = fast_path

    @property
    def signature(self) -> Signature:
        """What it takes and gives."""
        return self._signature

    def with_fast_path(self, fast_path: FastPath) -> EstimatorPredictor:
        """Give a predictor that takes this fast path."""
        return EstimatorPredictor(self._signature, self.build_input, self.functions, fast_path)

    def predict(self, arrays: Sequence[Array], outputs: Sequence[str]) -> list[Array]:
        """Give the named outputs; see `Predictor`."""
        rows = len(arrays[0].values)
        data = self.build_input(arrays)
        fast_path = self._fast_path
        found = None if fast_path is None else fast_path.start(data)
        results = []
        for name in outputs:
            if fast_path is None or found is None or name not in fast_path.outputs:
                result = self.functions[name](data)
            else:
                result = fast_path.outputs[name](found)
            results.append(self._checked(name, dense(result, rows)))
        return results

    def _checked(self, name: str, values: NDArray[Any]) -> Array:
        spec = self._specs[name]
        array = as_type(to_array(values), spec.dtype)
        columns = array.values.shape[1] if array.values.ndim == 2 else 0
        if columns != spec.columns or array.dtype is not spec.dtype:
            raise NotAnOutput(
                f"{name} is {_form(columns, array.dtype)} for these rows, and was "
                f"{_form(spec.columns, spec.dtype)} when it was built: have the model give one "
                "type whatever its input's type is, say by astype(float)"
            )
        return array


def _form(columns: int, dtype: DType) -> str:
    return f"{columns} columns of {dtype}" if columns else str(dtype)

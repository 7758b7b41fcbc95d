"""Decoding: from what a caller gave to what an engine takes, checked against the signature.

One `Decoder` is made for each version. A caller gives a tensor, columns or records; the
engine takes arrays in the version's layout (see `pushserve_runtime.frames`). Whatever
does not fit raises `BadInput`, whose violations name the column and what was expected.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pushserve_runtime.closest_name import did_you_mean
from pushserve_runtime.frames import Array, number_array
from pushserve_runtime.open_columns import blanks, number_matrix
from pushserve_runtime.signature import Accepts, DType, Feature, Layout, Signature
from pushserve_server.errors import BadInput, Violation
from pushserve_server.serve.codec import columns as col
from pushserve_server.serve.codec.columns import GivenColumn, Violations
from pushserve_server.serve.codec.json_columns import column_of, exact_record

_DOUBLE: Final = np.dtype("<f8")
_FEW: Final = 64
"""Up to here Python's own sum is faster than NumPy's two calls (0.4 us against 1.3 for 4)."""


class DecodedRequest:
    """Rows for one version.

    `raw` are the bytes of a tensor of doubles as they came, or None. They are decoded and
    checked when somebody asks for their arrays, or together with those of others (`joined`).
    `size` is how many bytes the whole request had, where whoever decodes it says so.
    """

    __slots__ = ("_arrays", "_decoder", "raw", "rows", "size")

    def __init__(
        self, rows: int, arrays: list[Array] | None, raw: bytes | None, decoder: Decoder
    ) -> None:
        self.rows = rows
        self.raw = raw
        self.size = 0
        self._arrays = arrays
        self._decoder = decoder

    @property
    def arrays(self) -> list[Array]:
        """The rows in the form that an engine takes: one array, or one for each feature.

        Raises:
            BadInput: a raw number is not finite where it has to be.
        """
        if self._arrays is None:
            assert self.raw is not None  # noqa: S101 (one of the two is always given)
            self._arrays = self._decoder.decode([self.raw])
        return self._arrays

    def decode_with(self, others: Sequence[bytes]) -> list[Array]:
        """Decode the raw rows of several requests for the same version.

        Raises:
            BadInput: some number is not finite where it has to be.
        """
        return self._decoder.decode(others)


def joined(requests: Sequence[DecodedRequest]) -> list[Array]:
    """Give the rows of several requests for the same version, whose layout is a matrix.

    Raises:
        BadInput: some request does not decode.
    """
    if len(requests) == 1:
        return requests[0].arrays
    raws = [request.raw for request in requests if request.raw is not None]
    if len(raws) == len(requests):
        return requests[0].decode_with(raws)
    matrix = np.concatenate([request.arrays[0].values for request in requests])
    return [Array(DType.FLOAT64, matrix)]


class Decoder:
    """Turns what callers give into a `DecodedRequest` for one version."""

    def __init__(self, signature: Signature, max_rows: int) -> None:
        self._signature = signature
        self._inputs = signature.inputs
        self._names = tuple(f.name for f in signature.inputs)
        self._index = {name: i for i, name in enumerate(self._names)}
        self._width = len(signature.inputs)
        self._is_matrix = signature.layout is Layout.MATRIX
        self._raw_row = 8 * self._width if self._is_matrix else 0
        self._max_rows = max_rows
        unused = [f for f in signature.inputs if f.accepts is Accepts.UNUSED]
        self._unused = frozenset(f.name for f in unused)
        self._optional = frozenset(f.name for f in signature.inputs if f.nullable) | self._unused
        self._keeps_types = any(f.accepts is Accepts.NUMBERS for f in signature.inputs)
        self._is_any_name = self._width == 1 and not signature.named

    def from_raw(self, raw: bytes, shape: Sequence[int]) -> DecodedRequest | None:
        """Take a tensor of little-endian doubles as it is, where nothing is wrong with its size.

        None means that `from_tensor` has to look at it.
        """
        if not self._raw_row:
            return None
        rows, rest = divmod(len(raw), self._raw_row)
        if rest or not 0 < rows <= self._max_rows or (shape and list(shape) != [rows, self._width]):
            return None
        return DecodedRequest(rows, None, raw, self)

    def decode(self, raws: Sequence[bytes]) -> list[Array]:
        """Decode what `from_raw` took, of one or of several requests.

        Raises:
            BadInput: some number is not finite where it has to be.
        """
        raw = raws[0] if len(raws) == 1 else b"".join(raws)
        matrix = np.frombuffer(raw, _DOUBLE).reshape(-1, self._width)
        return [Array(DType.FLOAT64, self._checked_matrix(matrix))]

    def from_tensor(self, values: NDArray[Any], shape: Sequence[int]) -> DecodedRequest:
        """Decode a dense tensor: `values` flat, `shape` [rows, features] or empty."""
        if not self._inputs:
            raise BadInput(
                "this model takes objects, not a tensor: give rows",
                [Violation("tensor", "the model declares no inputs; give rows")],
                reason="WRONG_FORM",
            )
        matrix = self._shaped(values, shape)
        rows = len(matrix)
        if not 0 < rows <= self._max_rows:
            self._check_rows(rows)
        if self._is_matrix:
            if self._keeps_types and matrix.dtype.kind in "ib":
                return self._request(rows, [number_array(matrix)])
            return self._request(rows, [Array(DType.FLOAT64, self._checked_matrix(matrix))])
        return self.from_columns([GivenColumn(n, matrix[:, i]) for i, n in enumerate(self._names)])

    def from_columns(self, given: Sequence[GivenColumn]) -> DecodedRequest:
        """Decode named columns of equal length, in any order.

        The only feature of a model that knows no names may be called anything.
        """
        if self._is_any_name and len(given) == 1:
            given = [replace(given[0], name=self._names[0])]
        rows = len(given[0].values) if given else 0
        self._check_rows(rows)
        return self._from_columns(given, rows)

    def _from_columns(self, given: Sequence[GivenColumn], rows: int) -> DecodedRequest:
        found = Violations()
        by_name = self._by_name(given, rows, found)
        column = self._column if self._unused else col.coerce
        arrays = [
            column(feature, by_name[feature.name], rows, found)
            for feature in self._inputs
            if feature.name in by_name
        ]
        found.check()
        return self._lay_out(rows, [array for array in arrays if array is not None], by_name)

    def _column(
        self, feature: Feature, given: GivenColumn, rows: int, found: Violations
    ) -> Array | None:
        """Give a column as the engine takes it; zeros of one that the model does not use."""
        if feature.name in self._unused:
            return Array(feature.dtype, blanks(feature.dtype, rows))
        return col.coerce(feature, given, rows, found)

    def from_records(self, records: Sequence[Mapping[str, Any]]) -> DecodedRequest:
        """Decode one mapping for each row; None and a missing nullable field are null."""
        self._check_rows(len(records))
        if self._is_any_name and all(len(record) == 1 for record in records):
            records = [dict(zip(self._names, record.values(), strict=True)) for record in records]
        if self._signature.layout is Layout.RECORDS and not self._inputs:
            found = Violations()
            exact = [exact_record(record, row, found) for row, record in enumerate(records)]
            found.check()
            return self._request(len(records), [_json_array(exact)])
        found = Violations()
        self._check_fields(records, found)
        found.check()
        given = [
            column_of(feature, [record.get(feature.name) for record in records], found)
            for feature in self._inputs
            if feature.name not in self._unused
        ]
        found.check()
        return self._from_columns(given, len(records))

    def _request(self, rows: int, arrays: list[Array]) -> DecodedRequest:
        return DecodedRequest(rows, arrays, None, self)

    def _shaped(self, values: NDArray[Any], shape: Sequence[int]) -> NDArray[Any]:
        width, size = self._width, len(values)
        given = tuple(shape)
        if len(given) == 2 and (given[1] == width or not width) and given[0] * given[1] == size:
            return values.reshape(given)
        if not given and width and size % width == 0:
            return values.reshape(-1, width)
        if not given:
            raise _wrong_shape(width, f"{size} values do not fill rows of {width}")
        if len(given) != 2 or (width and given[1] != width):
            raise _wrong_shape(width, f"the shape is {list(given)}")
        raise _wrong_shape(width, f"the shape {list(given)} does not hold {size} values")

    def _check_rows(self, rows: int) -> None:
        if rows == 0:
            raise BadInput(
                "there are no rows; give at least one",
                [Violation("rows", "expected at least one row")],
                reason="NO_ROWS",
            )
        if rows > self._max_rows:
            raise BadInput(
                f"{rows} rows are more than the limit of {self._max_rows}; send them in parts",
                [Violation("rows", f"expected at most {self._max_rows} rows, got {rows}")],
                reason="TOO_MANY_ROWS",
            )

    def _checked_matrix(self, matrix: NDArray[Any]) -> NDArray[np.float64]:
        result = matrix if matrix.dtype == np.float64 else matrix.astype(np.float64)
        if not _all_finite(result):
            found = Violations()
            for i, feature in enumerate(self._inputs):
                col.check_numbers(feature, result[:, i], None, found)
            found.check()
        return result

    def _by_name(
        self, given: Sequence[GivenColumn], rows: int, found: Violations
    ) -> dict[str, GivenColumn]:
        by_name: dict[str, GivenColumn] = {}
        declared = self._index or None
        for column in given:
            if column.name in by_name:
                found.add(column.name, "the column is given twice", "DUPLICATE_COLUMN")
            elif declared is not None and column.name not in declared:
                found.add(column.name, self._unknown("", column.name), "UNKNOWN_COLUMN")
            elif len(column.values) != rows:
                what = f"has {len(column.values)} rows where the first column has {rows}"
                found.add(column.name, what, "ROW_COUNT_MISMATCH")
            by_name.setdefault(column.name, column)
        for feature in self._inputs:
            if feature.name in by_name:
                continue
            if feature.name in self._unused:
                by_name[feature.name] = GivenColumn(feature.name, np.empty(0))
            else:
                found.add(feature.name, f"missing column{_of_type(feature)}", "MISSING_COLUMN")
        return by_name

    def _check_fields(self, records: Sequence[Mapping[str, Any]], found: Violations) -> None:
        for row, record in enumerate(records):
            if len(record) == self._width and all(name in record for name in self._names):
                continue
            for name in record:
                if name not in self._index:
                    found.add(name, self._unknown(f" in row {row}", name), "UNKNOWN_COLUMN")
            for feature in self._inputs:
                if feature.name not in record and feature.name not in self._optional:
                    what = f"missing column{_of_type(feature)} in row {row}"
                    found.add(feature.name, what, "MISSING_COLUMN")

    def _unknown(self, where: str, name: str) -> str:
        text = f"unknown column{where}; expected {col.shorten(self._names)}"
        return did_you_mean(text, name, self._names)

    def _lay_out(
        self, rows: int, arrays: list[Array], given: Mapping[str, GivenColumn]
    ) -> DecodedRequest:
        layout = self._signature.layout
        if layout is Layout.TABLE:
            return self._request(rows, arrays)
        if layout is Layout.MATRIX:
            if self._keeps_types:
                return self._request(rows, [number_matrix(arrays)])
            return self._request(rows, [Array(DType.FLOAT64, _matrix(rows, arrays))])
        names = self._names or tuple(given)
        lists = (
            [col.as_list(array) for array in arrays]
            if self._names
            else [col.given_list(column) for column in given.values()]
        )
        return self._request(
            rows,
            [_json_array([dict(zip(names, row, strict=True)) for row in zip(*lists, strict=True)])],
        )


def _of_type(feature: Feature) -> str:
    return f" of {feature.dtype}" if feature.accepts is Accepts.DTYPE else ""


def _all_finite(matrix: NDArray[np.float64]) -> bool:
    """Say whether all are finite; False may also mean that a small matrix has a huge sum."""
    if matrix.size <= _FEW:
        return math.isfinite(sum(matrix.ravel().tolist()))
    return bool(np.isfinite(matrix).all())


def _matrix(rows: int, arrays: Sequence[Array]) -> NDArray[np.float64]:
    matrix = np.empty((rows, len(arrays)), np.float64)
    for i, array in enumerate(arrays):
        matrix[:, i] = array.values
        if array.nulls is not None:
            matrix[array.nulls, i] = np.nan
    return matrix


def _json_array(records: Sequence[Mapping[str, Any]]) -> Array:
    values = np.empty(len(records), object)
    values[:] = records
    return Array(DType.JSON, values)


def _wrong_shape(width: int, what: str) -> BadInput:
    right = f"expected [rows, {width}]"
    return BadInput(
        f"the tensor has the wrong shape: {what}; {right}",
        [Violation("tensor.shape", f"{what}; {right}")],
        reason="WRONG_SHAPE",
    )

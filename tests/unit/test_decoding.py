"""What callers give, checked against the signature."""

import numpy as np
import pytest

from pushserve_runtime.signature import DType, Feature, Layout, OutputSpec, Signature
from pushserve_server.errors import BadInput
from pushserve_server.serve.codec.columns import GivenColumn
from pushserve_server.serve.codec.decoding import Decoder


def signature(layout=Layout.MATRIX, inputs=None):
    inputs = inputs or (Feature("a"), Feature("b", nullable=True))
    return Signature(layout, tuple(inputs), (OutputSpec("value", DType.FLOAT64),), ("value",))


MIXED = (
    Feature("age", DType.INT64),
    Feature("sex", DType.STRING, categories=("f", "m")),
    Feature("bp", DType.FLOAT64, nullable=True),
    Feature("smoker", DType.BOOL),
)


def decoder(layout=Layout.MATRIX, inputs=None, max_rows=100):
    return Decoder(signature(layout, inputs), max_rows)


def refused(call, *arguments):
    with pytest.raises(BadInput) as caught:
        call(*arguments)
    error = caught.value
    return error.code_reason, [(v.field, v.description) for v in error.violations]


def floats(name, values, nulls=None):
    return GivenColumn(name, np.array(values, float), nulls)


def texts(name, values):
    return GivenColumn(name, np.array(values, object))


class TestTensor:
    def test_rows_and_order_are_kept(self):
        request = decoder().from_tensor(np.array([1.0, 2, 3, 4]), [2, 2])
        assert 2 == request.rows
        assert [[1, 2], [3, 4]] == request.arrays[0].values.tolist()

    def test_shape_may_be_left_out(self):
        assert 2 == decoder().from_tensor(np.array([1.0, 2, 3, 4]), []).rows

    def test_float32_is_widened(self):
        request = decoder().from_tensor(np.array([1, 2], np.float32), [1, 2])
        assert np.float64 == request.arrays[0].values.dtype

    @pytest.mark.parametrize("shape", [[1, 3], [4], [2, 2, 1], [3, 2]])
    def test_wrong_shape(self, shape):
        reason, violations = refused(decoder().from_tensor, np.arange(4.0), shape)
        assert "WRONG_SHAPE" == reason
        assert "tensor.shape" == violations[0][0]
        assert "expected [rows, 2]" in violations[0][1]

    def test_values_that_fill_no_row(self):
        assert "WRONG_SHAPE" == refused(decoder().from_tensor, np.arange(3.0), [])[0]

    @pytest.mark.parametrize("shape", [[], [2, 2]])
    def test_raw_doubles_are_the_same_rows(self, shape):
        values = np.array([1.0, np.nan, 3, 4])
        request = decoder().from_raw(values.tobytes(), shape)
        assert 2 == request.rows
        given = decoder().from_tensor(values, [2, 2]).arrays[0].values
        assert np.array_equal(given, request.arrays[0].values, equal_nan=True)

    @pytest.mark.parametrize(
        ("layout", "size", "shape"),
        [
            (Layout.MATRIX, 32, [4, 1]),
            (Layout.MATRIX, 32, [4]),
            (Layout.MATRIX, 24, []),
            (Layout.MATRIX, 31, []),
            (Layout.MATRIX, 0, []),
            (Layout.MATRIX, 16 * 101, []),
            (Layout.TABLE, 32, [2, 2]),
        ],
    )
    def test_raw_bytes_that_need_a_closer_look(self, layout, size, shape):
        assert decoder(layout).from_raw(bytes(size), shape) is None

    def test_a_raw_number_that_is_not_finite_is_named_when_it_is_decoded(self):
        request = decoder().from_raw(np.array([1.0, 2, np.inf, 4]).tobytes(), [])
        reason, violations = refused(lambda: request.arrays)
        assert ("NOT_FINITE", "a") == (reason, violations[0][0])
        assert "row 1" in violations[0][1]

    def test_nan_where_none_is_allowed_names_column_and_row(self):
        reason, violations = refused(decoder().from_tensor, np.array([1.0, 2, np.nan, 4]), [2, 2])
        assert ("NOT_FINITE", "a") == (reason, violations[0][0])
        assert "NaN in row 1" in violations[0][1]

    def test_nan_where_it_is_allowed(self):
        request = decoder().from_tensor(np.array([1.0, np.nan]), [1, 2])
        assert np.isnan(request.arrays[0].values[0, 1])

    def test_infinity_is_refused_even_where_nan_is_allowed(self):
        reason, violations = refused(decoder().from_tensor, np.array([1.0, np.inf]), [1, 2])
        assert ("NOT_FINITE", "b") == (reason, violations[0][0])

    def test_a_finite_sum_that_overflows_is_no_error(self):
        values = np.array([1.7e308, 1.7e308])
        assert 1 == decoder().from_tensor(values, [1, 2]).rows

    def test_no_rows(self):
        assert "NO_ROWS" == refused(decoder().from_tensor, np.array([]), [0, 2])[0]

    def test_too_many_rows(self):
        limited = decoder(max_rows=1)
        assert "TOO_MANY_ROWS" == refused(limited.from_tensor, np.arange(4.0), [2, 2])[0]

    def test_records_without_declared_inputs_take_no_tensor(self):
        free = Decoder(Signature(Layout.RECORDS, (), (), ()), 10)
        assert "WRONG_FORM" == refused(free.from_tensor, np.arange(2.0), [1, 2])[0]


class TestColumns:
    def table(self):
        return decoder(Layout.TABLE, MIXED)

    def good(self):
        return [
            floats("bp", [70.5, 0], np.array([False, True])),
            texts("sex", ["f", "m"]),
            GivenColumn("smoker", np.array([True, False])),
            GivenColumn("age", np.array([30, 40])),
        ]

    def test_columns_come_in_the_signatures_order(self):
        request = self.table().from_columns(self.good())
        assert [DType.INT64, DType.STRING, DType.FLOAT64, DType.BOOL] == [
            array.dtype for array in request.arrays
        ]
        assert [False, True] == request.arrays[2].nulls.tolist()

    def test_whole_doubles_are_taken_for_integers(self):
        given = [*self.good()[:3], floats("age", [30, 40])]
        assert [30, 40] == self.table().from_columns(given).arrays[0].values.tolist()

    @pytest.mark.parametrize("value", [30.5, np.nan, 1e300, 2.0**63])
    def test_other_doubles_are_not(self, value):
        given = [*self.good()[:3], floats("age", [30, value])]
        assert "WRONG_DTYPE" == refused(self.table().from_columns, given)[0]

    def test_missing_column(self):
        reason, violations = refused(self.table().from_columns, self.good()[:3])
        assert ("MISSING_COLUMN", "age") == (reason, violations[0][0])
        assert "int64" in violations[0][1]

    def test_unknown_column_lists_the_known_ones(self):
        given = [*self.good(), floats("weight", [1, 2])]
        reason, violations = refused(self.table().from_columns, given)
        assert ("UNKNOWN_COLUMN", "weight") == (reason, violations[0][0])
        assert "'age', 'sex', 'bp', 'smoker'" in violations[0][1]

    def test_doubled_column(self):
        given = [*self.good(), floats("age", [1, 2])]
        assert "DUPLICATE_COLUMN" == refused(self.table().from_columns, given)[0]

    def test_unequal_columns(self):
        given = [*self.good()[:3], GivenColumn("age", np.array([1, 2, 3]))]
        reason, violations = refused(self.table().from_columns, given)
        assert ("ROW_COUNT_MISMATCH", "age") == (reason, violations[0][0])

    @pytest.mark.parametrize(
        "column",
        [
            texts("age", ["30", "40"]),
            floats("sex", [1, 2]),
            floats("smoker", [0, 1]),
            texts("bp", ["70", "80"]),
        ],
    )
    def test_wrong_dtype_names_the_column(self, column):
        given = [c for c in self.good() if c.name != column.name] + [column]
        reason, violations = refused(self.table().from_columns, given)
        assert ("WRONG_DTYPE", column.name) == (reason, violations[0][0])

    def test_null_where_none_is_allowed(self):
        given = [*self.good()[:3], GivenColumn("age", np.array([1, 2]), np.array([False, True]))]
        reason, violations = refused(self.table().from_columns, given)
        assert ("NULL", "age") == (reason, violations[0][0])
        assert "row 1" in violations[0][1]

    def test_unknown_category_lists_the_known_ones(self):
        given = [c for c in self.good() if c.name != "sex"] + [texts("sex", ["f", "x"])]
        reason, violations = refused(self.table().from_columns, given)
        assert ("UNKNOWN_CATEGORY", "sex") == (reason, violations[0][0])
        assert "'f', 'm'" in violations[0][1]

    def test_a_matrix_is_made_of_columns(self):
        given = [floats("b", [9, 0], np.array([False, True])), GivenColumn("a", np.array([1, 2]))]
        matrix = decoder().from_columns(given).arrays[0].values
        assert [1, 9, 2] == [matrix[0, 0], matrix[0, 1], matrix[1, 0]]
        assert np.isnan(matrix[1, 1])

    def test_every_mistake_is_told(self):
        _, violations = refused(self.table().from_columns, [floats("x", [1]), floats("y", [1])])
        assert {"x", "y", "age", "sex", "bp", "smoker"} == {field for field, _ in violations}


class TestRecords:
    def table(self):
        return decoder(Layout.TABLE, MIXED)

    def test_null_and_missing_nullable_fields_are_null(self):
        rows = [
            {"age": 30.0, "sex": "f", "bp": None, "smoker": True},
            {"age": 31.0, "sex": "m", "smoker": False},
        ]
        request = self.table().from_records(rows)
        assert [True, True] == request.arrays[2].nulls.tolist()
        assert [30, 31] == request.arrays[0].values.tolist()

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("age", "30"),
            ("age", True),
            ("sex", 1.0),
            ("smoker", 1.0),
            ("bp", {"x": 1}),
            ("age", 1.5),
        ],
    )
    def test_wrong_type_names_the_field(self, field, value):
        row = {"age": 30.0, "sex": "f", "bp": 1.0, "smoker": True, field: value}
        reason, violations = refused(self.table().from_records, [row])
        assert ("WRONG_DTYPE", field) == (reason, violations[0][0])

    def test_null_where_none_is_allowed(self):
        row = {"age": None, "sex": "f", "smoker": True}
        assert "NULL" == refused(self.table().from_records, [row])[0]

    def test_missing_and_unknown_fields_name_the_row(self):
        good = {"age": 1.0, "sex": "f", "smoker": True}
        _, violations = refused(self.table().from_records, [good, {"agee": 1.0}])
        assert {"agee", "age", "sex", "smoker"} == {field for field, _ in violations}
        assert all("row 1" in what for _, what in violations)

    def test_free_records_pass_as_they_are(self):
        free = Decoder(Signature(Layout.RECORDS, (), (), ()), 10)
        rows = [{"features": [1.0, 2.0]}, {"anything": {"goes": None}}]
        assert rows == free.from_records(rows).arrays[0].values.tolist()

    def test_declared_records_are_checked_and_typed(self):
        typed = decoder(Layout.RECORDS, (Feature("n", DType.INT64), Feature("t", DType.STRING)))
        assert [{"n": 3, "t": "x"}] == typed.from_records([{"n": 3.0, "t": "x"}]).arrays[
            0
        ].values.tolist()
        assert "WRONG_DTYPE" == refused(typed.from_records, [{"n": "3", "t": "x"}])[0]

    def test_columns_become_records(self):
        typed = decoder(Layout.RECORDS, (Feature("n", DType.INT64), Feature("t", DType.STRING)))
        given = [texts("t", ["x"]), floats("n", [3])]
        assert [{"n": 3, "t": "x"}] == typed.from_columns(given).arrays[0].values.tolist()

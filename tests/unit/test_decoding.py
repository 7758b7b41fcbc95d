"""What callers give, checked against the signature."""

import numpy as np
import pytest

from pushserve_runtime.signature import Accepts, DType, Feature, Layout, OutputSpec, Signature
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

    @pytest.mark.parametrize("value", [30.5, 1e300, 2.0**63])
    def test_other_doubles_are_not(self, value):
        given = [*self.good()[:3], floats("age", [30, value])]
        assert "WRONG_DTYPE" == refused(self.table().from_columns, given)[0]

    def test_nan_is_null_where_no_float_is_meant(self):
        given = [*self.good()[:3], floats("age", [30, np.nan])]
        assert "NULL" == refused(self.table().from_columns, given)[0]

    @pytest.mark.parametrize(
        ("feature", "column", "expected"),
        [
            (Feature("c"), GivenColumn("c", np.array([True, False])), [1.0, 0.0]),
            (Feature("c", DType.INT64), GivenColumn("c", np.array([True, False])), [1, 0]),
            (Feature("c", DType.BOOL), floats("c", [1, 0]), [True, False]),
            (Feature("c", DType.BOOL), GivenColumn("c", np.array([1, 0])), [True, False]),
        ],
    )
    def test_numbers_and_truth_values_for_each_other(self, feature, column, expected):
        """scikit-learn takes all of them."""
        [array] = decoder(Layout.TABLE, (feature,)).from_columns([column]).arrays
        assert (feature.dtype, expected) == (array.dtype, array.values.tolist())

    @pytest.mark.parametrize("dtype", [DType.FLOAT64, DType.INT64, DType.BOOL, DType.STRING])
    @pytest.mark.parametrize(
        "column",
        [
            GivenColumn("c", np.array(["", ""], object), np.array([True, True])),
            GivenColumn("c", np.array([np.nan, np.nan])),
            GivenColumn("c", np.array([np.nan, np.nan]), np.array([True, True])),
            GivenColumn("c", np.array([False, False]), np.array([True, True])),
        ],
    )
    def test_a_column_of_nulls_fits_every_type(self, dtype, column):
        """No client knows what to send it as."""
        feature = Feature("c", dtype, nullable=True)
        [array] = decoder(Layout.TABLE, (feature,)).from_columns([column]).arrays
        missing = array.nulls if array.nulls is not None else np.isnan(array.values)
        assert (dtype, [True, True]) == (array.dtype, missing.tolist())

    def test_a_column_of_nulls_where_none_is_allowed(self):
        column = GivenColumn("c", np.array([""], object), np.array([True]))
        table = decoder(Layout.TABLE, (Feature("c"),))
        assert "NULL" == refused(table.from_columns, [column])[0]

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
            floats("smoker", [0, 2]),
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
            ("age", "30 years"),
            ("age", "1e3"),
            ("sex", 1.0),
            ("sex", True),
            ("smoker", 2.0),
            ("smoker", "true"),
            ("bp", "1"),
            ("bp", {"x": 1}),
            ("age", 1.5),
        ],
    )
    def test_wrong_type_names_the_field(self, field, value):
        row = {"age": 30.0, "sex": "f", "bp": 1.0, "smoker": True, field: value}
        reason, violations = refused(self.table().from_records, [row])
        assert ("WRONG_DTYPE", field) == (reason, violations[0][0])

    def test_numbers_and_truth_values_for_each_other(self):
        row = {"age": True, "sex": "f", "bp": True, "smoker": 1.0}
        arrays = self.table().from_records([row]).arrays
        assert [[1], ["f"], [1.0], [True]] == [array.values.tolist() for array in arrays]

    @pytest.mark.parametrize("value", [2.0**53, -(2.0**53), 2.0**60])
    def test_a_number_that_may_have_lost_digits_is_refused(self, value):
        """JSON's 9007199254740993 arrives as 9007199254740992.0."""
        row = {"age": value, "sex": "f", "smoker": True}
        reason, violations = refused(self.table().from_records, [row])
        assert ("INEXACT_NUMBER", "age") == (reason, violations[0][0])
        assert f"as text, '{int(value)}'" in violations[0][1]
        assert "table" in violations[0][1]

    @pytest.mark.parametrize("value", [2.0**53, -(2.0**60), 2.0**62 + 2.0**20])
    def test_doubles_for_ids_may_have_lost_digits_too(self, value):
        """A tensor or a column of float64 is where a caller's own ids were rounded."""
        ids = decoder(Layout.TABLE, (Feature("id", DType.INT64),))
        column = [GivenColumn("id", np.array([1.0, value]))]
        for door, given in ((ids.from_columns, column), (ids.from_tensor, None)):
            args = (given,) if given else (np.array([1.0, value]), [2, 1])
            reason, violations = refused(door, *args)
            assert ("INEXACT_NUMBER", "id") == (reason, violations[0][0])
            assert "row 1" in violations[0][1]
        exact = [GivenColumn("id", np.array([1, int(value) + 1]))]
        assert [1, int(value) + 1] == ids.from_columns(exact).arrays[0].values.tolist()

    @pytest.mark.parametrize("value", [2**53 - 1, 2**53 + 1, -(2**63), 2**63 - 1])
    def test_a_whole_number_may_be_text(self, value):
        row = {"age": str(value), "sex": "f", "smoker": True}
        [age, *_] = self.table().from_records([row]).arrays
        assert [value] == age.values.tolist()

    def test_a_number_of_an_open_column_that_may_have_lost_digits(self):
        table = decoder(Layout.TABLE, (Feature("id", accepts=Accepts.ANYTHING),))
        assert "INEXACT_NUMBER" == refused(table.from_records, [{"id": 2.0**53 + 2}])[0]
        assert [1e300] == table.from_records([{"id": 1e300}]).arrays[0].values.tolist()

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
        assert "WRONG_DTYPE" == refused(typed.from_records, [{"n": "x", "t": "x"}])[0]

    def test_columns_become_records(self):
        typed = decoder(Layout.RECORDS, (Feature("n", DType.INT64), Feature("t", DType.STRING)))
        given = [texts("t", ["x"]), floats("n", [3])]
        assert [{"n": 3, "t": "x"}] == typed.from_columns(given).arrays[0].values.tolist()


class TestOpenTypes:
    """What is sent is kept, as pandas would have it."""

    @pytest.mark.parametrize(
        ("values", "dtype"),
        [
            ([1.0, 2.0], DType.INT64),
            ([1.0, 2.5], DType.FLOAT64),
            ([-0.0], DType.FLOAT64),
            ([True, False], DType.BOOL),
            (["a", ""], DType.STRING),
            ([True, 1.0, "a"], DType.JSON),
            ([None, 2.0], DType.FLOAT64),
            ([None, "a"], DType.STRING),
            ([None, None], DType.FLOAT64),
        ],
    )
    def test_rows(self, values, dtype):
        feature = Feature("c", nullable=True, accepts=Accepts.ANYTHING)
        table = decoder(Layout.TABLE, (feature,))
        [array] = table.from_records([{"c": value} for value in values]).arrays
        assert dtype is array.dtype
        nulls = [False] * len(values) if array.nulls is None else array.nulls.tolist()
        present = [v for v, null in zip(array.values.tolist(), nulls, strict=True) if not null]
        assert [value for value in values if value is not None] == present

    @pytest.mark.parametrize(
        ("values", "dtype"),
        [
            (np.array([1, 2]), DType.INT64),
            (np.array([1.0, 2.0]), DType.FLOAT64),
            (np.array([True, False]), DType.BOOL),
            (np.array(["a", "b"], object), DType.STRING),
        ],
    )
    def test_columns(self, values, dtype):
        table = decoder(Layout.TABLE, (Feature("c", accepts=Accepts.ANYTHING),))
        [array] = table.from_columns([GivenColumn("c", values)]).arrays
        assert (dtype, values.tolist()) == (array.dtype, array.values.tolist())

    @pytest.mark.parametrize("values", [np.array([1, 2]), np.array([True, False]), np.array([0.5])])
    def test_a_matrix(self, values):
        matrix = decoder(Layout.MATRIX, (Feature("c", accepts=Accepts.NUMBERS),))
        by_table = matrix.from_columns([GivenColumn("c", values)]).arrays[0].values
        by_tensor = matrix.from_tensor(values, [len(values), 1]).arrays[0].values
        assert values.dtype == by_table.dtype == by_tensor.dtype

    def test_a_matrix_takes_no_texts(self):
        matrix = decoder(Layout.MATRIX, (Feature("c", accepts=Accepts.NUMBERS),))
        assert "WRONG_DTYPE" == refused(matrix.from_columns, [texts("c", ["1"])])[0]


class TestUnusedColumns:
    INPUTS = (Feature("a"), Feature("b", accepts=Accepts.UNUSED))

    @pytest.mark.parametrize("layout", [Layout.MATRIX, Layout.TABLE])
    @pytest.mark.parametrize("value", [None, 1.0, "text", True, {"x": [1.0]}])
    def test_any_value_by_rows(self, layout, value):
        given = decoder(layout, self.INPUTS).from_records([{"a": 1.0, "b": value}, {"a": 2.0}])
        without = decoder(layout, self.INPUTS).from_records([{"a": 1.0}, {"a": 2.0}])
        assert [a.values.tolist() for a in without.arrays] == [
            a.values.tolist() for a in given.arrays
        ]

    @pytest.mark.parametrize(
        "more", [[], [texts("b", ["x", "y"])], [GivenColumn("b", np.zeros(2), np.ones(2, bool))]]
    )
    def test_any_column(self, more):
        table = decoder(Layout.TABLE, self.INPUTS)
        arrays = table.from_columns([floats("a", [1, 2]), *more]).arrays
        assert [[1, 2], [0, 0]] == [array.values.tolist() for array in arrays]

    def test_an_unknown_column_is_refused_as_ever(self):
        table = decoder(Layout.TABLE, self.INPUTS)
        assert "UNKNOWN_COLUMN" == refused(table.from_records, [{"a": 1.0, "c": 1.0}])[0]

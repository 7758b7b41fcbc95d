"""What is not known is not assumed: columns nobody uses, and types that nothing tells.

Expected answers are the estimator's own, for the frame that its author would give it.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import VotingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler

from pushserve_runtime.signature import Accepts
from tests.fixtures.doors import Doors
from tests.fixtures.shares import share

rng = np.random.default_rng(0)


class Stateless(TransformerMixin, BaseEstimator):
    """Learns nothing, and keeps no names, as people's own steps mostly do."""

    def fit(self, _data, _target=None):
        return self


class ToStr(Stateless):
    """Turns every value into its text, as `astype(str)` has it."""

    def transform(self, data):
        return data.astype(str)


class Lookup(Stateless):
    """Looks each value up in a dictionary of what it saw."""

    def fit(self, data, _target=None):
        values = pd.unique(np.asarray(data, object).ravel())
        self.codes_ = {f"{value}": i for i, value in enumerate(values)}
        return self

    def transform(self, data):
        rows = np.asarray(data, object)
        return np.array([[self.codes_.get(f"{value}", -1) for value in row] for row in rows])


class Month(Stateless):
    """Takes the month out of dates that are texts."""

    def transform(self, data):
        return pd.to_datetime(data["day"]).dt.month.to_numpy()[:, None]


class MonthOfDates(Stateless):
    """The same of datetimes, which it takes alone."""

    def transform(self, data):
        return data["day"].dt.month.to_numpy()[:, None]


class SilentSwap(Stateless):
    """Gives a frame's columns in the other order, an array's as they are; does not tell which."""

    def transform(self, data):
        return data.to_numpy()[:, ::-1] if hasattr(data, "columns") else data


class Swap(SilentSwap):
    """The same, and tells, as scikit-learn's do, that it was fitted on an array."""

    def fit(self, data, _target=None):
        self.n_features_in_ = data.shape[1]
        return self


def by_name(data):
    return data[sorted(data.columns)] if hasattr(data, "columns") else data


def as_texts(data):
    return data.astype(str)


def clipped(frame):
    frame.loc[frame.a < 0, "a"] = 0
    return frame


def dummies(frame):
    return pd.get_dummies(frame.astype({"flag": str})).reindex(
        columns=["code_1", "code_2", "code_3", "flag_True", "flag_False"], fill_value=0
    )


def declared(*names):
    return {"inputs": [{"name": name} for name in names]}


def check(folder, model, frame, **spec):
    """Every door gives the estimator's own labels; give the doors."""
    doors = Doors(model, folder.signature(model, engine="worker", **spec))
    expected = model.predict(frame).tolist()
    assert expected == doors.table(frame)["label"].tolist()
    assert expected == doors.rows(frame)["label"].tolist()
    assert expected[:5] == doors.one_by_one(frame[:5])["label"].tolist()
    return doors


def accepts(signature) -> dict[str, Accepts]:
    return {feature.name: feature.accepts for feature in signature.inputs}


def people(rows=40) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "Name": [f"Braund, Mr. {i}" for i in range(rows)],
            "age": rng.normal(40, 10, rows),
            "Ticket": pd.Series([None, "A/5", 17, 2.5] * (rows // 4), dtype=object),
            "alone": [True, False] * (rows // 2),
        }
    )


class Centre(Stateless):
    """Takes the columns' means away."""

    def fit(self, data, _target=None):
        self.means_ = data.mean(axis=0)
        return self

    def transform(self, data):
        return data - self.means_


class FirstTwo(Stateless):
    """Takes two columns, however many there are."""

    def transform(self, data):
        return data[:, :2]


class TestUnusedColumns:
    """Columns that no branch uses are optional and of any type."""

    def test_columns_that_a_column_transformer_leaves_out(self, folder):
        frame = people()
        columns = ColumnTransformer([("n", StandardScaler(), ["age"])])
        model = make_pipeline(columns, LogisticRegression()).fit(frame, frame.age > 40)

        doors = Doors(model, folder.signature(model))

        unused = {"Name": Accepts.UNUSED, "Ticket": Accepts.UNUSED, "alone": Accepts.UNUSED}
        assert unused | {"age": Accepts.DTYPE} == accepts(doors.signature)
        expected = model.predict(frame).tolist()
        assert expected == doors.rows(frame)["label"].tolist()
        assert expected == doors.rows(frame[["age"]])["label"].tolist()
        assert expected == doors.table(frame[["Name", "age", "alone"]])["label"].tolist()
        assert expected == doors.table(frame[["age"]])["label"].tolist()

    @pytest.mark.parametrize(
        "wrap",
        [
            lambda model: VotingClassifier([("a", model), ("b", model)], voting="soft"),
            lambda model: make_pipeline(FunctionTransformer(), model),
        ],
    )
    def test_inside_of_others(self, folder, wrap):
        frame = people()
        columns = make_column_transformer((StandardScaler(), ["age"]), ("drop", ["alone"]))
        model = wrap(make_pipeline(columns, LogisticRegression())).fit(frame, frame.age > 40)

        doors = check(folder, model, frame.drop(columns="Ticket").assign(Ticket="x"))

        assert Accepts.UNUSED is accepts(doors.signature)["Name"]

    @pytest.mark.long
    def test_a_column_that_one_branch_uses_is_used(self, folder):
        frame = people()
        some = make_pipeline(
            make_column_transformer((StandardScaler(), ["age"])), LogisticRegression()
        )
        other = make_pipeline(
            make_column_transformer((OneHotEncoder(), ["alone"])), LogisticRegression()
        )
        model = VotingClassifier([("a", some), ("b", other)], voting="soft").fit(
            frame, frame.age > 40
        )

        signature = folder.signature(model, engine="worker")

        assert {"age": Accepts.DTYPE, "alone": Accepts.DTYPE}.items() <= accepts(signature).items()

    def test_columns_of_an_array(self, folder):
        data = rng.normal(size=(40, 3))
        columns = ColumnTransformer([("n", StandardScaler(), [0, 2])])
        model = make_pipeline(columns, LogisticRegression()).fit(data, data[:, 0] > 0)

        doors = Doors(model, folder.signature(model))

        frame = pd.DataFrame(data, columns=["x0", "x1", "x2"])
        expected = model.predict(data).tolist()
        assert expected == doors.rows(frame[["x0", "x2"]])["label"].tolist()
        assert expected == doors.table(data)["label"].tolist()

    def test_a_model_that_looks_at_nothing(self, folder):
        model = DummyClassifier().fit(people(), ["a", "b", "a", "a"] * 10)

        doors = Doors(model, folder.signature(model, engine="worker"))

        assert ["a", "a"] == doors.rows(people()[:2])["label"].tolist()

    def test_a_compiled_graph_takes_them_too(self, folder):
        frame = people()
        columns = ColumnTransformer([("n", StandardScaler(), ["age"])])
        model = make_pipeline(columns, LogisticRegression()).fit(frame, frame.age > 40)

        assert "onnx" == folder.build(model)["engine"]


class TestOpenTypes:
    """A type that is only a default: what is sent reaches the model as pandas has it."""

    def test_whole_numbers_stay_whole(self, folder):
        frame = pd.DataFrame({"code": np.arange(60) % 3})
        encoder = make_pipeline(ToStr(), OneHotEncoder(handle_unknown="ignore"))
        model = make_pipeline(make_column_transformer((encoder, ["code"])), LogisticRegression())

        doors = check(folder, model.fit(frame, (frame.code == 1).astype(int)), frame)

        assert {"code": Accepts.ANYTHING} == accepts(doors.signature)

    def test_truth_values_stay_such(self, folder):
        frame = pd.DataFrame({"flag": [True, False, False] * 20, "n": rng.normal(size=60)})
        steps = make_pipeline(ToStr(), OneHotEncoder(handle_unknown="ignore"), LogisticRegression())

        model = steps.fit(frame[["flag"]], frame.flag)

        check(folder, model, frame[["flag"]], signature=declared("flag"))

    def test_text_or_number_in_a_dictionary(self, folder):
        frame = pd.DataFrame(
            {"a": ["x", "y", "z"] * 20, "b": [1, 2, 3] * 20, "c": [0.5, 1.5, 2.5] * 20}
        )
        model = make_pipeline(Lookup(), LogisticRegression()).fit(frame, (frame.b == 2).astype(int))

        check(folder, model, frame, signature=declared("a", "b", "c"))

    @pytest.mark.long
    def test_whole_numbers_with_gaps(self, folder):
        """pandas' Int64 in a table is that; in JSON's rows it is what pandas reads of them."""
        whole = pd.DataFrame({"code": pd.array([1, 2, None] * 20, dtype="Int64")})
        encoder = make_pipeline(ToStr(), OneHotEncoder())
        model = make_pipeline(make_column_transformer((encoder, ["code"])), LogisticRegression())
        doors = Doors(model.fit(whole, whole.code.isna()), folder.signature(model, engine="worker"))

        assert model.predict(whole).tolist() == doors.table(whole)["label"].tolist()

    @pytest.mark.long
    def test_get_dummies(self, folder):
        frame = pd.DataFrame({"code": ["1", "2", "3"] * 20, "flag": [True, False, True] * 20})

        model = make_pipeline(FunctionTransformer(dummies), LogisticRegression())

        check(folder, model.fit(frame, frame.code == "2"), frame)

    @pytest.mark.long
    def test_own_code_may_write_into_its_frame(self, folder):
        """A request's buffers may not be written into; a frame of them may."""
        frame = pd.DataFrame({"a": rng.normal(size=60), "b": [1, 2, 3] * 20})
        model = make_pipeline(FunctionTransformer(clipped), LogisticRegression())
        model.fit(frame.copy(), frame.a > 0.5)
        doors = Doors(model, folder.signature(model, engine="worker"))

        expected = model.predict(frame.copy()).tolist()

        assert expected == doors.table(frame)["label"].tolist()
        assert expected == doors.rows(frame)["label"].tolist()

    def test_an_array_keeps_its_type(self, folder):
        data = np.arange(60)[:, None] % 3
        model = make_pipeline(Lookup(), LogisticRegression()).fit(data, data[:, 0] == 1)
        doors = Doors(model, folder.signature(model, engine="worker", signature=declared("code")))

        expected = model.predict(data).tolist()

        assert expected == doors.table(data)["label"].tolist()
        assert expected == doors.rows(pd.DataFrame(data, columns=["code"]))["label"].tolist()
        assert model.predict(data + 0.5).tolist() == doors.table(data + 0.5)["label"].tolist()

    def test_dates_that_own_code_reads(self, folder):
        frame = pd.DataFrame(
            {"day": pd.date_range("2024-01-01", periods=60, freq="7D").astype(str)}
        )
        model = make_pipeline(Month(), LogisticRegression()).fit(frame, frame.day < "2024-07")

        check(folder, model, frame, signature=declared("day"))

    def test_dates_that_are_taken_as_datetimes_alone(self, folder):
        days = pd.date_range("2024-01-01", periods=60, freq="7D")
        frame = pd.DataFrame({"day": days})
        columns = make_column_transformer((MonthOfDates(), ["day"]))
        model = make_pipeline(columns, LogisticRegression()).fit(frame, days < "2024-07")
        doors = Doors(model, folder.signature(model, engine="worker"))

        sent = pd.DataFrame({"day": days.astype(str)})

        assert model.predict(frame).tolist() == doors.rows(sent)["label"].tolist()
        assert model.predict(frame).tolist() == doors.table(sent)["label"].tolist()

    @pytest.mark.parametrize("encoder", [OneHotEncoder, OrdinalEncoder])
    @pytest.mark.parametrize("shown", [False, True])
    def test_dates_that_encoders_behind_own_code_know(self, folder, encoder, shown):
        """They alone are taken: none that anybody makes up."""
        frame = pd.DataFrame({"day": pd.to_datetime(["2022-02-01", "2022-03-05"] * 20)})
        columns = make_column_transformer((encoder(), ["day"]))
        steps = make_pipeline(FunctionTransformer(by_name), columns, LogisticRegression())
        model = steps.fit(frame, frame.day.dt.month == 2)
        texts = frame.assign(day=frame.day.dt.strftime("%Y-%m-%d"))
        if shown:
            folder.write("examples.json", [{"input": {"day": "2022-02-01"}}])

        doors = Doors(model, folder.signature(model, engine="worker"))

        expected = model.predict(frame).tolist()
        assert expected == doors.table(texts)["label"].tolist()
        assert expected == doors.rows(texts)["label"].tolist()

    def test_an_array_s_width_is_that_of_an_example(self, folder):
        """Own code that remembers nothing, fitted on an array, whose rows are lists."""
        data = rng.normal(size=(40, 3))
        steps = make_pipeline(FunctionTransformer(np.asarray), Centre(), StandardScaler())
        model = make_pipeline(FirstTwo(), steps, LogisticRegression()).fit(data, data[:, 0] > 0)
        refused = folder.build(model)
        assert "SIGNATURE_UNKNOWN" == refused["reason"]
        assert '[{"input": [value, …]}]' in refused["fix"]
        folder.write("examples.json", [{"input": data[0].tolist()}])

        doors = Doors(model, folder.signature(model))

        assert ["x0", "x1", "x2"] == [feature.name for feature in doors.signature.inputs]
        assert model.predict(data).tolist() == doors.table(data)["label"].tolist()

    def test_a_known_type_is_said(self, folder):
        """Its columns are numbers: a library's code makes float64 of them."""
        frame = people()[["age", "alone"]]
        model = make_pipeline(StandardScaler(), LogisticRegression()).fit(frame, frame.age > 40)

        signature = folder.signature(model)

        assert {"age": Accepts.DTYPE, "alone": Accepts.DTYPE} == accepts(signature)

    def test_callers_do_not_change_each_others_types(self, folder):
        """Whole numbers of one caller stay whole beside another's fractions."""
        frame = pd.DataFrame({"code": np.arange(60) % 3})
        encoder = make_pipeline(ToStr(), OneHotEncoder(handle_unknown="ignore"))
        model = make_pipeline(make_column_transformer((encoder, ["code"])), LogisticRegression())
        doors = Doors(model.fit(frame, frame.code == 1), folder.signature(model, engine="worker"))

        whole, one, fractions = (doors.kind(f) for f in (frame, frame[:1], frame + 0.5))

        assert whole == one
        assert whole != fractions


class TestNone:
    """None stays None where the model knows None."""

    def column(self):
        return pd.DataFrame({"c": pd.Series(["x", "y", None, "x"] * 20, dtype=object)})

    @pytest.mark.parametrize(
        "first",
        share(
            [
                OneHotEncoder(handle_unknown="ignore"),
                OneHotEncoder(),
                OrdinalEncoder(),
                make_pipeline(
                    SimpleImputer(missing_values=None, strategy="most_frequent"), OneHotEncoder()
                ),
            ],
            2,
        ),
    )
    def test_none_is_a_category(self, folder, first):
        frame = self.column()
        model = make_pipeline(first, LogisticRegression()).fit(frame, frame.c.isna().astype(int))

        check(folder, model, frame)

    @pytest.mark.long
    def test_beside_other_columns(self, folder):
        frame = self.column().assign(n=rng.normal(size=80))
        columns = make_column_transformer((OneHotEncoder(), ["c"]), remainder=StandardScaler())
        model = make_pipeline(columns, LogisticRegression()).fit(frame, frame.c.isna().astype(int))

        check(folder, model, frame)

    @pytest.mark.long
    def test_truth_values_with_none(self, folder):
        frame = pd.DataFrame({"c": pd.Series([True, False, None, True] * 20, dtype=object)})
        model = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(frame, frame.c.isna())

        check(folder, model, frame)

    @pytest.mark.long
    def test_what_fills_gaps_is_no_type(self, folder):
        """A text stands for what is missing among truth values."""
        frame = pd.DataFrame({"c": pd.Series([True, False, None, True] * 20, dtype=object)})
        fill = SimpleImputer(strategy="constant", fill_value="unknown", missing_values=None)
        steps = make_pipeline(fill, FunctionTransformer(as_texts), OneHotEncoder())
        model = make_pipeline(steps, LogisticRegression()).fit(frame, frame.c.isna())

        check(folder, model, frame)

    def test_nan_is_a_category(self, folder):
        frame = pd.DataFrame({"c": pd.Series(["x", "y", np.nan, "x"] * 20, dtype=object)})
        model = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(frame, frame.c.isna())

        check(folder, model, frame)


class DummiesOfAll(Stateless):
    """Takes texts apart, and hands numbers on, by what types its columns have."""

    def fit(self, data, _target=None):
        self.columns_ = pd.get_dummies(data).columns
        return self

    def transform(self, data):
        return pd.get_dummies(data).reindex(columns=self.columns_, fill_value=0).astype(float)


class TestNullsOfOpenColumns:
    """Whoever takes None where NaN is refused gets texts with None, and numbers as numbers."""

    @pytest.mark.parametrize("values", [[3, 1, 2, 1], [0.5, 1.5, -1.0, 0.5]])
    def test_numbers_keep_their_type(self, folder, values):
        frame = pd.DataFrame({"n": values * 10})
        columns = make_column_transformer((DummiesOfAll(), ["n"]))
        model = make_pipeline(columns, LogisticRegression()).fit(frame, frame.n > 1)

        check(folder, model, frame)

    def test_a_null_among_numbers_is_refused_as_by_the_model(self, folder):
        """scikit-learn refuses NaN in a float column, and takes an object's None for NaN."""
        frame = pd.DataFrame({"n": [0.5, 1.5, -1.0, 2.5] * 10})
        columns = make_column_transformer((ToObjects(), ["n"]))
        model = make_pipeline(columns, LogisticRegression()).fit(frame, frame.n > 1)
        doors = Doors(model, folder.signature(model, engine="worker"))
        frame.loc[0, "n"] = np.nan

        with pytest.raises(ValueError, match="NaN"):
            model.predict(frame)
        with pytest.raises(Exception, match=r"NaN|null"):
            doors.table(frame)


class ToObjects(Stateless):
    """Refuses NaN, and takes None for the mean."""

    def transform(self, data):
        if data.n.dtype.kind == "f" and data.n.isna().any():
            raise ValueError("NaN")
        return data.fillna(0.0).astype(float)


class TestFrameOrMatrix:
    """Decided from what the estimator remembers, never from equal made-up values."""

    def test_a_function_that_sorts_columns(self, folder):
        frame = pd.DataFrame({"b": rng.normal(size=80), "a": rng.normal(size=80)})
        steps = make_pipeline(FunctionTransformer(by_name), LogisticRegression())

        check(folder, steps.fit(frame, frame.a > frame.b), frame)

    def test_a_step_that_swaps_rows_of_a_matrix(self, folder):
        """It answers to both, and was fitted on an array."""
        data = rng.normal(size=(80, 2))
        model = make_pipeline(Swap(), LogisticRegression()).fit(data, data[:, 0] > data[:, 1])
        doors = Doors(model, folder.signature(model, engine="worker", signature=declared("a", "b")))

        assert model.predict(data).tolist() == doors.table(data)["label"].tolist()

    def test_one_that_does_not_say_is_refused(self, folder):
        data = rng.normal(size=(80, 2))
        model = make_pipeline(SilentSwap(), LogisticRegression()).fit(data, data[:, 0] > data[:, 1])

        result = folder.build(model, engine="worker", signature=declared("a", "b"))

        assert "SIGNATURE_UNKNOWN" == result["reason"]
        assert "feature_names_in_" in result["fix"]

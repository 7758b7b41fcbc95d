"""Examples in all their forms, and the gate that they are."""

from __future__ import annotations

import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression, Ridge

from pushserve_runtime.job_spec import Tolerance
from pushserve_sandbox.build.example_check import matches
from pushserve_sandbox.loading.example_files import Example, parse_examples

X, y = load_iris(return_X_y=True)
FRAME = load_iris(as_frame=True).data
NAMES = list(FRAME.columns)
ROW = X[0].tolist()


@pytest.fixture(scope="module")
def classifier():
    return LogisticRegression(max_iter=500).fit(FRAME, y)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ([{"input": [1], "output": 2}], [Example([1], 2, has_output=True)]),
        ([{"input": [1], "expected": None}], [Example([1], None, has_output=True)]),
        ([{"input": [1]}, {"input": [2]}], [Example([1]), Example([2])]),
        ({"input": [1], "output": 2}, [Example([1], 2, has_output=True)]),
        ({"inputs": [[1]], "outputs": [2]}, [Example([1], 2, has_output=True)]),
        ({"inputs": [[1], [2]]}, [Example([1]), Example([2])]),
        ({"a": 1.5}, [Example({"a": 1.5})]),
        ([{"a": 1}, {"a": 2}], [Example({"a": 1}), Example({"a": 2})]),
        ([[1, 2], [3, 4]], [Example([1, 2]), Example([3, 4])]),
        ([1, 2], [Example([1, 2])]),
    ],
)
def test_forms(data, expected):
    assert expected == parse_examples(data)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "not JSON"),
        ([], "no example"),
        ("5", "no example"),
        ({"inputs": [[1]], "outputs": []}, "a list of 1"),
        ({"inputs": []}, "not a list of rows"),
        ([{"input": [1]}, {"output": 2}], "example 2 has not the form"),
        ([{"input": [1], "output": 1, "expected": 1}], 'both "output" and "expected"'),
        ("[" * 100_000, "nested 100,000 deep; at most 64"),
        ("[" * 900 + "]" * 900, "nested 900 deep; at most 64"),
        (f"[[{'9' * 5000}]]", "number of more digits than are read"),
        ('[["\\ud800"]]', "half of a pair of surrogates"),
        ("[" + "0," * 10_000_000 + "0]", "at most 10,000,000 are read"),
        ("[0]" + " " * 32 * 1024**2, "larger than 32 MiB"),
    ],
)
def test_malformed_files_are_told_the_forms(folder, classifier, content, says):
    folder.write("examples.json", content)

    result = folder.build(classifier)

    assert "EXAMPLES_INVALID" == result["reason"]
    assert says in result["message"]
    assert '"inputs"' in result["fix"]


@pytest.mark.parametrize(
    "output",
    [
        0,
        {"label": 0},
        {"probabilities": {"2": 0.0}},
        {"label": 0, "probabilities": {"0": 0.98, "1": 0.02}},
    ],
)
def test_examples_that_hold(folder, classifier, output):
    folder.write("examples.json", [{"input": ROW, "output": output}])

    result = folder.build(classifier, tolerance={"abs": 0.01, "rel": 0})

    assert result["ok"], result
    assert 1 == result["report"]["examples_checked"]


def test_rows_by_name_and_probabilities_in_order(folder, classifier):
    row = dict(zip(NAMES, ROW, strict=True))
    expected = classifier.predict_proba(FRAME[:1])[0].tolist()
    folder.write("examples.json", [{"input": row, "output": {"probabilities": expected}}])

    assert folder.build(classifier)["ok"]


@pytest.mark.parametrize(
    ("output", "says"),
    [
        (2, "example 2, output label: expected 2, got 0"),
        ("0", 'expected "0", got 0'),
        ({"probabilities": {"0": 0.5}}, 'output probabilities: expected {"0": 0.5}, got'),
        ({"label": 0, "probabilities": [1, 0]}, "output probabilities: expected [1, 0]"),
    ],
)
def test_examples_that_do_not_hold(folder, classifier, output, says):
    """The message names the example, the output, and both values."""
    folder.write("examples.json", [{"input": ROW}, {"input": ROW, "output": output}])

    result = folder.build(classifier)

    assert "EXAMPLES_FAILED" == result["reason"]
    assert says in result["message"]


def test_unknown_output_in_an_example(folder, classifier):
    folder.write("examples.json", [{"input": ROW, "output": {"label": 0, "score": 1}}])

    result = folder.build(classifier)

    assert "EXAMPLES_INVALID" == result["reason"]
    assert "'score'" in result["message"]
    assert "probabilities" in result["fix"]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (ROW[:3], "3 values"),
        ({}, "is missing"),
        ({"a": 1}, "'a' is unknown"),
        (["x"] * 4, "float64"),
    ],
)
def test_rows_that_do_not_fit(folder, classifier, row, says):
    folder.write("examples.json", [{"input": row}])

    result = folder.build(classifier)

    assert "EXAMPLES_INVALID" == result["reason"]
    assert says in result["message"]


def test_examples_without_outputs_are_run(folder, classifier):
    """A null where the model takes none fails, though nothing is expected."""
    folder.write("examples.json", [{"input": [None, 1, 1, 1]}])

    result = folder.build(classifier)

    assert "EXAMPLES_FAILED" == result["reason"]
    assert "example 1 cannot be predicted" in result["message"]


def test_regressor_value(folder):
    model = Ridge().fit(X, y)
    value = float(model.predict(X[:1])[0])
    folder.write("examples.json", [{"input": ROW, "output": value + 1e-9}])
    close = folder.build(model)
    folder.write("examples.json", [{"input": ROW, "output": value + 1e-3}])

    assert close["ok"]
    assert "EXAMPLES_FAILED" == folder.build(model)["reason"]


@pytest.mark.parametrize(
    ("expected", "got", "holds"),
    [
        (1, 1.0, True),
        (1.0, 1.0 + 1e-7, True),
        (1.0, 1.0 + 1e-5, False),
        (1e9, 1e9 + 100, True),
        (True, 1, False),
        ("a", "a", True),
        ("1", 1, False),
        (None, float("nan"), True),
        ({"a": [1, 2]}, {"a": [1, 2], "b": 3}, True),
        ({"a": 1}, {"b": 1}, False),
        ([1], [1, 2], False),
        ({"a": 1}, 1, False),
    ],
)
def test_matching(expected, got, holds):
    assert holds is matches(expected, got, Tolerance())


@pytest.mark.parametrize("content", [{"cases": [1, 2]}, [{"input": [1.0]}], []])
def test_a_file_of_people_s_own_is_named(folder, classifier, content):
    """Whoever has a test_data.json that is none of examples learns which file is meant."""
    folder.write("test_data.json", content)

    refused = folder.build(classifier, examples="test_data.json")

    assert refused["message"].startswith("test_data.json: ")
    assert "rename it" in refused["fix"]

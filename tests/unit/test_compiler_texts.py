"""Models of texts compile: the server makes the terms, the graph counts and weighs them."""

import json

import numpy as np
import onnx
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.decomposition import TruncatedSVD
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import (
    CountVectorizer,
    HashingVectorizer,
    TfidfTransformer,
    TfidfVectorizer,
)
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.naive_bayes import BernoulliNB, ComplementNB, MultinomialNB
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC

from pushserve_runtime.job_spec import Declared
from pushserve_runtime.onnx_predictor import OnnxPredictor
from pushserve_runtime.terms_feed import TERMS_KEY
from pushserve_sandbox.inspection.estimator import inspect_estimator
from pushserve_sandbox.onnx_compiler.compile import Compiled, Refused, compile_estimator
from pushserve_sandbox.prediction.row_arrays import arrays_of
from tests.fixtures.shares import share

LINES = ["Good day to you", "bad day, sir!", "a good night", "the night is young", "BAD dog"]
TEXTS = np.array([f"{LINES[i % 5]} {LINES[i * 7 % 4]}" for i in range(200)], object)
FIVE = np.arange(200) % 5
FRAME = pd.DataFrame({"review": TEXTS, "size": np.arange(200) / 7, "shop": FIVE.astype(str)})


def compiled(model):
    predictor = inspect_estimator(model, Declared(), [])
    return predictor, compile_estimator(model, predictor, [])


WEIGHED = {"ngram_range": (1, 2), "stop_words": "english", "sublinear_tf": True}
MODELS = {
    "counts": (CountVectorizer(), LogisticRegression()),
    "weights": (TfidfVectorizer(), LogisticRegression()),
    "pairs of words": (TfidfVectorizer(**WEIGHED, strip_accents="unicode"), LogisticRegression()),
    "letters": (TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4)), LinearSVC()),
    "any letters": (CountVectorizer(analyzer="char", lowercase=False), MultinomialNB()),
    "plain weights": (TfidfVectorizer(norm=None, use_idf=False), SGDClassifier(random_state=0)),
    "sums of one": (TfidfVectorizer(norm="l1"), ComplementNB()),
    "there or not": (CountVectorizer(binary=True), BernoulliNB()),
    "weighed after": (CountVectorizer(), TfidfTransformer(), MultinomialNB()),
    "forest": (TfidfVectorizer(), RandomForestClassifier(5, random_state=0)),
    "topics": (TfidfVectorizer(), TruncatedSVD(3, random_state=0), LogisticRegression()),
    "both": (make_union(TfidfVectorizer(), TfidfVectorizer(analyzer="char")), LinearSVC()),
}


@pytest.mark.parametrize("name", share(MODELS))
def test_texts_compile(name):
    _, result = compiled(make_pipeline(*MODELS[name]).fit(TEXTS, FIVE))

    assert isinstance(result, Compiled), result.reason
    assert "float64" in result.reason


def test_weights_alone():
    _, result = compiled(TfidfVectorizer().fit(TEXTS))

    assert isinstance(result, Compiled), result.reason


def test_texts_beside_other_columns():
    """One column is taken apart in two ways, and is a category too."""
    columns = make_column_transformer(
        (TfidfVectorizer(), "review"),
        (CountVectorizer(analyzer="char"), "review"),
        (OneHotEncoder(handle_unknown="ignore"), ["shop", "review"]),
        (StandardScaler(), ["size"]),
    )
    model = make_pipeline(columns, LogisticRegression(max_iter=1000)).fit(FRAME, FIVE)
    predictor, result = compiled(model)

    assert isinstance(result, Compiled), result.reason
    rows = [["Bad night!", 3.0, "1"], ["", -1.0, "x"], ["the the THE ΣΑΣ", 0.0, "2"]]
    arrays = arrays_of(predictor.signature.layout, predictor.signature.inputs, rows)
    want = model.predict_proba(pd.DataFrame(rows, columns=FRAME.columns))
    got = result.predictor.predict(arrays, ["probabilities"])[0].values
    np.testing.assert_allclose(got, want, rtol=1e-12)


def test_only_terms_that_are_there_are_multiplied():
    """No tensor of the graph is as wide as the vocabulary."""
    _, result = compiled(make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(TEXTS, FIVE))

    assert isinstance(result, Compiled)
    graph = onnx.load_from_string(result.graph)
    assert {"", "ai.onnx.ml"} == {node.domain for node in graph.graph.node}
    assert "Slice" not in {node.op_type for node in graph.graph.node}
    entries = [item.value for item in graph.metadata_props if item.key == TERMS_KEY]
    assert [0] == [entry["feature"] for entry in json.loads(entries[0])]


def test_a_graph_from_a_file_serves_texts(tmp_path):
    """As a frontend runs it, also a text that is far longer than the others."""
    model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(TEXTS, FIVE)
    _, result = compiled(model)
    assert isinstance(result, Compiled), result.reason
    (tmp_path / "model.onnx").write_bytes(result.graph)
    signature = result.predictor.signature
    served = OnnxPredictor.open(tmp_path / "model.onnx", signature)
    texts = ["good", "", "bad night " * 200_000, "İstanbul"]

    arrays = arrays_of(signature.layout, signature.inputs, [[text] for text in texts])
    (got,) = served.runner(["probabilities"])(arrays)
    np.testing.assert_allclose(got.values, model.predict_proba(texts), rtol=1e-12)


def cut(text):
    return text.split("-")


WORKERS = {
    "hashes": (HashingVectorizer(n_features=64), "HashingVectorizer"),
    "a function": (CountVectorizer(tokenizer=cut, token_pattern=None), "a function of its own"),
    "a pattern": (CountVectorizer(token_pattern=r"(?:a+|\w)+"), "by the pattern"),
    "an empty term": (CountVectorizer(vocabulary=["", "day"]), "a term without letters"),
}


@pytest.mark.parametrize("name", WORKERS)
def test_the_reason_is_told(name):
    vectorizer, reason = WORKERS[name]
    _, result = compiled(make_pipeline(vectorizer, LogisticRegression()).fit(TEXTS, FIVE))

    assert isinstance(result, Refused)
    assert reason in result.reason

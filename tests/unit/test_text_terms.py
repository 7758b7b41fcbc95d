"""Texts are taken apart as scikit-learn's vectorizers do it, whatever letters they are of."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import CountVectorizer

from pushserve_runtime.terms_feed import TermsFeed, TermsInput, from_metadata, to_metadata
from pushserve_runtime.text_terms import Terms
from pushserve_sandbox.onnx_compiler.proof.text_samples import ODD_WORDS, sentences

WORDS = Terms(True, "", "word", r"(?u)\b\w\w+\b", 1, 1)
SETTINGS = list(
    itertools.product(
        (True, False),
        ("unicode", "ascii", ""),
        (("word", r"(?u)\b\w\w+\b"), ("word", r"\S+"), ("char", ""), ("char_wb", "")),
        ((1, 1), (1, 3), (2, 4)),
    )
)


def pair(lowercase, accents, unit, sizes, stop_words=()):
    kind, pattern = unit
    vectorizer = CountVectorizer(
        lowercase=lowercase,
        strip_accents=accents or None,
        analyzer=kind,
        token_pattern=pattern or None,
        ngram_range=sizes,
        stop_words=list(stop_words) or None,
    )
    ours = Terms(lowercase, accents, kind, pattern, *sizes, stop_words)
    return vectorizer.build_analyzer(), ours.splitter()


@pytest.mark.parametrize("settings", SETTINGS)
def test_odd_texts(settings):
    theirs, ours = pair(*settings)
    for text in (" ".join(ODD_WORDS), *sentences(["night", "İstanbul"], 1)[::9]):
        assert theirs(text) == ours(text)


@given(st.text(max_size=40), st.sampled_from(SETTINGS))
@example("ΟΔΟΣ ΟΔΟΣ.", SETTINGS[0])
def test_any_text(text, settings):
    theirs, ours = pair(*settings, stop_words=("ab", "the"))

    assert theirs(text) == ours(text)


def test_settings_travel_as_metadata():
    items = [TermsInput(0, 3, WORDS), TermsInput(2, 9, replace(WORDS, stop_words=("a", "ß")))]

    assert items == from_metadata(to_metadata(items))
    assert [] == from_metadata("")


@pytest.mark.parametrize(
    "change",
    [
        {"pattern": r"(a+)+b"},
        {"unit": "line"},
        {"accents": "all"},
        {"shortest": 0},
        {"longest": 1_000_000},
    ],
)
def test_metadata_of_a_repository_is_checked(change):
    with pytest.raises(ValueError, match=r"texts|accents|terms"):
        replace(WORDS, **change)


def test_a_long_text_among_short_ones_does_not_widen_them_all():
    texts = ["ab cd"] * 40 + ["ab " * 600_000] + ["ab"] * 40
    feed = TermsFeed([TermsInput(0, 10, WORDS)], ["terms"])
    parts = list(feed.feeds({"text": np.array(texts, object)}, [texts]))

    assert 81 == sum(rows for _, rows in parts)
    assert [(40, 2), (1, 600_000), (40, 1)] == [part["terms"].shape for part, _ in parts]


def test_texts_without_terms_have_a_row():
    feed = TermsFeed([TermsInput(0, 10, WORDS)], ["terms"])
    (part, rows), *more = feed.feeds({"text": np.array(["", "."], object)}, [["", "."]])

    assert not more
    assert 2 == rows
    assert [[""], [""]] == part["terms"].tolist()

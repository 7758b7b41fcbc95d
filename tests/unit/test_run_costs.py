"""What runs between two calls, by what it costs: decided from given costs, not from clocks."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest

from pushserve_runtime.frames import Array
from pushserve_runtime.graph_bounds import RUN_BYTES, GraphBounds, Growth
from pushserve_runtime.onnx_predictor import OnnxPredictor, graph_inputs
from pushserve_runtime.onnx_session import open_session
from pushserve_runtime.signature import DType, Feature, Layout, OutputSpec, Signature
from pushserve_runtime.terms_feed import TERMS_KEY, TermsInput, to_metadata
from pushserve_runtime.text_terms import Terms
from pushserve_sandbox.admission.admit import admit
from pushserve_server.api.doors.predict_outputs import make_encoder
from pushserve_server.build.bundles import Bundles
from pushserve_server.domain.records import EngineName, Version
from pushserve_server.errors import BadInput
from pushserve_server.serve.codec.columns import GivenColumn
from pushserve_server.serve.engines.onnx_engine import OnnxEngine
from pushserve_server.serve.engines.run_costs import (
    DEMOTED_AT,
    INLINE_BUDGET,
    InlineRule,
    RunCosts,
    measure,
)
from pushserve_server.serve.models.loaded_version import LoadedVersion
from tests.fixtures.graphs import INT64, ML, STRING, graph, node, value
from tests.fixtures.registry import NOON, sha

LETTERS = Terms(lowercase=True, accents="", unit="char", pattern="", shortest=1, longest=16)


def text_size(letters, terms):
    return lambda _arrays: (letters, terms)


def test_rows_that_fit():
    assert 7 == RunCosts(fixed=0.25, row=0.125).rows_within(1.0)
    assert 0 == RunCosts(fixed=2.0, row=0.125).rows_within(1.0)
    assert 1_000_000 == RunCosts(fixed=0.25, row=1e-9).rows_within(1.0)


@pytest.mark.parametrize(
    ("rows", "terms", "quick"), [(1, 50, True), (1, 5_000, False), (90, 0, True), (92, 0, False)]
)
def test_terms_cost_as_rows_do(rows, terms, quick):
    rule = InlineRule(RunCosts(fixed=1e-4, row=1e-5, term=1e-6))

    assert quick is rule.allows(rows, list, text_size(0, terms))


def test_letters_cost_where_texts_are_not_taken_apart():
    rule = InlineRule(RunCosts(fixed=1e-4, row=1e-6, letter=1e-8))

    assert rule.allows(1, list, text_size(10_000, 0))
    assert not rule.allows(1, list, text_size(100_000, 0))


def test_what_takes_no_texts_is_not_looked_at():
    def never():
        raise AssertionError

    assert InlineRule(RunCosts(fixed=1e-4, row=1e-6)).allows(1, never, text_size(0, 0))


def test_a_version_of_unknown_cost_runs_on_threads():
    assert not InlineRule(None).allows(1, list, text_size(0, 0))


def test_a_version_that_takes_five_times_as_long_is_demoted_once():
    """The first time only the clock changes: the processor may have been busy elsewhere."""
    rule = InlineRule(RunCosts(fixed=1e-4, row=1e-6))
    waited = rule.clock

    assert [False] * 3 == [rule.note(s) for s in (INLINE_BUDGET, 4 * INLINE_BUDGET, DEMOTED_AT)]
    assert waited is not rule.clock
    assert rule.allows(1, list, text_size(0, 0))
    assert [False, True, False] == [rule.note(s) for s in (INLINE_BUDGET, DEMOTED_AT, DEMOTED_AT)]
    assert not rule.allows(1, list, text_size(0, 0))


def test_texts_are_measured_by_what_they_come_apart_into():
    signature = Signature(Layout.TABLE, (Feature("text", DType.STRING),), (), ())
    seen = []

    costs = measure(signature, lambda rows: seen.append(rows[0].values[0]), text_size(4000, 1000))

    assert costs.term > 0.0 == costs.letter
    assert any(len(text) > 1000 for text in seen)


# A model that counts the runs of 1 to 16 letters, in an engine.

COUNTING = Signature(
    Layout.TABLE,
    (Feature("review", DType.STRING),),
    (OutputSpec("count", DType.INT64),),
    ("count",),
)


def counting() -> onnx.ModelProto:
    """How many of the runs of letters of a text are "a"."""
    numbers = {"keys_strings": ["a"], "values_int64s": [1], "default_int64": 0}
    nodes = [
        node("LabelEncoder", "terms", "numbers", ML, **numbers),
        node("ReduceSum", "numbers axis", "count", keepdims=0),
    ]
    takes = [value("review", STRING, [None, 1]), value("terms", STRING, [None, None])]
    axis = onnx.numpy_helper.from_array(np.array([1]), "axis")
    made = graph(nodes, [axis], takes=takes, gives=[value("count", INT64, [None])])
    made.metadata_props.add(key=TERMS_KEY, value=to_metadata([TermsInput(0, 1, LETTERS)]))
    return made


@pytest.fixture
def engine(tmp_path):
    """The model, loaded; its costs are those that are given."""
    made = counting()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "model.onnx").write_bytes(made.SerializeToString())
    bundles = Bundles(tmp_path / "bundles")
    spec = {"artifact": "model.onnx", "bounds": admit(made).to_json()}
    version = Version(
        id=1,
        model="reviews",
        number=1,
        commit=sha("a"),
        engine=EngineName.ONNX,
        digest=bundles.add(tmp_path / "folder", spec),
        signature=COUNTING,
        report={},
        created_at=NOON,
    )
    with ThreadPoolExecutor(1) as pool:
        engine = OnnxEngine(version, bundles, pool)
        engine._load()
        engine._rule = InlineRule(RunCosts(fixed=1e-5, row=1e-6, term=1e-7))
        yield LoadedVersion(version, engine, max_rows=1000, max_wait=10)


def asked(live, *texts):
    column = GivenColumn("review", np.array(texts, object))
    return live.decoder.from_columns([column])


def test_a_long_text_of_short_terms_does_not_run_between_two_calls(engine):
    """60 KB are a million terms."""
    selection = engine.selection((), make_encoder)

    assert engine.engine.inline(asked(engine, "a bad day"), selection) is not None
    assert engine.engine.inline(asked(engine, "banana" * 10_000), selection) is None


def test_it_is_answered_on_a_thread(engine):
    data = asyncio.run(
        engine.predict(asked(engine, "banana" * 10_000), engine.selection((), make_encoder))
    )

    assert b"count" in data


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a" * 70_000, "1,119,880 terms, more than 1,048,576"),
        ("a" * 2_200_000, "2,200,000 letters, more than 2,097,152"),
    ],
)
def test_a_text_of_too_many_terms_is_refused_by_column(engine, text, said):
    with pytest.raises(BadInput, match="column 'review' has a text") as caught:
        asyncio.run(engine.predict(asked(engine, "a", text), engine.selection((), make_encoder)))

    assert said in caught.value.message
    assert "TEXT_TOO_LONG" == caught.value.code_reason
    assert ["review"] == [violation.field for violation in caught.value.violations]


def test_all_texts_of_a_call_are_bounded_together(engine):
    """Five texts of 900,000 terms."""
    texts = ["banana" * 9_400] * 5

    with pytest.raises(BadInput, match=r"more than 4,194,304 terms in one call"):
        asyncio.run(engine.predict(asked(engine, *texts), engine.selection((), make_encoder)))


def test_a_demoted_version_says_so_once(engine, caplog):
    calls = asked(engine, "a bad day")
    inline = engine.engine.inline(calls, engine.selection((), make_encoder))
    ticks = iter(range(100))
    engine.engine._rule.clock = lambda: float(next(ticks))  # each look is a second later

    for _ in range(3):
        inline.run(calls.arrays)

    assert engine.engine.inline(calls, engine.selection((), make_encoder)) is None
    assert 1 == caplog.text.count("its calls run on threads of their own")


def test_texts_are_run_in_parts_that_a_run_may_take():
    """A row of 1,000 terms takes a fortieth of that."""
    bounds = GraphBounds(Growth({"rt": RUN_BYTES / 40_000}), Growth({}))
    session = open_session(counting().SerializeToString())
    predictor = OnnxPredictor(session, COUNTING, graph_inputs(session), bounds)
    texts = np.array(["a" * 70] * 100, object)  # of 1,000 terms each: 16 x 70 less 120

    parts = [rows for _, rows in predictor.feeds([Array(DType.STRING, texts)])]

    assert [40, 40, 20] == parts

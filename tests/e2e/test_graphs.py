"""Graphs from repositories: what runs in server processes, what in a worker, what is refused."""

import pickle
from pathlib import Path

import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from pushserve_server.domain.records import EngineName
from pushserve_server.domain.states import DeploymentState as S
from tests.fixtures import graphs
from tests.fixtures.deploying import Yard
from tests.fixtures.harmful_graphs import AT_LOAD, AT_RUN, BY_ROWS, TOO_LARGE, many_nodes


def files(model) -> dict[str, bytes]:
    return {"model.onnx": model.SerializeToString()}


def live_version(yard: Yard, content):
    yard.live(content)
    return yard.registry.find_version("iris", number=yard.served())


def test_a_graph_is_proved_to_fit_a_server_process(yard: Yard):
    with yard.deployer() as deployer:
        version = live_version(yard, files(graphs.cnn()))

        bundle = deployer._context.builder.bundles.open(version.digest)
        assert EngineName.ONNX is version.engine
        assert {"", "r"} == set(bundle.spec["bounds"]["memory"])


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (AT_RUN["ConstantOfShape"], "an output of ConstantOfShape whose size depends on values"),
        (BY_ROWS["outer sum"], "an output of Add that grows faster than its rows"),
        pytest.param(
            TOO_LARGE["a wide row"],
            "152.6 MiB for a row, more than 4",
            marks=pytest.mark.long,  # its build takes seconds
        ),
        (AT_LOAD["6,000 nodes"], "6,000 nodes, more than 5,000"),
        (AT_LOAD["functions that double, a few times"], "operators of other domains: own"),
    ],
)
def test_what_is_not_admitted_runs_in_a_worker(yard: Yard, model, reason):
    with yard.deployer():
        version = live_version(yard, files(model()))

    assert EngineName.WORKER is version.engine
    first, _, _ = version.report["engine_reason"].partition(";")  # then how it is batched
    assert f"its graph needs {reason}" == first


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        pytest.param("functions that double", "SANDBOX_TIMEOUT", marks=pytest.mark.long),
        ("a chain of 30,000", "SANDBOX_CRASHED"),
        ("a tree with two parents", ""),
    ],
)
def test_what_harms_whoever_loads_it_ends_with_its_build(yard: Yard, name, reason):
    """What ONNX Runtime refuses, or bears, is for it to say; it does so in the sandbox."""
    with yard.deployer(build_timeout=8):
        done = yard.ended(yard.push(files(AT_LOAD[name]())))

    if reason:
        assert S.FAILED is done.state
        assert reason == done.failure.reason
    else:
        assert yard.served() is None or EngineName.WORKER is live_engine(yard)


def live_engine(yard: Yard) -> EngineName:
    return yard.registry.find_version("iris", number=yard.served()).engine


def test_the_manifest_cannot_ask_for_a_server_process(yard: Yard):
    content = files(AT_RUN["Tile"]()) | {"pushserve.toml": b'engine = "onnx"'}
    with yard.deployer():
        done = yard.ended(yard.push(content))

    assert "ENGINE_NOT_POSSIBLE" == done.failure.reason
    assert "its graph needs an output of Tile" in done.failure.message


class Forging:
    """Pickled with a model, it has the build give another graph for the one that it compiled."""

    def __init__(self, model, graph: bytes) -> None:
        self.code = (
            "[exec(code), model][1]",
            {"code": PATCH, "model": model, "graph": graph},
        )

    def __reduce__(self):
        return eval, self.code


PATCH = """
import sys
module = sys.modules["pushserve_sandbox.onnx_compiler.compile"]
real = module.compile_estimator
def forged(*arguments):
    result = real(*arguments)
    return type(result)(graph, result.predictor, result.reason)
module.compile_estimator = forged
"""


@pytest.mark.parametrize("name", ["ConstantOfShape", "Loop"])
def test_a_pickle_that_forges_its_graph_is_served_by_a_worker(yard: Yard, name):
    data = load_iris()
    model = LogisticRegression(max_iter=1000).fit(data.data, data.target)
    content = pickle.dumps(Forging(model, AT_RUN[name]().SerializeToString()))
    with yard.deployer() as deployer:
        version = live_version(yard, {"model.pkl": content})
        bundle = deployer._context.builder.bundles.open(version.digest)

    assert EngineName.WORKER is version.engine
    assert "its graph needs" in version.report["engine_reason"]
    assert bundle.graph is None


def test_a_bundle_whose_graph_was_not_checked_is_built_again(yard: Yard):
    """As one is that an older server left."""
    with yard.deployer() as deployer:
        version = live_version(yard, files(many_nodes(3)))
        bundles = deployer._context.builder.bundles
        head = Path(bundles.open(version.digest).path, "bundle.json")
        head.write_text(head.read_text().replace('"format":2', '"format":1'))

        assert not bundles.has(version.digest)

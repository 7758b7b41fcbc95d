"""A name that does not exist is answered with the one that was probably meant."""

import pytest
from typer.testing import CliRunner

from pushserve_client.cli.app import app
from pushserve_runtime.closest_name import closest_name, did_you_mean
from pushserve_runtime.signature import DType, Feature, Layout, OutputSpec, Signature
from pushserve_server.build.manifest import parse_manifest
from pushserve_server.domain.records import ModelRoutes, Route
from pushserve_server.errors import BadInput, DeploymentFailed, NotFound
from pushserve_server.serve.codec.decoding import Decoder
from pushserve_server.serve.codec.output_selection import plan_outputs
from pushserve_server.serve.models.model_table import _no_model, _no_ref
from pushserve_server.serve.models.routing import build_entry

NAMES = ["iris", "wine", "churn-2024", "Age (years)", "town"]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("irs", "iris"),
        ("IRIS", "iris"),
        ("wines", "wine"),
        ("churn-2023", "churn-2024"),
        ("age (years)", "Age (years)"),
        ("twon", "town"),
        ("titanic", ""),
        ("", ""),
        ("i", ""),
    ],
)
def test_the_closest_name_is_found(given, meant):
    assert meant == closest_name(given, NAMES)


def test_the_text_goes_before_the_question():
    assert "no such key. Did you mean 'iris'?" == did_you_mean("no such key", "irs", NAMES)
    assert "no such key" == did_you_mean("no such key", "titanic", NAMES)


def test_thousands_of_names_are_not_all_compared():
    names = [f"model-{i}" for i in range(10_000)]
    assert closest_name("modell-7", names)


SIGNATURE = Signature(
    Layout.TABLE,
    (Feature("age"), Feature("income")),
    (OutputSpec("label", DType.INT64), OutputSpec("probabilities", DType.FLOAT64, 2)),
    ("label",),
)


def test_columns():
    with pytest.raises(BadInput) as caught:
        Decoder(SIGNATURE, 10).from_records([{"age": 1, "incme": 2}])
    said = [v.description for v in caught.value.violations]
    assert "unknown column in row 0; expected 'age', 'income'. Did you mean 'income'?" == said[0]


def test_outputs():
    with pytest.raises(BadInput, match=r"Did you mean 'probabilities'\?"):
        plan_outputs(SIGNATURE, ["probability"])


def test_models_and_refs_that_are_served():
    entry = build_entry(
        ModelRoutes("iris", "refs/heads/main", (Route("refs/heads/main", 1),)), {}, (), None
    )
    assert _no_model("irsi", {"iris": entry}).message.endswith(". Did you mean 'iris'?")
    assert "refs here: main. Did you mean 'main'?" in _no_ref(entry, "mian").message
    assert "main" in _no_ref(entry, "refs/heads/mian").message


def test_models_and_refs_of_the_registry(steps):
    steps.live()
    registry = steps.registry
    with pytest.raises(NotFound, match=r"Did you mean 'iris'\?"):
        registry.get_model("irsi")
    with pytest.raises(NotFound, match=r"it has main. Did you mean 'main'\?"):
        registry.resolve_ref("iris", "mian")


def test_keys_of_a_manifest():
    with pytest.raises(DeploymentFailed, match=r"worker: no such key; .* Did you mean 'workers'\?"):
        parse_manifest(b"worker = 2")


def test_commands():
    result = CliRunner().invoke(app, ["lst"])
    assert "Did you mean 'list'?" in result.output

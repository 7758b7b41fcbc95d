"""`pushserve.toml`: what it may say, and how each mistake is named."""

import pytest

from pushserve_runtime.signature import DType
from pushserve_server.build.manifest import Manifest, Tolerance, parse_manifest
from pushserve_server.errors import DeploymentFailed

FULL = b"""
name = "iris"
artifact = "models/iris.skops"
examples = "checks.json"
engine = "worker"
workers = 2

[tolerance]
abs = 0.5
rel = 0

[signature]
inputs = [{name = "length", dtype = "float64", nullable = true}, {name = "width"}]
outputs = [{name = "label"}]

[drift]
baseline = "train.csv"
"""


def test_an_empty_manifest_gives_the_defaults():
    assert Manifest() == parse_manifest(b"")


def test_every_key_is_read():
    manifest = parse_manifest(FULL)
    assert ("iris", "models/iris.skops", "checks.json") == (
        manifest.name,
        manifest.artifact,
        manifest.examples,
    )
    assert ("worker", 2, Tolerance(abs=0.5, rel=0)) == (
        manifest.engine,
        manifest.workers,
        manifest.tolerance,
    )
    assert "train.csv" == manifest.drift.baseline
    inputs = manifest.signature.inputs
    assert inputs is not None
    assert [("length", DType.FLOAT64, True), ("width", None, None)] == [
        (field.name, field.dtype, field.nullable) for field in inputs
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"artefact = 'model.pkl'", "artefact: no such key; there are artifact, drift"),
        (b"[tolerance]\nabsolute = 1", "tolerance.absolute: no such key; there are abs, rel"),
        (b"signature.inputs = [{name='x', type='int64'}]", "no such key; there are dtype, name"),
        (b"signature.inputs = [{name='x', dtype='double'}]", "signature.inputs.0.dtype: "),
        (b"name = 'Iris Model'", "lower case letters"),
        (b"workers = 0", "workers: Input should be greater than or equal to 1"),
        (b"workers = '2'", "workers: Input should be a valid integer"),
        (b"workers = true", "workers: Input should be a valid integer"),
        (b"engine = 'gpu'", "'auto', 'onnx' or 'worker'"),
        (b"artifact = '../model.pkl'", "named from the model's folder"),
        (b"artifact = '/etc/passwd'", "named from the model's folder"),
        (b"tolerance.abs = -1", "tolerance.abs"),
        (b"tolerance.abs = nan", "tolerance.abs"),
        (b"name = ", "not TOML"),
        (b"\xff\xfe", "not UTF-8"),
        (b"[[models]]\nname = 'a'", "several models in one manifest"),
        (b"#" * 70_000, "more than 65536 bytes"),
    ],
)
def test_a_mistake_is_named_with_the_right_form(content, said):
    with pytest.raises(DeploymentFailed) as caught:
        parse_manifest(content)
    assert "MANIFEST_INVALID" == caught.value.reason
    assert said in caught.value.message
    assert caught.value.fix


def test_all_mistakes_are_told_at_once():
    with pytest.raises(DeploymentFailed) as caught:
        parse_manifest(b"workers = 0\nengine = 'gpu'\nnames = 'x'")
    for key in ("workers", "engine", "names"):
        assert f"\n{key}: " in f"\n{caught.value.message.removeprefix('pushserve.toml is wrong: ')}"

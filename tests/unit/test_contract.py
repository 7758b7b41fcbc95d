"""Which files of a folder make the model, and why a folder is refused."""

import enum

import pytest

from pushserve_runtime.job_spec import Format
from pushserve_server.build import contract
from pushserve_server.build.contract import find_model_files
from pushserve_server.build.manifest import Manifest, parse_manifest
from pushserve_server.domain.records import Trust
from pushserve_server.errors import DeploymentFailed

URL = "https://git.example/acme/iris"


@pytest.mark.parametrize(
    ("files", "manifest", "form", "artifact"),
    [
        (["model.skops"], "", "skops", "model.skops"),
        (["model.onnx", "README.md"], "", "onnx", "model.onnx"),
        (["model.joblib"], "", "joblib", "model.joblib"),
        (["model.pkl"], "", "pickle", "model.pkl"),
        (["iris.joblib"], "", "joblib", "iris.joblib"),
        (["iris.pickle"], "", "pickle", "iris.pickle"),
        # A standard name decides over others.
        (["model.pkl", "scaler.pkl"], "", "pickle", "model.pkl"),
        # Only the root counts where nothing is named.
        (["model.pkl", "old/model.pkl"], "", "pickle", "model.pkl"),
        (["predict.py"], "", "predict.py", None),
        (["model.pkl", "predict.py"], "", "predict.py", "model.pkl"),
        (["a.pkl", "b.pkl", "predict.py"], "", "predict.py", None),
        (["a.pkl", "predict.py"], 'artifact="predict.py"', "predict.py", None),
        (["MLmodel", "model.pkl"], 'artifact="model.pkl"', "pickle", "model.pkl"),
        (["MLmodel", "model.pkl", "predict.py"], "", "predict.py", "model.pkl"),
        (["model.pkl", "model.skops"], 'artifact="model.skops"', "skops", "model.skops"),
        (["a/b.onnx"], 'artifact="a/b.onnx"', "onnx", "a/b.onnx"),
        # As people name pickles, in capitals and compressed, where there is nothing else.
        (["MODEL.PKL"], "", "pickle", "MODEL.PKL"),
        (["iris.Skops", "README.md"], "", "skops", "iris.Skops"),
        (["churn.sav"], "", "pickle", "churn.sav"),
        (["model.pkl.gz"], "", "pickle", "model.pkl.gz"),
        (["model.joblib.xz"], "", "joblib", "model.joblib.xz"),
        (["iris.joblib", "train.pkl.gz", "survey.sav"], "", "joblib", "iris.joblib"),
        # A script for the command line, beside the model that the manifest names.
        (["model.pkl", "predict.py"], 'artifact="model.pkl"', "pickle", "model.pkl"),
        (["m/a.skops", "predict.py"], 'artifact="m/a.skops"', "skops", "m/a.skops"),
    ],
)
def test_the_artifact_is_found(files, manifest, form, artifact):
    found = find_model_files(files, parse_manifest(manifest.encode()), Trust.CODE, URL)
    assert (form, artifact) == (found.format, found.artifact)


@pytest.mark.parametrize(
    ("files", "manifest", "reason", "said"),
    [
        ([], "", "ARTIFACT_MISSING", "no files"),
        (["README.md", "train.py"], "", "ARTIFACT_MISSING", "README.md, train.py"),
        (["x/model.pkl"], "", "ARTIFACT_MISSING", "x/model.pkl"),
        (["model.pkl"], 'artifact="best.pkl"', "ARTIFACT_MISSING", "best.pkl"),
        (["model.pkl", "model.skops"], "", "ARTIFACT_AMBIGUOUS", "model.skops, model.pkl"),
        (["a.pkl", "b.onnx"], "", "ARTIFACT_AMBIGUOUS", "a.pkl, b.onnx"),
        (["model.h5"], 'artifact="model.h5"', "FORMAT_UNKNOWN", ".skops, .onnx"),
        (["MLmodel", "model.pkl"], "", "MLFLOW_NOT_YET", "MLmodel"),
        (["model.pkl"], 'examples="e.json"', "EXAMPLES_MISSING", "e.json"),
        (["predict.py"], 'engine="onnx"', "ENGINE_NOT_POSSIBLE", "Python code"),
    ],
)
def test_a_folder_is_refused_with_what_is_there(files, manifest, reason, said):
    with pytest.raises(DeploymentFailed) as caught:
        find_model_files(files, parse_manifest(manifest.encode()), Trust.CODE, URL)
    assert reason == caught.value.reason
    assert said in caught.value.message
    assert caught.value.fix


@pytest.mark.parametrize("files", [["model.pkl"], ["a.joblib"], ["model.skops", "predict.py"]])
def test_code_from_a_source_trusted_with_data_shows_both_ways_out(files):
    with pytest.raises(DeploymentFailed) as caught:
        find_model_files(files, Manifest(), Trust.DATA, URL)
    assert "FORMAT_NOT_TRUSTED" == caught.value.reason
    assert "model.skops" in caught.value.fix
    assert f'[[sources]]\nurl = "{URL}"\ntrust = "code"' in caught.value.fix


@pytest.mark.parametrize("name", ["model.skops", "model.onnx"])
def test_data_formats_need_no_trust(name):
    assert name == find_model_files([name], Manifest(), Trust.DATA, URL).artifact


def test_a_format_that_nobody_has_judged_needs_trust_with_code(monkeypatch):
    """Whoever adds an ending or a format and forgets the rest lets nothing in."""
    later = enum.StrEnum("Format", {**{f.name: f.value for f in Format}, "CBOR": "cbor"})
    monkeypatch.setitem(contract.ENDINGS, ".cbor", later.CBOR)
    with pytest.raises(DeploymentFailed) as caught:
        find_model_files(["model.cbor"], Manifest(), Trust.DATA, URL)
    assert "FORMAT_NOT_TRUSTED" == caught.value.reason
    assert "cbor" == find_model_files(["model.cbor"], Manifest(), Trust.CODE, URL).format


@pytest.mark.parametrize("name", ["MODEL.PKL", "model.pkl.gz", "churn.sav"])
def test_a_pickle_by_another_name_needs_trust_with_code(name):
    with pytest.raises(DeploymentFailed) as caught:
        find_model_files([name], Manifest(), Trust.DATA, URL)
    assert "FORMAT_NOT_TRUSTED" == caught.value.reason


def test_an_mlflow_folder_says_which_file_to_name():
    files = ["MLmodel", "requirements.txt", "python_env.yaml", "best_model.pkl"]
    with pytest.raises(DeploymentFailed) as caught:
        find_model_files(files, Manifest(), Trust.CODE, URL)
    assert 'artifact = "best_model.pkl"' in caught.value.fix
    assert "requirements.txt" in caught.value.fix


@pytest.mark.parametrize("trust", Trust)
@pytest.mark.parametrize("name", ["model.h5", "model", "m.skops.pkl2", "m.dill", "m.skops.gz"])
def test_an_ending_that_nobody_knows_is_refused(name, trust):
    with pytest.raises(DeploymentFailed) as caught:
        find_model_files([name], parse_manifest(f'artifact="{name}"'.encode()), trust, URL)
    assert "FORMAT_UNKNOWN" == caught.value.reason


@pytest.mark.parametrize(
    ("files", "manifest", "examples"),
    [
        (["model.pkl"], "", None),
        (["model.pkl", "test_data.json"], "", "test_data.json"),
        (["model.pkl", "test_data.json", "examples.json"], "", "examples.json"),
        (["model.pkl", "examples.json", "e.json"], 'examples="e.json"', "e.json"),
    ],
)
def test_examples_are_found(files, manifest, examples):
    assert (
        examples
        == find_model_files(files, parse_manifest(manifest.encode()), Trust.CODE, URL).examples
    )


def test_what_the_manifest_says_goes_along():
    manifest = parse_manifest(
        b'name="n"\nworkers=3\nengine="worker"\nsignature.inputs=[{name="x", dtype="int64"}]'
    )
    found = find_model_files(["model.onnx", "requirements.txt"], manifest, Trust.DATA, URL)
    assert ("n", 3, "worker", "requirements.txt") == (
        found.name,
        found.workers,
        found.engine,
        found.requirements,
    )
    assert {"inputs": [{"name": "x", "dtype": "int64"}]} == found.declared
    assert find_model_files(["model.onnx"], Manifest(), Trust.DATA, URL).declared is None


@pytest.mark.parametrize(
    ("files", "manifest", "beside"),
    [
        (["model.pkl", "scaler.pkl", "README.md"], "", ("scaler.pkl",)),
        (["model.skops", "b.joblib", "a.onnx"], "", ("a.onnx", "b.joblib")),
        (["model.pkl", "Scaler.PKL"], "", ("Scaler.PKL",)),
        (["MODEL.PKL", "scaler.pkl"], "", ("scaler.pkl",)),
        (["model.joblib", "MODEL.PKL"], 'artifact = "model.joblib"', ()),
        (["iris.Joblib", "scaler.sav"], "", ("scaler.sav",)),
        (["model.joblib", "encoder.pkl.GZ", "x.csv.gz"], "", ("encoder.pkl.GZ",)),
        (["model.pkl", "old/scaler.pkl"], "", ()),
        (["model.pkl", "scaler.pkl", "predict.py"], "", ()),
        (["model.pkl", "scaler.pkl"], 'artifact = "model.pkl"', ()),
    ],
)
def test_model_files_that_nothing_uses_are_named(files, manifest, beside):
    """A scaler that was saved by itself is missing in front of its model."""
    found = find_model_files(files, parse_manifest(manifest.encode()), Trust.CODE, URL)

    assert beside == found.beside

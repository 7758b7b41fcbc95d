"""What a repository's code raised reaches its author: class, text, and the line in his own file."""

import json
from pathlib import Path

import pytest

from pushserve_runtime.frames import HEADER, Kind
from pushserve_sandbox.loading.raised_errors import told
from pushserve_sandbox.worker.error_frames import error_frame
from pushserve_server.errors import BadInput, ModelFailed
from pushserve_server.serve.engines.worker_connection import _error_from
from pushserve_server.settings import Settings
from tests.unit.test_sandbox_jailed import build_in_jail

SCRIPT = """
import json

def deeper(row):
    return row["age"] + 1

def predict(row):
    return json.loads(json.dumps({"a": deeper(row)}))
"""


def raised_by(path: Path, text: str, call: str) -> Exception:
    path.write_text(text)
    names: dict = {}
    exec(compile(text, str(path), "exec"), names)
    try:
        eval(call, names)
    except Exception as error:  # noqa: BLE001
        return error
    raise AssertionError("nothing was raised")


def test_the_last_line_of_the_authors_own_files(tmp_path):
    error = raised_by(tmp_path / "predict.py", SCRIPT, "predict({})")
    assert "KeyError: 'age' (predict.py, line 5, in deeper)" == told(error, tmp_path)


def test_a_library_that_raised_is_not_the_authors_place(tmp_path):
    script = "import json\n\ndef predict(row):\n    return json.loads('{')\n"
    error = raised_by(tmp_path / "predict.py", script, "predict({})")
    assert told(error, tmp_path).endswith(" (predict.py, line 4, in predict)")


def test_no_path_of_the_server_is_told(tmp_path):
    text = f"no {tmp_path}/data.csv beside {json.__file__} and {pytest.__file__}"
    said = told(ValueError(text), tmp_path)
    assert "ValueError: no data.csv beside json/__init__.py and pytest/__init__.py" == said


def test_an_error_whose_text_raises(tmp_path):
    class Silent(Exception):
        def __str__(self):
            raise RuntimeError

    assert "Silent" == told(Silent(), tmp_path)


def body_of(error: BaseException, raised: str) -> memoryview:
    return memoryview(error_frame(7, error, raised))[HEADER.size :]


@pytest.mark.parametrize(
    ("error", "kind", "start"),
    [
        (KeyError("age"), BadInput, "the model refuses these values"),
        (ZeroDivisionError(), ModelFailed, "the model failed on these rows"),
        (PermissionError("x"), ModelFailed, "the sandbox kept the model's code from a file"),
        (RuntimeError("can't start new thread"), ModelFailed, "the sandbox kept the model's code"),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_callers_are_told_where_the_operator_allows_it(error, kind, start):
    body = body_of(error, "KeyError: 'age' (predict.py, line 5, in deeper)")
    shown, hidden = (_error_from(body, shows_errors=shows) for shows in (True, False))
    assert kind is type(shown) is type(hidden)
    assert str(shown).startswith(start)
    assert str(shown).endswith(": KeyError: 'age' (predict.py, line 5, in deeper)")
    assert "age" not in str(hidden)
    assert str(hidden).startswith(start)


def test_a_sandbox_refusal_behind_another_error_says_so():
    error = ValueError("no settings")
    error.__cause__ = PermissionError(13, "denied", "/etc/passwd")
    body = body_of(error, "")
    assert str(_error_from(body, shows_errors=False)).startswith("the sandbox kept")


@pytest.mark.parametrize(
    ("listen", "setting", "told"),
    [
        ("127.0.0.1:0", "auto", True),
        ("[::1]:0", "auto", True),
        ("0.0.0.0:0", "auto", False),
        ("0.0.0.0:0", "always", True),
        ("127.0.0.1:0", "never", False),
    ],
)
def test_who_is_told(listen, setting, told):
    assert told is Settings(listen=listen, show_model_errors=setting).tells_model_errors


def pickled(module: str, name: str, protocol: int) -> bytes:
    """A pickle of a class by name, as Python writes it in that protocol."""
    if protocol == 0:
        return f"c{module}\n{name}\n.".encode()
    texts = (b"\x8c" + bytes([len(text)]) + text.encode() for text in (module, name))
    return b"\x80\x04" + b"".join(texts) + b"\x93."


@pytest.mark.parametrize("module", ["__main__", "pushserve_sandbox.zygote.main"])
@pytest.mark.parametrize("protocol", [0, 4])
def test_a_class_of_the_notebook(zygote, folder, module, protocol):
    folder.write("model.pkl", pickled(module, "Add", protocol))
    result = build_in_jail(zygote, folder, format="pickle", artifact="model.pkl")
    assert "ARTIFACT_UNREADABLE" == result["reason"]
    assert "it holds Add, which the notebook or script that saved it defined" in result["message"]
    assert "pushserve_sandbox" not in result["message"] + result["fix"]
    assert result["fix"].startswith("Move Add into a file of its own")


@pytest.mark.parametrize("protocol", [0, 4])
def test_a_class_that_its_module_has_lost(zygote, folder, protocol):
    folder.write("features.py", "class Other: pass\n")
    folder.write("model.pkl", pickled("features", "Add", protocol))
    result = build_in_jail(zygote, folder, format="pickle", artifact="model.pkl")
    assert "it needs Add of the module features" in result["message"]
    assert result["fix"].startswith("Commit features as it was")


def test_a_class_that_a_library_has_lost(zygote, folder):
    folder.write("model.pkl", pickled("numpy", "Gone", 4))
    result = build_in_jail(zygote, folder, format="pickle", artifact="model.pkl")
    assert "it needs Gone of the module numpy" in result["message"]
    assert "Save the model again with the release of numpy that the server has." == result["fix"]


def test_a_failed_example_names_the_line(zygote, folder):
    folder.write("predict.py", SCRIPT)
    folder.write("examples.json", json.dumps([{"input": {"size": 1}}]))
    result = build_in_jail(
        zygote, folder, format="predict.py", artifact=None, examples="examples.json"
    )
    assert "EXAMPLES_FAILED" == result["reason"]
    assert "KeyError: 'age' (predict.py, line 5, in deeper)" in result["message"]


def test_error_frames_are_bounded():
    frame = error_frame(1, KeyError("x"), "y" * 600)
    assert Kind.ERROR == frame[8]
    assert len(frame) < 2048

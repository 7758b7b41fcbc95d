"""What is over a limit is refused before it is read, in words that name the limit."""

from __future__ import annotations

import json
import socket
import struct
import threading
import tracemalloc
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from pushserve_runtime.build_error import BuildFailed
from pushserve_sandbox.loading.example_files import LIMIT, read_examples
from pushserve_server.build import manifest, requirements
from pushserve_server.build.build_job import Limits, _Conversation
from pushserve_server.build.contract import find_model_files
from pushserve_server.deploy.builder import Builder, Files, SourceLocation
from pushserve_server.deploy.register_target import clean_target
from pushserve_server.domain.records import Trust
from pushserve_server.errors import BadInput, DeploymentFailed
from pushserve_server.registry.request_texts import LONGEST
from pushserve_server.sandbox_client import Job, SandboxClient
from pushserve_server.settings import Settings, SourceRule

MIB = 1024**2
URL = "https://h/iris"


def peak(read: Callable[[], Any]) -> int:
    """Give how many bytes of Python's memory reading takes at most."""
    tracemalloc.start()
    try:
        read()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def refused(reason: str, read: Callable[[], Any], most: int = 8 * MIB) -> str:
    """Read what is refused for that reason, in little memory; give what is said."""
    said = []

    def read_it() -> None:
        with pytest.raises((DeploymentFailed, BuildFailed)) as caught:
            read()
        assert reason == caught.value.reason
        assert caught.value.fix
        said.append(caught.value.message)

    assert peak(read_it) < most
    assert len(said[0]) <= 8000
    return said[0]


@pytest.mark.parametrize(
    "text",
    [
        "x" * (manifest.MAX_BYTES + 1),
        "a" + ".a" * 8_000 + " = 1",
        "[" + ".".join(["a"] * 8_000) + "]",
        "x = " + "9" * 5_000,
        "x = 0x" + "f" * 5_000,
        "x = " + "[" * 5_000 + "]" * 5_000,
        "x = " + "{a = " * 5_000 + "1" + "}" * 5_000,
        'name = "' + "x" * 60_000 + '"',
        "\n".join(f"k{n} = 1" for n in range(5_000)),
        "[[models]]\n" * 5_000,
    ],
    ids=["size", "dots", "table", "digits", "hex", "arrays", "tables", "name", "keys", "models"],
)
def test_a_manifest(text):
    refused("MANIFEST_INVALID", lambda: manifest.parse_manifest(text.encode()), 32 * MIB)


@pytest.mark.parametrize(
    "text",
    [
        "numpy\n" * 300_000,
        "numpy[" + ",".join(f"x{n}" for n in range(100_000)) + "]",
        "numpy; " + "(" * 2_000 + "python_version > '3'" + ")" * 2_000,
        "numpy==" + "9" * 4_000,
        "numpy" + ",".join([">=1.0"] * 200_000),
        "numpy \\\n" * 5_000,
        "# " + "x" * 2 * MIB,
    ],
    ids=["lines", "extras", "parentheses", "digits", "specifiers", "joined", "comment"],
)
def test_requirements(text):
    refused(
        "REQUIREMENTS_NOT_SATISFIED",
        lambda: requirements.check_requirements(text.encode()),
        32 * MIB,
    )


@pytest.mark.parametrize("name", ["requirements.txt", "pushserve.toml"])
def test_a_file_of_210_mb_is_not_read(tmp_path, name):
    """It took 2.9 GB in the deployer, which kept them."""
    (tmp_path / "model.pkl").touch()
    with (tmp_path / name).open("wb") as file:
        file.write(b"numpy\n" if name == "requirements.txt" else b'name = "a"\n')
        file.truncate(210 * MIB)
    settings = Settings(sources=(SourceRule("https://h/*", Trust.CODE),))
    builder = Builder(settings, SandboxClient(tmp_path / "no.sock"))
    files = Files(tmp_path, ("model.pkl", name), 210 * MIB, "")
    location = SourceLocation(URL, "", "a" * 40)
    reason = {"requirements.txt": "REQUIREMENTS_NOT_SATISFIED"}.get(name, "MANIFEST_INVALID")
    assert "not read" in refused(reason, lambda: builder.check(location, files))


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 5_000 + b"]" * 5_000,
        b'[{"input": ' + b'{"a": ' * 100 + b"1" + b"}" * 100 + b"}]",
        b'[{"input": [' + b"9" * 5_000 + b"]}]",
        json.dumps([{"input": [1]}] * 10_001).encode(),
        b'[{"input": ["\\ud800"]}]',
    ],
    ids=["brackets", "objects", "digits", "count", "surrogate"],
)
def test_examples(tmp_path, content):
    path = tmp_path / "examples.json"
    path.write_bytes(content)
    refused("EXAMPLES_INVALID", lambda: read_examples(path), 32 * MIB)


def test_a_large_file_of_examples_is_not_read(tmp_path):
    path = tmp_path / "examples.json"
    with path.open("wb") as file:
        file.truncate(LIMIT.size + 1)
    assert "MiB" in refused("EXAMPLES_INVALID", lambda: read_examples(path), MIB)


def test_thousands_of_models_in_a_folder_are_not_all_named():
    names = [f"{'x' * 200}{n}.pkl" for n in range(10_000)]
    refused(
        "ARTIFACT_AMBIGUOUS",
        lambda: find_model_files(names, manifest.Manifest(), Trust.CODE, URL),
        32 * MIB,
    )


def bad(read: Callable[[], Any]) -> None:
    """Make a call whose refusal is short, whatever was sent."""
    with pytest.raises(BadInput) as caught:
        read()
    assert len(caught.value.message) < 500
    assert all(len(v.description) < 500 for v in caught.value.violations)


@pytest.mark.parametrize("field", ["source", "ref", "commit", "path", "model"])
def test_a_long_field_of_register_is_not_sent_back(field):
    """10 MB of a name came back as RESOURCE_EXHAUSTED, or as INTERNAL."""
    good = {"source": URL, "ref": "", "commit": "", "path": "", "model": ""}
    for size in (LONGEST[field] + 1, 10 * MIB):
        bad(lambda size=size: clean_target(**(good | {field: "a" * size})))


LONG = "a" * 10 * MIB
CALLS: dict[str, Callable[[Any], object]] = {
    "get": lambda registry: registry.get_model(LONG),
    "versions": lambda registry: registry.versions(LONG),
    "version": lambda registry: registry.find_version(LONG, number=1),
    "deployment": lambda registry: registry.get_deployment(LONG),
    "list by prefix": lambda registry: registry.list_models(prefix=LONG, limit=1),
    "list by source": lambda registry: registry.list_models(source=LONG, limit=1),
    "list after": lambda registry: registry.list_models(after=LONG, limit=1),
    "deployments of a model": lambda registry: registry.list_deployments(model=LONG, limit=1),
    "deployments of a ref": lambda registry: registry.list_deployments(ref=LONG, limit=1),
    "pin": lambda registry: registry.pin(LONG, "main", number=1, commit=None),
    "pin a ref": lambda registry: registry.pin("iris", LONG, number=1, commit=None),
    "pin a commit": lambda registry: registry.pin("iris", "main", number=None, commit=LONG),
    "unpin": lambda registry: registry.unpin("iris", LONG),
    "delete": lambda registry: registry.delete(LONG, ""),
    "delete a ref": lambda registry: registry.delete("iris", LONG),
    "resolve": lambda registry: registry.resolve_ref("iris", LONG),
    "commit": lambda registry: registry.find_version("iris", commit=LONG),
    "control characters": lambda registry: registry.get_model("a\x00b"),
}


def test_a_long_field_of_any_call_is_not_looked_up(steps):
    """`List` with a prefix of 10 MB said that the database cannot be used."""
    steps.live()
    for call in CALLS.values():
        bad(lambda call=call: call(steps.registry))


def frame(body: bytes) -> bytes:
    return struct.pack("<I", len(body)) + body


def said(**message: object) -> bytes:
    return frame(json.dumps(message).encode())


STAGE = said(stage="load", message="loading")
BLOB = said(blob="graph", size=4) + b"onnx"
FLOODS: dict[str, Callable[[], tuple[bytes, int]]] = {
    "messages": lambda: (STAGE * 1_000, 1),
    "texts": lambda: (said(stage="x", message="y" * 4 * MIB), 300),
    "failures": lambda: (said(failed="x" * MIB), 300),
    "graphs": lambda: (BLOB * 3, 1),
    "a graph of 2 GB": lambda: (said(blob="graph", size=2**31), 1),
    "a graph of no size": lambda: (said(blob="graph", size=-1), 1),
    "64 MB of lists": lambda: (struct.pack("<I", 64 * MIB) + b"[[]" + b",[]" * 1_000, 1),
    "lists in a message": lambda: (frame(b'{"ok": [[]' + b",[]" * (2 * MIB) + b"]}"), 1),
    "nested": lambda: (frame(b'{"ok": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"), 1),
    "an announced 4 GB": lambda: (b"\xff\xff\xff\xff" + b"x" * 1_000, 1),
    "nothing": lambda: (b"\x00\x00\x00\x00", 1),
    "no object": lambda: (frame(b"[1]"), 1),
    "not UTF-8": lambda: (frame(b'{"ok": "\xff"}'), 1),
    "digits": lambda: (frame(b'{"ok": ' + b"9" * 100_000 + b"}"), 1),
    "a reason of 5 MB": lambda: (said(ok=False, reason="X" * 5 * MIB, message="m", fix="f"), 1),
}
"""What is sent, and how many times; some are hundreds of megabytes together."""


HEAVY = {"texts", "failures"}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.long] * (name in HEAVY)) for name in FLOODS],
)
def test_what_a_build_child_floods_its_server_with(tmp_path, name):
    """64 MB of empty lists took 1.7 GB in the deployer, and graphs again and again 1.6 GB."""
    here, there = socket.socketpair()
    control, _ = pair = socket.socketpair()
    job = Job(0, control, here, SimpleNamespace(log=lambda: None))
    limits = Limits(timeout=60, memory=0, graph=MIB)
    conversation = _Conversation(job, limits, lambda _: None, tmp_path / "graph")

    def flood() -> None:
        with there:
            try:
                what, times = FLOODS[name]()
                for _ in range(times):
                    there.sendall(what)
                there.shutdown(socket.SHUT_WR)
                while there.recv(MIB):
                    pass
            except OSError:
                return  # nobody listens any more

    thread = threading.Thread(target=flood)
    thread.start()

    def listen() -> None:
        heard = conversation.listen(threading.Event())
        # What has the form of an answer is looked at by its reader.
        assert "ok" in heard.answer
        raise DeploymentFailed("BUILD_ANSWER_INVALID", "it is an answer", "none")

    try:
        refused("BUILD_ANSWER_INVALID", listen, 100 * MIB)
    finally:
        here.close()
        for end in pair:
            end.close()
        thread.join(20)

"""Texts that strangers write: each gives a value or the documented error, never anything else.

They are what a repository holds (manifest, requirements, examples, names), what a remote answers
and what a caller names. Half of them are any text, half are put together of what their readers
know. TEXTS=5000 tries so many of each; the suite tries a few.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pushserve_runtime.build_error import BuildFailed
from pushserve_sandbox.loading.example_files import Example, read_examples
from pushserve_server.build.manifest import Manifest, parse_manifest
from pushserve_server.build.requirements import check_requirements
from pushserve_server.deploy.naming import choose_name, slug
from pushserve_server.deploy.register_target import Target, clean_target
from pushserve_server.domain.records import Trust
from pushserve_server.errors import BadInput, DeploymentFailed, SourceRefused, Unavailable
from pushserve_server.settings import SourceRule
from pushserve_server.source.command import GitFailed, TooMuchOutput
from pushserve_server.source.failures import explained
from pushserve_server.source.names import check_name, folder_prefix
from pushserve_server.source.remote import RefReader, RemoteRefs
from pushserve_server.source.rules import find_rule
from pushserve_server.source.spellings import same_repository
from pushserve_server.source.urls import normalize_url, parse_url, shown

tried = settings(
    max_examples=int(os.environ.get("TEXTS", "60")),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
ANYTHING = st.text(st.characters(), max_size=60)
"""Lone surrogates and control characters are among them."""
RULES = (SourceRule("https://github.com/acme/*", Trust.CODE), SourceRule("file:///srv/**"))


def made_of(*parts: str) -> st.SearchStrategy[str]:
    """Texts put together of what a reader knows, with other things between."""
    part = st.sampled_from(parts) | st.text(max_size=3)
    return ANYTHING | st.lists(part, max_size=30).map("".join)


def encoded(text: st.SearchStrategy[str]) -> st.SearchStrategy[bytes]:
    """What a file may hold: bytes of any kind, or texts in some encoding."""
    ways: list[Callable[[str], bytes]] = [
        lambda t: t.encode("utf-8", "surrogatepass"),
        lambda t: b"\xef\xbb\xbf" + t.encode("utf-8", "replace"),
        lambda t: t.encode("utf-16", "replace"),
        lambda t: t.encode("latin-1", "replace"),
    ]
    return st.binary(max_size=60) | st.tuples(st.sampled_from(ways), text).map(lambda p: p[0](p[1]))


def outcome(allowed: type[Exception] | tuple[type[Exception], ...], read: Callable[[], Any]) -> Any:
    """Give what is read, or the error that may be raised for it, whose words people can read."""
    try:
        return read()
    except allowed as error:
        said = [error.message, *([error.fix] if hasattr(error, "fix") else [])]
        assert all(said)
        for text in said:
            assert text.encode()  # protobuf takes no half of a pair of surrogates
            assert len(text) <= 9000
        return error


TOML = made_of(
    *("name", "artifact", "examples", "engine", "workers", "models", "x"), *"=.[]{}\"',#\n\\ ",
    *("[signature]\n", "inputs = [", '{ name = "a", dtype = "int64" }', "[[models]]\n", "'''"),
    *("[tolerance]\n", "abs", "rel", "1", "-1", "1e999", "nan", "inf", "0x1", "true", '"auto"'),
    *('"\\ud800"', '"../x"', "1979-05-27", "9" * 40, "\r\n", '"""'),
)  # fmt: skip
REQUIREMENTS = made_of(
    *("scikit-learn", "numpy", "pushserve[boosting]", "-r x", "--hash=sha256:0", "\\\n", "\n", "#"),
    *("==", ">=", "!=", "~=", "===", "<", ",", ";", "(", ")", "[", "]", "@", "*", "1.2", "1!2"),
    *("python_version", "sys_platform", " and ", " or ", "extra == 'x'", "'3'", '"', "git+https://"),
    *("file:///x", "https://u:p@h/x.whl", "9" * 40, "${HOME}"),
)  # fmt: skip
JSON = made_of(
    *('{"input":', '{"inputs":', '"outputs":', '"output":', '"expected":', '"name":', "[", "]"),
    *("{", "}", ",", ":", "1", "-0", "1e999", "NaN", "null", "true", '"a"', '"\\ud800"', "[[["),
    *("Infinity", "9" * 40, '"\\u0000"', " "),
)  # fmt: skip
URL = made_of(
    *("https://", "http://", "ssh://", "file://", "git@", "ext::", "--upload-pack=x", "github.com"),
    *("/acme", "/iris", ".git", "..", "/", "//", ":", ":443", ":99999", "@", "?", "#", "%2F"),
    *("%00", "%", "user:pass@", "[::1]", "[", "\\", "*", "**", " ", "\n", "é", "٣"),
)  # fmt: skip
REF = made_of(
    *("refs/heads/", "refs/tags/", "refs/pull/1/", "main", "HEAD", "@", "@{", "..", ".lock", "/"),
    *("//", "~", "^", ":", "?", "*", "[", "\\", " ", "\x00", "\x7f", "-", ".", "a" * 40, "é"),
)  # fmt: skip
LS_REMOTE = made_of(
    *("a" * 40, "b" * 64, "\t", "\n", "HEAD", "ref: refs/heads/main", "refs/heads/main"),
    *("refs/tags/v1", "^{}", " ", "\x00", "\r"),
)  # fmt: skip
STDERR = made_of(
    *("fatal: ", "error: ", "remote: ", "not our ref", "Repository not found", "File too large"),
    *("Permission denied (", "returned error: 503", "returned error: 404", "redirect", "\n", "TLS"),
    *("https://u:secret@h/x", "No space left on device", "fsck error", "\x1b[31m"),
)  # fmt: skip


@tried
@given(encoded(TOML))
def test_a_manifest(content):
    read = outcome(DeploymentFailed, lambda: parse_manifest(content))
    assert isinstance(read, Manifest) or "MANIFEST_INVALID" == read.reason


@tried
@given(encoded(REQUIREMENTS))
def test_requirements(content):
    read = outcome(DeploymentFailed, lambda: check_requirements(content))
    assert read is None or "REQUIREMENTS_NOT_SATISFIED" == read.reason


@tried
@given(content=encoded(JSON))
def test_examples(content, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "examples.json"
    path.write_bytes(content)
    read = outcome(BuildFailed, lambda: read_examples(path))
    if isinstance(read, BuildFailed):
        assert "EXAMPLES_INVALID" == read.reason
    else:
        assert read
        assert all(isinstance(example, Example) for example in read)


@tried
@given(URL)
def test_a_url(url):
    read = outcome(BadInput, lambda: normalize_url(url))
    if isinstance(read, str):
        assert read == normalize_url(read)
        assert same_repository(parse_url(url), parse_url(read))
        assert read.isprintable()


@tried
@given(URL)
def test_a_url_and_the_operators_list(url):
    read = outcome((BadInput, SourceRefused), lambda: find_rule(url, RULES))
    if isinstance(read, SourceRule):
        assert normalize_url(url).startswith(read.url.rstrip("*"))


@tried
@given(source=URL, ref=REF, commit=REF, path=URL, model=REF)
@pytest.mark.parametrize("field", ["source", "ref", "commit", "path", "model"])
def test_what_a_call_of_register_names(field, **given):
    """Each field alone, and all together."""
    good = {"source": "https://h/iris", "ref": "main", "commit": "", "path": "", "model": ""}
    if field == "commit":
        good["ref"] = ""
    for fields in (good | {field: given[field]}, given):
        read = outcome(BadInput, lambda fields=fields: clean_target(**fields))
        if isinstance(read, Target):
            assert read == clean_target(
                source=read.source, ref=read.ref, commit=read.commit, path=read.path,
                model=read.model,
            )  # fmt: skip
            outcome((BadInput, DeploymentFailed), lambda path=read.path: folder_prefix(path))


@tried
@given(URL)
def test_names_of_files_and_folders(name):
    prefix = outcome(BadInput, lambda: folder_prefix(name))
    if isinstance(prefix, str) and prefix:
        assert prefix.endswith("/")
        assert ".." not in prefix.split("/")
    outcome(DeploymentFailed, lambda: check_name(name))


@tried
@given(path=URL, source=URL, name=REF)
def test_a_models_name(path, source, name):
    read = outcome(
        DeploymentFailed,
        lambda: choose_name(asked="", registered="", manifest=None, path=path, source=source),
    )
    assert isinstance(read, DeploymentFailed) or read == slug(read)
    assert slug(name) == slug(slug(name))


@tried
@given(encoded(LS_REMOTE), st.integers(1, 50))
def test_what_a_remote_says_of_its_refs(content, size):
    def read() -> RemoteRefs:
        reader = RefReader()
        for start in range(0, len(content), size):
            reader.feed(content[start : start + size])
        reader.feed(b"")
        return reader.refs()

    try:
        refs = read()
    except TooMuchOutput:
        return
    assert all(name.startswith(("refs/heads/", "refs/tags/")) for name in refs.refs)
    assert refs.head is None or refs.head in refs.refs


@tried
@given(STDERR, URL)
def test_what_git_writes(stderr, url):
    error = explained(GitFailed(128, stderr), url)
    assert isinstance(error, DeploymentFailed | Unavailable)
    assert "secret" not in error.message
    assert all(c.isprintable() for c in error.message)


@tried
@given(made_of("https://", "u:secret@", "h/x", "?token=secret", " ", "'", "\n", "/"))
def test_a_text_that_is_shown(text):
    assert len(shown(text, 50)) <= 50
    assert shown(text).isprintable()

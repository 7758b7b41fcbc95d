"""What of a commit's folder gets to the sandbox."""

import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from pushserve_server.errors import DeploymentFailed
from pushserve_server.source.checkout import materialise
from pushserve_server.source.fetch import fetch_commit
from tests.fixtures.git_server import Content, GitHost, Submodule, Symlink

POINTER = (
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\n"
    "size 1234567\n"
)
CheckOut = Callable[..., list[Path]]


@pytest.fixture
def check_out(git_host: GitHost, tmp_path: Path) -> CheckOut:
    """Commit files, fetch the commit and write a folder of it to tmp_path/out."""

    def call(files: Mapping[str, Content], folder: str = "", **limits: int) -> list[Path]:
        commit = git_host.create("iris").commit(files)
        options = {"max_artifact": 10_000, "max_repository": 100_000} | limits
        with fetch_commit(
            git_host.url("iris"),
            commit,
            cache_dir=tmp_path / "mirrors",
            max_blob=options["max_artifact"],
            timeout=60,
            cancelled=threading.Event(),
        ) as tree:
            return materialise(tree, folder, tmp_path / "out", **options)

    return call


def refusal(check_out: CheckOut, *arguments: object, **limits: int) -> DeploymentFailed:
    with pytest.raises(DeploymentFailed) as caught:
        check_out(*arguments, **limits)
    assert caught.value.fix
    return caught.value


def test_a_folder_is_written(check_out: CheckOut, tmp_path: Path) -> None:
    """Only it, with plain modes, whatever the server's umask."""
    large = os.urandom(9_999) + b"\n"
    files = {"m/model.pkl": large, "m/sub/é e.txt": "x", "m/empty": "", "other/x": "x"}
    mask = os.umask(0o077)
    try:
        written = check_out(files, "m")
    finally:
        os.umask(mask)
    out = tmp_path / "out"
    assert [out / "empty", out / "model.pkl", out / "sub/é e.txt"] == written
    assert [b"", large, b"x"] == [path.read_bytes() for path in written]
    assert {0o100644} == {path.stat().st_mode for path in written}
    assert {0o40755} == {path.stat().st_mode for path in (out, out / "sub")}


def test_the_root_is_a_folder_too(check_out: CheckOut, tmp_path: Path) -> None:
    assert [tmp_path / "out/a", tmp_path / "out/b/c"] == check_out({"a": "a", "b/c": "c"})


@pytest.mark.parametrize("target", ["/etc/passwd", "../../../registry.sqlite3", "real.pkl"])
def test_a_symlink_is_refused(check_out: CheckOut, tmp_path: Path, target: str) -> None:
    """Out of the tree or within it; nothing is written."""
    files = {"m/model.pkl": Symlink(target), "m/real.pkl": "x"}
    error = refusal(check_out, files, "m")
    assert "SYMLINK_NOT_ALLOWED" == error.reason
    assert "m/model.pkl is a symbolic link" == error.message
    assert "Commit the file itself" in error.fix
    assert not (tmp_path / "out").exists()


def test_what_is_outside_the_folder_does_not_matter(check_out: CheckOut) -> None:
    files = {
        "link": Symlink("/etc/passwd"),
        "module": Submodule("1" * 40),
        "big": os.urandom(20_000),
        "a\tb": "x",
        "m/a": "a",
    }
    assert 1 == len(check_out(files, "m"))


def test_a_folder_that_is_a_symlink_is_not_followed(check_out: CheckOut) -> None:
    assert "FOLDER_NOT_FOUND" == refusal(check_out, {"m": Symlink("/etc"), "x": "x"}, "m").reason


def test_a_submodule_is_refused(check_out: CheckOut) -> None:
    error = refusal(check_out, {"m/lib": Submodule("1" * 40), "m/a": "a"}, "m")
    assert ("SUBMODULE_NOT_ALLOWED", "m/lib") == (error.reason, error.message.split()[0])


def test_a_file_over_the_limit(check_out: CheckOut) -> None:
    error = refusal(check_out, {"model.pkl": os.urandom(2048)}, max_artifact=2047)
    assert "ARTIFACT_TOO_LARGE" == error.reason
    assert error.message.startswith("model.pkl is over the limit of")
    assert "max_artifact" in error.fix


def test_a_folder_over_the_limit(check_out: CheckOut) -> None:
    files = {f"m/{number}": os.urandom(1024) for number in range(3)}
    error = refusal(check_out, files, "m", max_repository=3071)
    assert "REPOSITORY_TOO_LARGE" == error.reason
    assert error.message.startswith("m/ is 3 KiB, over the limit of")


def test_an_lfs_pointer_is_refused(check_out: CheckOut) -> None:
    error = refusal(check_out, {"model.pkl": POINTER})
    assert "LFS_POINTER" == error.reason
    assert "model.pkl is a Git LFS pointer for a file of 1.177 MiB, not the file itself" == (
        error.message
    )
    assert "git lfs untrack model.pkl" in error.fix


def test_a_text_about_lfs_is_no_pointer(check_out: CheckOut) -> None:
    assert 1 == len(check_out({"README.md": f"A pointer looks so:\n{POINTER}"}))


@pytest.mark.parametrize(
    "name", ["m/a\tb", "m/a\nb", "m/\udcff", "m/\x1b[31m", "m/a\u202eb", "m/" + "x" * 256]
)
def test_a_bad_name_is_refused(check_out: CheckOut, name: str) -> None:
    error = refusal(check_out, {name: "x"}, "m")
    assert "BAD_FILE_NAME" == error.reason
    assert error.message.isprintable()


def test_names_that_look_like_options_or_patterns_are_only_names(check_out: CheckOut) -> None:
    names = ["--help", "-x", "$HOME", "*", ":(top)a", "a b", "a;b"]
    assert sorted(names) == sorted(path.name for path in check_out(dict.fromkeys(names, "x")))


def test_a_missing_folder_names_those_that_exist(check_out: CheckOut) -> None:
    error = refusal(check_out, {"models/iris/a": "a", "x": "x"}, "model/iris")
    assert "FOLDER_NOT_FOUND" == error.reason
    assert "there are: models/iris" in error.fix


def test_a_file_is_no_folder(check_out: CheckOut) -> None:
    assert "FOLDER_NOT_FOUND" == refusal(check_out, {"model.pkl": "x"}, "model.pkl").reason


def test_a_folder_of_too_many_files(check_out: CheckOut, tmp_path: Path) -> None:
    """Other folders may hold as many: they are not written."""
    files = {f"m/{n}": "" for n in range(10_001)} | {"other/model.pkl": "x"}
    error = refusal(check_out, files, "m")
    assert "10,000" in error.message
    assert not (tmp_path / "out").exists()


def test_folders_that_are_nested_too_deep(check_out: CheckOut) -> None:
    deep = "/".join(["d"] * 65)
    assert "BAD_FILE_NAME" == refusal(check_out, {f"{deep}/x": "x"}).reason


def test_a_name_that_is_too_long(check_out: CheckOut) -> None:
    error = refusal(check_out, {"x" * 300: "x"})
    assert "BAD_FILE_NAME" == error.reason
    assert len(error.message) < 500

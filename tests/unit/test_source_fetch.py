"""Fetching commits from real remotes into mirrors."""

import os
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pushserve_server.errors import BadInput, DeploymentFailed, Unavailable
from pushserve_server.source import mirror
from pushserve_server.source.command import Cancelled
from pushserve_server.source.fetch import fetch_commit, is_reachable
from pushserve_server.source.mirror import remove_unused
from pushserve_server.source.tree import Entry, Tree
from tests.fixtures.git_server import GitHost, Repo, Submodule, Symlink

NEVER = threading.Event()
Fetch = Callable[..., Tree]


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """The folder of the mirrors."""
    return tmp_path / "mirrors"


@pytest.fixture
def fetch(cache: Path) -> Fetch:
    """`fetch_commit` with defaults."""

    def call(url: str, commit: str, **options: object) -> Tree:
        defaults = {"cache_dir": cache, "max_blob": 10_000, "timeout": 60, "cancelled": NEVER}
        return fetch_commit(url, commit, **(defaults | options))

    return call


def reachable(url: str, commit: str, cache: Path) -> bool:
    return is_reachable(url, commit, cache_dir=cache, timeout=60, cancelled=NEVER)


def paths(entries: list[Entry]) -> list[str]:
    return [entry.path for entry in entries]


def mirrors(cache: Path) -> list[Path]:
    return sorted(path for path in cache.glob("*/*") if path.is_dir())


def test_a_commit_is_fetched_without_history(
    git_host: GitHost, fetch: Fetch, tmp_path: Path
) -> None:
    """Names, modes, sizes and contents are the commit's; parents are not fetched."""
    repo = git_host.create("iris")
    repo.commit({"old": "old"})
    commit = repo.commit({"old": None, "m/a.bin": b"\0\n\xff", "m/e": "", "top/ü": "u"})
    for url in (repo.url, repo.file_url):
        with fetch(url, commit) as tree:
            assert ["m/a.bin", "m/e", "top/ü"] == paths(tree.entries())
            first, empty = tree.entries("m/")
            assert ("100644", "blob", True) == (first.mode, first.kind, first.is_file)
            assert {first.oid: 3, empty.oid: 0} == tree.sizes([first, empty])
            assert b"\0\n\xff" == tree.read(first, 3)
            target = tmp_path / f"{url[:4]}.bin"
            tree.write_to(first, target, 3)
            assert b"\0\n\xff" == target.read_bytes()
            assert [] == tree.entries("nothing")
            assert [] == tree.entries("to")


def test_what_is_here_is_not_fetched_again(git_host: GitHost, fetch: Fetch) -> None:
    repo = git_host.create("iris")
    commit = repo.commit({"a": "a"})
    fetch(repo.url, commit).close()
    asked = len(git_host.requests)
    with fetch(repo.url, commit) as tree:
        assert ["a"] == paths(tree.entries())
    assert asked == len(git_host.requests)


def test_symlinks_and_submodules_are_told_apart(git_host: GitHost, fetch: Fetch) -> None:
    repo = git_host.create("iris")
    commit = repo.commit({"l": Symlink("/etc/passwd"), "s": Submodule("1" * 40)})
    with fetch(repo.url, commit) as tree:
        link, module = tree.entries()
    assert (True, False, False) == (link.is_symlink, link.is_submodule, link.is_file)
    assert (False, True, False) == (module.is_symlink, module.is_submodule, module.is_file)


@pytest.mark.parametrize("filters", [True, False])
def test_a_blob_over_the_limit(git_host: GitHost, fetch: Fetch, filters: bool) -> None:
    """Left out by the remote, or fetched because it knows no filters: refused alike."""
    repo = git_host.create("iris", filters=filters)
    commit = repo.commit({"big": os.urandom(10_001), "exact": os.urandom(10_000)})
    with fetch(repo.url, commit) as tree:
        big, exact = tree.entries()
        assert (None if filters else 10_001) == tree.sizes([big])[big.oid]
        assert 10_000 == len(tree.read(exact, 10_000))
        for limit in (10_000, 9_999):
            with pytest.raises(DeploymentFailed, match=r"big is .*over the limit of 9\.76"):
                tree.read(big, limit)


def test_a_raised_limit_fetches_what_was_left_out(git_host: GitHost, fetch: Fetch) -> None:
    repo = git_host.create("iris")
    commit = repo.commit({"big": os.urandom(20_000)})
    fetch(repo.url, commit).close()
    with fetch(repo.url, commit, max_blob=20_000) as tree:
        assert 20_000 == len(tree.read(tree.entries()[0], 20_000))


@pytest.mark.parametrize("protocol", ["http", "file"])
def test_what_the_remote_sends_is_bounded(
    git_host: GitHost, fetch: Fetch, cache: Path, protocol: str
) -> None:
    """Git is ended when its pack reaches the limit; the next fetch clears the rest away."""
    repo = git_host.create("iris", filters=False)
    small = repo.commit({"a": "a"}, branch="small")
    commit = repo.commit({"big": os.urandom(300_000)})
    url = repo.url if protocol == "http" else repo.file_url
    with pytest.raises(DeploymentFailed, match="sends more") as caught:
        fetch(url, commit, max_pack=100_000)
    assert "REPOSITORY_TOO_LARGE" == caught.value.reason
    with fetch(url, small, max_pack=100_000) as tree:
        assert ["a"] == paths(tree.entries())
    assert [] == list(cache.rglob("tmp_pack*"))


def test_a_commit_that_the_remote_does_not_hold(git_host: GitHost, fetch: Fetch) -> None:
    repo = git_host.create("iris")
    repo.commit({"a": "a"})
    with pytest.raises(DeploymentFailed) as caught:
        fetch(repo.url, "1" * 40)
    assert "COMMIT_NOT_FOUND" == caught.value.reason
    assert "Push the commit" in caught.value.fix


def test_an_object_that_is_no_commit(git_host: GitHost, fetch: Fetch) -> None:
    repo = git_host.create("iris")
    repo.commit({"a": "a"})
    with pytest.raises(DeploymentFailed, match="is not a commit"):
        fetch(repo.url, repo.git("rev-parse", "main:a"))


def test_an_annotated_tags_own_id(git_host: GitHost, fetch: Fetch) -> None:
    """No version is of it; the cure names the commit, also the second time, from the mirror."""
    repo = git_host.create("iris")
    commit = repo.commit({"a": "a"})
    repo.tag("v1", annotated=True)
    for _ in range(2):
        with pytest.raises(DeploymentFailed, match=f"but a tag of {commit}") as caught:
            fetch(repo.url, repo.git("rev-parse", "refs/tags/v1"))
        assert "COMMIT_NOT_FOUND" == caught.value.reason
        assert commit in caught.value.fix


@pytest.mark.parametrize("commit", ["main", "-x", "--upload-pack=x", "1" * 39, "A" * 40, ""])
def test_a_commit_is_a_full_id(fetch: Fetch, cache: Path, commit: str) -> None:
    with pytest.raises(BadInput, match="40 hexadecimal digits"):
        fetch("https://127.0.0.1:1/x", commit)
    with pytest.raises(BadInput, match="40 hexadecimal digits"):
        reachable("https://127.0.0.1:1/x", commit, cache)


def test_objects_that_git_refuses(git_host: GitHost, fetch: Fetch) -> None:
    """A tree with ".git" or ".." in it does not pass fsck."""
    repo = git_host.create("iris")
    repo.commit({"a": "a"})
    blob = bytes.fromhex(repo.git("rev-parse", "main:a"))
    for name in (b".git", b".."):
        raw = b"100644 " + name + b"\0" + blob
        tree = repo.git("hash-object", "-t", "tree", "--literally", "-w", "--stdin", stdin=raw)
        commit = repo.git("commit-tree", "-m", "bad", tree)
        with pytest.raises(DeploymentFailed) as caught:
            fetch(repo.url, commit)
        assert "REPOSITORY_CORRUPT" == caught.value.reason


def test_fetches_of_one_url_at_a_time(git_host: GitHost, fetch: Fetch, cache: Path) -> None:
    """Each gets its own commit, out of one mirror."""
    repo = git_host.create("iris")
    commits = [repo.commit({"a": str(number)}) for number in range(4)]

    def content(commit: str) -> bytes:
        with fetch(repo.url, commit) as tree:
            return tree.read(tree.entries()[0], 10)

    with ThreadPoolExecutor(4) as pool:
        assert [b"0", b"1", b"2", b"3"] == list(pool.map(content, commits))
    assert 1 == len(mirrors(cache))


def test_a_waiting_fetch_can_be_cancelled(git_host: GitHost, fetch: Fetch) -> None:
    """One that waits for another's lock as well as the one that waits for the remote."""
    repo = git_host.create("iris")
    commit = repo.commit({"a": "a"})
    cancelled = threading.Event()
    with git_host.hold() as held, ThreadPoolExecutor(2) as pool:
        first = pool.submit(fetch, repo.url, commit, cancelled=cancelled)
        held.arrived()
        second = pool.submit(fetch, repo.url, commit, cancelled=cancelled)
        with pytest.raises(Unavailable, match="did not answer in time"):
            fetch(repo.url, commit, timeout=0.2)
        cancelled.set()
        assert isinstance(first.exception(10), Cancelled)
        assert isinstance(second.exception(10), Cancelled)
    fetch(repo.url, commit).close()


@pytest.mark.parametrize("damage", ["HEAD", "config", "objects"])
def test_a_broken_mirror_is_made_anew(
    git_host: GitHost, fetch: Fetch, cache: Path, damage: str
) -> None:
    repo = git_host.create("iris")
    commit = repo.commit({"a": "a"})
    fetch(repo.url, commit).close()
    (mirror,) = mirrors(cache)
    path = mirror / damage
    shutil.rmtree(path) if path.is_dir() else path.write_text("rubbish\n[")
    with fetch(repo.url, commit) as tree:
        assert b"a" == tree.read(tree.entries()[0], 10)
    assert [mirror.with_name("2")] == mirrors(cache)


def test_a_mirror_that_breaks_under_a_tree(git_host: GitHost, fetch: Fetch, cache: Path) -> None:
    """It is said to be worth another try, and the next fetch begins anew."""
    repo = git_host.create("iris")
    commit = repo.commit({"a": "a"})
    with fetch(repo.url, commit) as tree:
        (entry,) = tree.entries()
        shutil.rmtree(mirrors(cache)[0] / "objects")
        with pytest.raises(Unavailable) as caught:
            tree.read(entry, 10)
        assert "MIRROR_BROKEN" == caught.value.code_reason
    with fetch(repo.url, commit) as tree:
        assert b"a" == tree.read(entry, 10)


def test_a_mirror_does_not_grow_for_ever(git_host: GitHost, fetch: Fetch, cache: Path) -> None:
    """Over the limit a new one is begun; the old one goes when nobody reads it."""
    repo = git_host.create("iris")
    commits = [repo.commit({"a": os.urandom(9_000)}) for _ in range(5)]
    with fetch(repo.url, commits[0], max_pack=10_000) as tree:
        for commit in commits[1:4]:
            fetch(repo.url, commit, max_pack=10_000).close()
        assert 9_000 == len(tree.read(tree.entries()[0], 9_000))
    fetch(repo.url, commits[4], max_pack=10_000).close()
    assert 2 >= len(mirrors(cache))
    assert "1" not in [mirror.name for mirror in mirrors(cache)]


def test_a_mirror_does_not_gather_files_for_ever(
    git_host: GitHost, fetch: Fetch, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small commits, however many, do not make each fetch slower than the one before."""
    monkeypatch.setattr(mirror, "_MOST_FILES", 10)
    repo = git_host.create("busy")
    for number in range(9):
        fetch(repo.url, repo.commit({"n": str(number)})).close()
        (folder,) = mirrors(cache)
        objects = [file for file in (folder / "objects").rglob("*") if file.is_file()]
        assert len(objects) <= 10 + 3  # a commit, its tree and a file came last
    assert "1" != folder.name


def test_unused_mirrors_are_removed(git_host: GitHost, fetch: Fetch, cache: Path) -> None:
    repo = git_host.create("iris")
    commit = repo.commit({"a": "a"})
    with fetch(repo.url, commit) as tree:
        remove_unused(cache, 3600)
        remove_unused(cache, 0)
        assert b"a" == tree.read(tree.entries()[0], 10)
    remove_unused(cache, 3600)
    assert 1 == len(mirrors(cache))
    remove_unused(cache, 0)
    assert [] == mirrors(cache)
    fetch(repo.url, commit).close()


@pytest.mark.parametrize("folder", ["/etc", "../x", "a/../b", "a//b", "a/.git", "a\nb", "\udcff"])
def test_a_folder_is_below_the_root(git_host: GitHost, fetch: Fetch, folder: str) -> None:
    repo = git_host.create("iris")
    with (
        fetch(repo.url, repo.commit({"a": "a"})) as tree,
        pytest.raises(BadInput, match="is not a folder"),
    ):
        tree.entries(folder)


@pytest.mark.parametrize("filters", [True, False])
def test_reachable_commits(git_host: GitHost, cache: Path, filters: bool) -> None:
    """From any branch or tag, as they are now; only with other refs, or none, it is not."""
    repo: Repo = git_host.create("iris", filters=filters)
    first = repo.commit({"a": "a"})
    second = repo.commit({"a": "b"})
    tagged = repo.commit({"a": "c"}, branch="side")
    repo.tag("v1", "side", annotated=True)
    repo.delete_ref("refs/heads/side")
    pulled = repo.commit({"a": "d"}, branch="pull")
    repo.set_ref("refs/pull/1/head", pulled)
    repo.delete_ref("refs/heads/pull")
    expected = {first: True, second: True, tagged: True, pulled: False, "1" * 40: False}
    assert expected == {commit: reachable(repo.url, commit, cache) for commit in expected}
    repo.force({"z": "z"})
    assert not reachable(repo.url, second, cache)
    assert not list(cache.rglob("*.lock.lock"))

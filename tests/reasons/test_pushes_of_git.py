"""Reasons of pushes that Git, the names or the server's own steps bring about, each cured."""

import re
import subprocess

import pytest

from pushserve.v1 import model_service_pb2 as pb
from tests.fixtures.git_server import GitHost, Repo, Symlink
from tests.fixtures.served import Served
from tests.reasons.push_case import good_model

GOOD = {"model.joblib": good_model()}


def failed(served: Served, repo: Repo, reason: str, **what: str) -> pb.DeploymentError:
    error = served.failed(repo.url, **what)
    assert reason == error.reason, str(error)
    return error


@pytest.mark.reason("FOLDER_NOT_FOUND")
def test_a_folder_that_there_is_not(served: Served, hub: GitHost):
    repo = hub.create("folders")
    repo.force({"models/flowers/model.joblib": good_model()})
    fix = failed(served, repo, "FOLDER_NOT_FOUND", path="model/flowers").fix
    there = re.search(r"\(there are: (.*)\)", fix)
    assert there
    assert "models/flowers" in there[1].split(", ")
    served.ready(repo.url, path="models/flowers")


@pytest.mark.reason("REF_NOT_FOUND")
def test_a_branch_that_is_gone_before_it_was_served(served: Served, hub: GitHost):
    repo = hub.create("branches")
    repo.force({"README.md": "x"})
    repo.force({"README.md": "y"}, branch="next")
    served.failed(repo.url, ref="next")
    repo.delete_ref("refs/heads/next")
    error = failed(served, repo, "REF_NOT_FOUND", ref="next")
    assert "no branch or tag 'next'" in error.message
    assert "Push that branch or tag" in error.fix
    repo.force(GOOD, branch="next")
    served.ready(repo.url, ref="next")


@pytest.mark.reason("COMMIT_NOT_FOUND")
def test_a_tag_of_something_else_than_a_commit(served: Served, hub: GitHost):
    repo = hub.create("tag-of-a-file")
    repo.force(GOOD)
    repo.set_ref("refs/tags/v1", repo.git("rev-parse", "main:model.joblib"))
    error = failed(served, repo, "COMMIT_NOT_FOUND", ref="v1")
    assert "is not a commit" in error.message
    assert "Register a branch, or a tag that points at a commit" in error.fix
    repo.tag("v1")
    served.ready(repo.url, ref="v1")


@pytest.mark.reason("COMMIT_NOT_REACHABLE")
def test_a_commit_that_was_not_pushed(served: Served, hub: GitHost):
    mine, theirs = hub.create("unpushed-clone"), hub.create("unpushed")
    theirs.force({"README.md": "x"})
    commit = mine.force(GOOD)
    failed(served, theirs, "COMMIT_NOT_REACHABLE", commit=commit)
    mine.git("push", "--quiet", str(theirs.path), f"{commit}:refs/heads/new")
    served.ready(theirs.url, commit=commit, retry=True)


@pytest.mark.reason("COMMIT_NOT_REACHABLE")
def test_a_commit_that_no_branch_holds(served: Served, hub: GitHost):
    repo = hub.create("rewritten")
    lost = repo.force(GOOD)
    repo.force({"README.md": "rewritten"})
    error = failed(served, repo, "COMMIT_NOT_REACHABLE", commit=lost)
    assert lost[:12] in error.message
    assert "Push a branch or tag that holds the commit" in error.fix
    assert "and register it again with --retry" in error.fix
    repo.tag("kept", lost)
    served.ready(repo.url, commit=lost, retry=True)


@pytest.mark.reason("REPOSITORY_NOT_FOUND")
def test_a_repository_that_the_server_may_not_read(served: Served, hub: GitHost):
    """It may list the refs and not fetch, as a host may have it."""
    repo = hub.create("private")
    repo.force(GOOD)
    hub.status, hub.failing = 403, b"command=fetch"
    try:
        error = failed(served, repo, "REPOSITORY_NOT_FOUND")
    finally:
        hub.status = 0
    assert "/private" in error.message
    assert "register it again with --retry" in error.fix
    assert "that this server may read the repository" in error.fix
    served.ready(repo.url, retry=True)


@pytest.mark.reason("REPOSITORY_CORRUPT")
def test_a_repository_with_an_object_that_is_broken(served: Served, hub: GitHost):
    repo = hub.create("broken")
    repo.force({"model.joblib": good_model(), "README.md": "whole"})
    blob = repo.git("rev-parse", "main:README.md")
    for pack in (repo.path / "objects" / "pack").glob("*.pack"):
        data = pack.read_bytes()
        pack.unlink()
        repo.git("unpack-objects", "-q", stdin=data)
    loose = repo.path / "objects" / blob[:2] / blob[2:]
    whole = loose.read_bytes()
    loose.chmod(0o644)
    loose.write_bytes(b"")
    error = failed(served, repo, "REPOSITORY_CORRUPT")
    assert "push them again from a clone that is whole" in error.fix
    loose.write_bytes(whole)
    served.ready(repo.url, retry=True)


@pytest.mark.reason("SYMLINK_NOT_ALLOWED")
def test_the_command_that_puts_a_file_in_place_of_its_link(served: Served, hub: GitHost, tmp_path):
    repo = hub.create("links")
    repo.force({"model.joblib": Symlink("best one/m.bin"), "best one/m.bin": good_model()})
    fix = failed(served, repo, "SYMLINK_NOT_ALLOWED").fix
    command = fix.partition(": ")[2]
    clone = tmp_path / "clone"
    repo.git("clone", "--quiet", str(repo.path), str(clone))
    subprocess.run(["sh", "-c", command], cwd=clone, check=True)
    repo.git("-C", str(clone), "commit", "--quiet", "-am", "The file itself")
    repo.git("-C", str(clone), "push", "--quiet", str(repo.path), "HEAD:main")
    served.ready(repo.url)


@pytest.mark.reason("MODEL_RENAMED")
def test_a_manifest_that_renames_a_model(served: Served, hub: GitHost):
    repo = hub.create("renamed")
    repo.force({**GOOD, "pushserve.toml": 'name = "before"'})
    served.ready(repo.url)
    repo.force({**GOOD, "pushserve.toml": 'name = "after"'})
    fix = failed(served, repo, "MODEL_RENAMED").fix
    line = re.search(r'name = "[^"]+"', fix)
    assert line
    repo.force({**GOOD, "pushserve.toml": line[0]})
    served.ready(repo.url)


@pytest.mark.reason("MODEL_RENAMED")
def test_a_model_that_is_to_have_another_name(served: Served, hub: GitHost):
    repo = hub.create("renamed-indeed")
    repo.force({**GOOD, "pushserve.toml": 'name = "old-name"'})
    served.ready(repo.url)
    repo.force({**GOOD, "pushserve.toml": 'name = "new-name"'})
    fix = failed(served, repo, "MODEL_RENAMED").fix
    assert "delete old-name on the server and register it again" in fix
    served.stub.Delete(pb.DeleteRequest(model="old-name"), timeout=20)
    assert "new-name" == served.ready(repo.url, retry=True).model


@pytest.mark.reason("MODEL_NAME_MISSING")
def test_a_repository_whose_name_is_none_for_a_model(served: Served, hub: GitHost):
    repo = hub.create("---")
    repo.force(GOOD)
    fix = failed(served, repo, "MODEL_NAME_MISSING").fix
    line = re.search(r'name = "[^"]+"', fix)
    assert line
    repo.force({**GOOD, "pushserve.toml": line[0]})
    assert "iris" == served.ready(repo.url).model


@pytest.mark.reason("MODEL_NAME_TAKEN")
def test_a_name_that_another_folder_s_model_has(served: Served, hub: GitHost):
    first, second = hub.create("taking"), hub.create("taken")
    first.force({**GOOD, "pushserve.toml": 'name = "in-use"'})
    served.ready(first.url)
    second.force({**GOOD, "pushserve.toml": 'name = "in-use"'})
    error = failed(served, second, "MODEL_NAME_TAKEN")
    assert "'in-use' is the name of another folder's model" in error.message
    assert "name = " in error.fix
    second.force({**GOOD, "pushserve.toml": 'name = "free"'})
    served.ready(second.url)


@pytest.mark.reason("LOAD_FAILED")
def test_a_file_that_only_the_build_saw(served: Served, hub: GitHost):
    repo = hub.create("unloadable")
    code = "def predict(input):\n    return {'fine': True}\n"
    where = "\nif '/bundles/' in __file__:\n    raise OSError('no such table')\n"
    repo.force({"predict.py": code + where})
    error = failed(served, repo, "LOAD_FAILED")
    assert "OSError: no such table (predict.py, line 5)" in error.message
    assert str(served.data_dir) not in error.message
    assert "Correct what it raised" in error.fix
    repo.force({"predict.py": code})
    served.ready(repo.url)

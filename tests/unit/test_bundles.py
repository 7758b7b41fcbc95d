"""The store of bundles."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest

from pushserve_server.build.bundles import BundleBroken, Bundles

SPEC = {"format": "skops", "artifact": "model.skops", "signature": None}


def names(folder):
    return [path.name for path in folder.iterdir()]


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "model.skops").write_bytes(b"weights")
    (folder / "sub" / "bundle.json").write_bytes(b"mine")
    return folder


@pytest.fixture
def bundles(tmp_path):
    return Bundles(tmp_path / "bundles")


def test_a_bundle_gives_back_what_was_put_in(bundles, folder):
    bundle = bundles.open(bundles.add(folder, SPEC))
    assert SPEC == bundle.spec
    assert b"weights" == (bundle.folder / "model.skops").read_bytes()
    assert b"mine" == (bundle.folder / "sub" / "bundle.json").read_bytes()
    assert len(b"weightsmine") == bundle.size


def test_the_same_content_has_the_same_digest_and_is_stored_once(bundles, folder, tmp_path):
    first = bundles.add(folder, SPEC)
    assert first == bundles.add(folder, dict(reversed(SPEC.items())))
    assert [first] == names(tmp_path / "bundles")


@pytest.mark.parametrize("change", ["content", "name", "spec"])
def test_any_other_content_has_another_digest(bundles, folder, change):
    first = bundles.add(folder, SPEC)
    if change == "content":
        (folder / "model.skops").write_bytes(b"Weights")
    elif change == "name":
        (folder / "model.skops").rename(folder / "model.pkl")
    spec = {**SPEC, "artifact": "x"} if change == "spec" else SPEC
    assert first != bundles.add(folder, spec)


def test_the_sandbox_user_can_read_a_bundle_whatever_the_umask(bundles, folder):
    (folder / "model.skops").chmod(0o600)
    old = os.umask(0o077)
    try:
        bundle = bundles.open(bundles.add(folder, SPEC))
    finally:
        os.umask(old)
    paths = [bundle.path, *bundle.path.rglob("*")]
    assert {0o755} == {p.stat().st_mode & 0o777 for p in paths if p.is_dir()}
    assert {0o644} == {p.stat().st_mode & 0o777 for p in paths if p.is_file()}


def test_a_lost_bundle_is_told(bundles, folder):
    digest = bundles.add(folder, SPEC)
    assert bundles.exists(digest)
    shutil.rmtree(bundles.open(digest).path)
    assert not bundles.exists(digest)
    with pytest.raises(BundleBroken, match="not on disk"):
        bundles.open(digest)
    assert not bundles.has(digest)


@pytest.mark.parametrize("name", ["../../etc", "", "A" * 64, "0" * 63])
def test_only_a_digest_names_a_bundle(bundles, name):
    with pytest.raises(BundleBroken, match="SHA-256"):
        bundles.open(name)


def test_a_cut_file_or_a_changed_description_is_seen_at_once(bundles, folder):
    digest = bundles.add(folder, SPEC)
    bundle = bundles.open(digest)
    (bundle.folder / "model.skops").write_bytes(b"weigh")
    with pytest.raises(BundleBroken, match="5 bytes, not 7"):
        bundles.open(digest)
    (bundle.path / "bundle.json").write_text("{}")
    with pytest.raises(BundleBroken, match="changed"):
        bundles.open(digest)


def test_verify_reads_every_byte(bundles, folder):
    digest = bundles.add(folder, SPEC)
    assert digest == bundles.verify(digest).digest
    (bundles.open(digest).folder / "model.skops").write_bytes(b"WEIGHTS")
    with pytest.raises(BundleBroken, match=r"model\.skops .* was changed"):
        bundles.verify(digest)


def test_a_changed_bundle_is_gone_for_all_until_it_is_made_again(bundles, folder):
    digest = bundles.add(folder, SPEC)
    weights = bundles.open(digest).folder / "model.skops"
    weights.write_bytes(b"WEIGHTS")
    assert bundles.exists(digest)
    assert not bundles.has(digest)
    assert not bundles.exists(digest)
    assert b"WEIGHTS" == weights.read_bytes(), "who loaded it before goes on"
    assert digest == bundles.add(folder, SPEC)
    assert b"weights" == (bundles.verify(digest).folder / "model.skops").read_bytes()


def test_a_broken_bundle_is_replaced(bundles, folder, tmp_path):
    digest = bundles.add(folder, SPEC)
    (bundles.open(digest).folder / "model.skops").unlink()
    assert digest == bundles.add(folder, SPEC)
    assert digest == bundles.verify(digest).digest
    assert [digest] == names(tmp_path / "bundles")


def test_a_symlink_is_never_stored(bundles, folder, tmp_path):
    (folder / "link").symlink_to("/etc/passwd")
    with pytest.raises(ValueError, match="neither a file nor a folder"):
        bundles.add(folder, SPEC)
    assert [] == names(tmp_path / "bundles")


def test_several_writers_of_one_bundle_do_not_disturb_each_other(bundles, folder, tmp_path):
    with ThreadPoolExecutor(8) as pool:
        digests = set(pool.map(lambda _: bundles.add(folder, SPEC), range(16)))
    assert 1 == len(digests)
    assert list(digests) == names(tmp_path / "bundles")


def test_a_graph_lies_beside_the_files(tmp_path):
    """It is part of the digest, and a change of it is seen."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.pkl").write_bytes(b"pickle")
    bundles = Bundles(tmp_path / "store")
    (tmp_path / "graph").write_bytes(b"graph")
    plain, compiled = bundles.add(folder, {}), bundles.add(folder, {}, tmp_path / "graph")

    assert plain != compiled
    assert bundles.open(plain).graph is None
    graph = bundles.verify(compiled).graph
    assert graph is not None
    assert b"graph" == graph.read_bytes()
    graph.write_bytes(b"grapf")
    with pytest.raises(BundleBroken, match=r"compiled\.onnx"):
        bundles.verify(compiled, graph_only=True)
    assert compiled == bundles.add(folder, {}, tmp_path / "graph")
    graph.unlink()
    assert not bundles.has(compiled)

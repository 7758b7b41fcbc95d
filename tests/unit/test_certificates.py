"""Certificate files: what is wrong is said, and what is right is followed."""

import os
from pathlib import Path

import pytest

from pushserve_server.access.certificates import CertificateFiles, CertificateWatch
from pushserve_server.config import load_settings
from pushserve_server.settings import ConfigError, Settings
from tests.fixtures.certificates import Authority


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path / "tls")


@pytest.fixture
def files(authority):
    return CertificateFiles(*authority.write(), authority.file)


def refused(files: CertificateFiles) -> str:
    with pytest.raises(ConfigError) as caught:
        files.read()
    return str(caught.value)


def test_good_files_are_read(authority, files):
    found = files.read()
    assert files.chain.read_bytes() == found.chain
    assert files.key.read_bytes() == found.key
    assert authority.pem == found.client_ca


def test_a_chain_with_an_intermediate_is_read(tmp_path):
    root = Authority(tmp_path / "root")
    middle = Authority(tmp_path / "middle")
    middle.ca = root.ca.create_child_ca()
    chain, key = middle.write()
    assert 2 == chain.read_bytes().count(b"BEGIN CERTIFICATE")
    assert CertificateFiles(chain, key, None).read()


def test_a_file_that_is_not_there(files):
    files.key.unlink()
    assert f"tls_key: {files.key} cannot be read: No such file or directory" == refused(files)


@pytest.mark.parametrize("name", ["chain", "client_ca"])
@pytest.mark.parametrize("content", [b"", b"nonsense", b"\xff\xfe", b"-----BEGIN CERTIFICATE-----"])
def test_what_is_no_certificate(files, name, content):
    path = getattr(files, name)
    path.write_bytes(content)
    setting = {"chain": "tls_certificate", "client_ca": "tls_client_ca"}[name]
    assert f"{setting}: {path} holds no certificate in PEM form" == refused(files)


def test_a_folder_is_no_file(files, tmp_path):
    assert "Is a directory" in refused(CertificateFiles(tmp_path, files.key, None))


def test_a_device_without_end_is_not_read_to_its_end(files):
    assert "is larger than 1 MiB" in refused(CertificateFiles(Path("/dev/zero"), files.key, None))


def test_the_key_of_another_certificate(authority, files):
    files.key.write_bytes(authority.issue()[1])
    said = f"tls_key: {files.key} is not the key of the certificate in {files.chain}"
    assert said == refused(files)


def test_files_the_wrong_way_round(files):
    said = refused(CertificateFiles(files.key, files.chain, None))
    assert f"tls_certificate: {files.key} holds no certificate in PEM form" == said


def test_no_key(files):
    files.key.write_bytes(files.chain.read_bytes())
    assert f"tls_key: {files.key} holds no private key in PEM form" == refused(files)


def test_half_a_key(files):
    files.key.write_bytes(files.key.read_bytes()[:80])
    assert f"tls_key: {files.key} holds no private key that can be used" == refused(files)


def test_an_encrypted_key_is_not_asked_for_at_the_terminal(files):
    from cryptography.hazmat.primitives import serialization as pem

    key = pem.load_pem_private_key(files.key.read_bytes(), None)
    files.key.write_bytes(
        key.private_bytes(
            pem.Encoding.PEM, pem.PrivateFormat.PKCS8, pem.BestAvailableEncryption(b"x")
        )
    )
    assert f"tls_key: {files.key} is encrypted" in refused(files)


def test_an_expired_certificate(authority, files):
    authority.write(days=-1)
    assert f"tls_certificate: the certificate in {files.chain} has expired" == refused(files)


def test_a_watch_gives_what_has_changed_once(authority, files):
    watch = CertificateWatch(files)
    assert watch.changed() is None
    authority.write()
    found = watch.changed()
    assert found is not None
    assert files.chain.read_bytes() == found.chain
    assert watch.changed() is None


def test_what_was_only_touched_has_not_changed(files):
    watch = CertificateWatch(files)
    os.utime(files.chain)
    assert watch.changed() is None


def test_a_bad_change_is_said_once_and_the_old_ones_stay(authority, files, caplog):
    watch = CertificateWatch(files)
    before = watch.current
    chain, key = authority.issue()
    files.chain.write_bytes(chain)  # its key comes later
    assert watch.changed() is None
    assert watch.changed() is None
    assert before == watch.current
    said = f"tls_key: {files.key} is not the key of the certificate in {files.chain}"
    assert [f"{said}; the certificate of before stays in use"] == caplog.messages
    files.key.write_bytes(key)
    found = watch.changed()
    assert found is not None
    assert (chain, key) == (found.chain, found.key)


def test_a_file_that_is_gone_leaves_the_old_ones(files, caplog):
    watch = CertificateWatch(files)
    files.client_ca.unlink()
    assert watch.changed() is None
    assert "tls_client_ca" in caplog.text


def test_a_link_that_points_elsewhere_is_a_change(authority, files, tmp_path):
    """As Kubernetes renews what a volume of a Secret holds."""
    for generation in ("1", "2"):
        folder = tmp_path / generation
        folder.mkdir()
        chain, key = authority.issue()
        (folder / "tls.crt").write_bytes(chain)
        (folder / "tls.key").write_bytes(key)
    link = tmp_path / "..data"
    link.symlink_to("1")
    watch = CertificateWatch(CertificateFiles(link / "tls.crt", link / "tls.key", None))
    new = tmp_path / "new"
    new.symlink_to("2")
    new.replace(link)
    found = watch.changed()
    assert found is not None
    assert (tmp_path / "2" / "tls.crt").read_bytes() == found.chain


def test_without_files_there_is_no_tls():
    assert CertificateFiles.of(Settings()) is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"tls_certificate": "a.pem"}, "tls_key: TLS needs both tls_certificate and tls_key"),
        ({"tls_key": "a.key"}, "tls_certificate: TLS needs both tls_certificate and tls_key"),
        ({"tls_client_ca": "ca.pem"}, "tls_client_ca: without tls_certificate and tls_key"),
    ],
)
def test_half_of_tls_is_refused(given, said):
    with pytest.raises(ConfigError) as caught:
        load_settings(given)
    assert said in str(caught.value)

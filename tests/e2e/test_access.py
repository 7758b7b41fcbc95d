"""Who may call a server: real processes, files and commands."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.fixtures.certificates import Authority
from tests.fixtures.served import PROGRAM, Served, start, stop, until


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def served(authority, tmp_path_factory):
    chain, key = authority.write()
    settings = {
        "tls_certificate": chain,
        "tls_key": key,
        "tls_client_ca": authority.file,
        "frontends": 1,
    }
    folder = tmp_path_factory.mktemp("server") / "data"
    server = start(folder, "", settings, credentials=authority.credentials(named=True))
    yield server
    stop(server)


def run(*words: object, **environment: object) -> subprocess.CompletedProcess[str]:
    """Run a command of pushserve's."""
    plain = {k: v for k, v in os.environ.items() if not k.startswith("PUSHSERVE_")}
    return subprocess.run(
        [PROGRAM, *map(str, words)],
        env={**plain, **{name: str(value) for name, value in environment.items()}},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_bad_file_is_one_sentence_at_start(authority, tmp_path):
    chain, key = authority.issue()
    (tmp_path / "server.pem").write_bytes(chain)
    done = run(
        "serve",
        PUSHSERVE_LISTEN="127.0.0.1:0",
        PUSHSERVE_DATA_DIR=tmp_path / "data",
        PUSHSERVE_TLS_CERTIFICATE=tmp_path / "server.pem",
        PUSHSERVE_TLS_KEY=tmp_path / "server.key",
    )
    assert 1 == done.returncode
    wanted = f"error: tls_key: {tmp_path}/server.key cannot be read: No such file or directory\n"
    assert wanted == done.stderr
    assert key not in done.stderr.encode()


def test_a_hangup_says_what_is_wrong_with_a_certificate_and_ends_nothing(
    served: Served, authority: Authority
):
    path = Path(served.settings["PUSHSERVE_TLS_CERTIFICATE"])
    good = path.read_bytes()
    path.write_text("nonsense")
    os.kill(served.process.pid, signal.SIGHUP)
    said = f"ERROR   supervisor  pushserve_server.access.certificates: tls_certificate: {path}"
    until(lambda: said in served.log.read_text())
    until(lambda: "SIGHUP: new connections get" in served.log.read_text())
    path.write_bytes(good)
    assert served.process.poll() is None

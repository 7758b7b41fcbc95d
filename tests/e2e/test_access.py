"""Who may call a server: real processes, files and commands."""

import json
import os
import signal
import subprocess
import time
from datetime import datetime
from pathlib import Path

import grpc
import pytest

from pushserve.v1 import model_service_pb2 as pb
from pushserve.v1 import model_service_pb2_grpc as pb_grpc
from pushserve_server.domain.access_token import is_token
from tests.fixtures import models
from tests.fixtures.certificates import Authority
from tests.fixtures.served import PROGRAM, Served, start, stop, until
from tests.fixtures.tokens import bearer

ROW = [[5.1, 3.5, 1.4, 0.2]]


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


@pytest.fixture(scope="module")
def guarded(tmp_path_factory, hub):
    """A server with tokens, a token file, and one model that a token may be for."""
    folder = tmp_path_factory.mktemp("guarded") / "data"
    settings = {"require_tokens": True, "token_file": folder / "admin.token", "frontends": 2}
    server = start(folder, f'[[sources]]\nurl = "{hub.address}/*"\ntrust = "code"\n', settings)
    yield server
    stop(server)


def admin_token(server: Served) -> str:
    return Path(server.settings["PUSHSERVE_TOKEN_FILE"]).read_text().strip()


def create(server: Served, *words: str) -> str:
    done = run("token", "create", "test", *words, PUSHSERVE_DATA_DIR=server.data_dir)
    assert 0 == done.returncode, done.stderr
    return done.stdout.strip()


def code(call) -> grpc.StatusCode:
    """Give how a call ends, on connections to all frontends: each call makes one of its own."""
    try:
        call()
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def asked(server: Served, token: str, times: int = 8) -> set[grpc.StatusCode]:
    """List by new connections, so that every frontend is asked."""
    found = set()
    for _ in range(times):
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(server.address, options) as channel:
            stub = pb_grpc.ModelServiceStub(channel)
            request = pb.ListRequest()
            found.add(code(lambda s=stub, r=request: s.List(r, metadata=bearer(token), timeout=20)))
    return found


OK, UNAUTHENTICATED = {grpc.StatusCode.OK}, {grpc.StatusCode.UNAUTHENTICATED}


def test_the_first_token_is_made_at_start_and_shown_nowhere(guarded: Served):
    path = Path(guarded.settings["PUSHSERVE_TOKEN_FILE"])
    assert 0o600 == path.stat().st_mode & 0o777
    assert is_token(admin_token(guarded))
    assert OK == asked(guarded, admin_token(guarded))
    assert UNAUTHENTICATED == asked(guarded, "")
    assert admin_token(guarded) not in guarded.log.read_text()


def test_a_token_counts_and_is_revoked_without_a_restart(guarded: Served):
    token = create(guarded, "--scope", "read")
    until(lambda: OK == asked(guarded, token))
    done = run("token", "revoke", token[4:16], PUSHSERVE_DATA_DIR=guarded.data_dir)
    assert 0 == done.returncode
    until(lambda: UNAUTHENTICATED == asked(guarded, token))
    assert OK == asked(guarded, admin_token(guarded))


def test_a_token_for_one_model_predicts_with_no_other(guarded: Served, hub):
    metadata = bearer(admin_token(guarded))
    names = ("mine", "theirs")
    for name in names:
        repo = hub.create(name)
        repo.commit(models.answering_files("v1"))
        reply = guarded.stub.Register(
            pb.RegisterRequest(source=repo.url), metadata=metadata, timeout=20
        )
        watch = pb.WatchDeploymentRequest(name=reply.deployment.name)
        *_, last = guarded.stub.WatchDeployment(watch, metadata=metadata, timeout=60)
        assert pb.DEPLOYMENT_STATE_READY == last.deployment.state, last
    token = create(guarded, *("--scope", "predict", "--scope", "read", "--model", "mine"))
    until(lambda: OK == asked(guarded, token))
    stub, metadata = guarded.stub, bearer(token)

    def predict(model: str, **target):
        tensor = pb.Tensor(shape=[1, len(ROW[0])], values=ROW[0])
        request = pb.PredictRequest(model=model, tensor=tensor, **target)
        return code(lambda: stub.Predict(request, metadata=metadata, timeout=20))

    assert grpc.StatusCode.OK == predict("mine")
    assert grpc.StatusCode.OK == predict("mine", version=1)
    for model in ("theirs", "nothing", "", "MINE"):
        assert grpc.StatusCode.PERMISSION_DENIED == predict(model)
    assert grpc.StatusCode.PERMISSION_DENIED == predict("theirs", version=1)
    items = [
        pb.PredictStreamRequest(
            request=pb.PredictRequest(
                model=name, tensor=pb.Tensor(shape=[1, len(ROW[0])], values=ROW[0])
            )
        )
        for name in names
    ]
    replies = list(stub.PredictStream(iter(items), metadata=metadata, timeout=20))
    assert ["", "MODEL_NOT_ALLOWED"] == [reply.error.reason for reply in replies]
    listed = stub.List(pb.ListRequest(), metadata=metadata, timeout=20).models
    assert ["mine"] == [model.name for model in listed]
    deployments = stub.ListDeployments(
        pb.ListDeploymentsRequest(), metadata=metadata, timeout=20
    ).deployments
    assert {"mine"} == {one.model for one in deployments}
    denied = grpc.StatusCode.PERMISSION_DENIED
    assert denied == code(
        lambda: stub.Get(pb.GetRequest(model="theirs"), metadata=metadata, timeout=20)
    )


def test_last_use_is_there_when_a_server_has_stopped(tmp_path):
    server = start(tmp_path / "data", "", {"require_tokens": True, "frontends": 1})
    try:
        assert "calls need a token, and there is none yet" in server.log.read_text()
        token = create(server, "--scope", "read")
        until(lambda: OK == asked(server, token, 1))
        before = time.time()
        assert OK == asked(server, token, 1)
    finally:
        stop(server)
    done = run("token", "list", "--json", PUSHSERVE_DATA_DIR=server.data_dir)
    (shown,) = json.loads(done.stdout)
    used = datetime.fromisoformat(shown["last_used_at"]).timestamp()
    assert before <= used <= time.time()
    assert token.rpartition("_")[2] not in server.log.read_text()

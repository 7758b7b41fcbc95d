"""Who may call a server: real processes, files and commands."""

import asyncio
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
from pushserve_client import AsyncClient, Client
from pushserve_client.errors import PermissionDenied
from pushserve_server.domain.access_token import is_token
from tests.fixtures import models
from tests.fixtures.certificates import Authority
from tests.fixtures.github import deliver, push_event
from tests.fixtures.served import PROGRAM, Served, start, stop, until
from tests.fixtures.tokens import bearer

STRAY = "psv_0123456789ab_" + "a" * 64
ROW = [[5.1, 3.5, 1.4, 0.2]]


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def served(authority, tmp_path_factory, hub):
    """A server with everything: TLS, callers' certificates, tokens."""
    chain, key = authority.write()
    folder = tmp_path_factory.mktemp("server") / "data"
    settings = {
        "tls_certificate": chain,
        "tls_key": key,
        "tls_client_ca": authority.file,
        "require_tokens": True,
        "token_file": folder / "admin.token",
        "frontends": 1,
    }
    server = start(
        folder,
        f'[[sources]]\nurl = "{hub.address}/*"\ntrust = "code"\n',
        settings,
        # As an operator might, who has both in one shell; no process of the server needs it.
        environment={"PUSHSERVE_TOKEN": STRAY},
        credentials=authority.credentials(named=True),
    )
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


@pytest.mark.long
def test_doctor_knows_a_server_with_tls_and_says_what_is_open(served: Served):
    settings = {**served.settings, "PUSHSERVE_LISTEN": served.address}
    done = run("doctor", **settings)
    assert f"{served.address}: a server runs there" in done.stdout
    assert "TLS, and callers show certificates, tokens are asked for" in done.stdout
    bad = {**settings, "PUSHSERVE_TLS_KEY": served.settings["PUSHSERVE_TLS_CERTIFICATE"]}
    assert "holds no private key in PEM form" in run("doctor", **bad).stdout
    plain = run("doctor", PUSHSERVE_DATA_DIR=served.data_dir, PUSHSERVE_LISTEN="127.0.0.1:0")
    assert "no TLS, no token is asked for" in plain.stdout


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


@pytest.mark.long
@pytest.mark.long
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


@pytest.fixture(scope="module")
def caller(authority):
    """Files that say who calls."""
    return authority.write("caller@example.com", prefix="caller")


@pytest.fixture
def command(served: Served, authority: Authority, caller):
    """Run a command for the server with everything."""
    certificate, key = caller

    def call(*words: object, token: str = "", **environment: object):
        if token:
            environment["PUSHSERVE_TOKEN"] = token
        options = ("--server", served.address, "--ca", authority.file)
        return run(*options, "--cert", certificate, "--key", key, *words, **environment)

    return call


@pytest.mark.long
def test_the_command_speaks_mutual_tls_and_sends_its_token(served, command, hub, authority):
    repo = hub.create("by-command")
    repo.commit(models.answering_files("v1"))
    token = admin_token(served)
    done = command("register", repo.url, token=token)
    assert 0 == done.returncode, done.stderr
    done = command("predict", "by-command", "--data", json.dumps(ROW), token=token)
    assert 0 == done.returncode, done.stderr
    assert "v1-setosa" in done.stdout
    assert token not in done.stdout + done.stderr

    done = command("list")
    assert 1 == done.returncode
    assert "this server asks for a token" in done.stderr
    assert "Set PUSHSERVE_TOKEN" in done.stderr
    done = command("list", token=token[:-1] + "x")
    assert "this server does not know this token" in done.stderr
    assert token[17:40] not in done.stderr

    # The caller's certificate is missing, TLS is, and the CA is.
    for options in (("--ca", authority.file), ("--tls",), ()):
        done = run("--server", served.address, *options, "list", PUSHSERVE_TOKEN=token)
        assert 1 == done.returncode
        assert "Traceback" not in done.stderr
        assert token not in done.stderr
    assert "not one to trust" in run("--server", served.address, "--tls", "list").stderr


@pytest.mark.long
def test_a_profile_says_all_of_it(served, authority, caller, tmp_path):
    certificate, key = caller
    profile = tmp_path / "profile"
    profile.touch(0o600)
    profile.write_text(
        f"[pushserve]\nserver = {served.address}\nca = {authority.file}\n"
        f"certificate = {certificate}\nkey = {key}\ntoken = {admin_token(served)}\n"
    )
    assert 0 == run("--profile", profile, "list").returncode
    assert 0 == run("list", PUSHSERVE_PROFILE=profile).returncode
    (tmp_path / "config" / "pushserve").mkdir(parents=True)
    profile.rename(tmp_path / "config" / "pushserve" / "profile")
    profile = tmp_path / "config" / "pushserve" / "profile"
    assert 0 == run("list", XDG_CONFIG_HOME=tmp_path / "config").returncode
    profile.chmod(0o644)
    done = run("list", XDG_CONFIG_HOME=tmp_path / "config")
    assert 2 == done.returncode
    assert "is open to others than its owner" in done.stderr
    assert admin_token(served) not in done.stderr


def test_both_clients_speak_it(served, authority, caller):
    certificate, key = caller
    how = {
        "token": admin_token(served),
        "ca": authority.file,
        "certificate": certificate,
        "key": key,
    }
    with Client(served.address, **how) as client:
        assert client.is_serving()
        assert client.info().version
    with Client(served.address, **{**how, "token": None}) as client:
        assert client.is_serving()  # health is open
        with pytest.raises(PermissionDenied) as caught:
            client.info()
        assert "TOKEN_MISSING" == caught.value.reason

    async def use() -> None:
        async with AsyncClient(served.address, **how) as client:
            assert (await client.info()).version
            assert isinstance([model.name async for model in client.list()], list)

    asyncio.run(use())


@pytest.mark.long
def test_the_webhook_calls_by_its_token_and_takes_a_new_one(
    served, authority, caller, hub, tmp_path
):
    repo = hub.create("by-webhook")
    repo.commit(models.answering_files("v1"))
    certificate, key = caller
    file = tmp_path / "webhook.token"
    data = {"PUSHSERVE_DATA_DIR": served.data_dir}
    made = [
        run("token", "create", "hook", "--scope", scope, **data).stdout
        for scope in ("read", "deploy")
    ]
    file.write_text(made[0])
    url = served.webhook(
        webhook_token_file=file,
        webhook_server_ca=authority.file,
        webhook_server_certificate=certificate,
        webhook_server_key=key,
    )

    def push() -> tuple[int, dict]:
        return deliver(url, push_event(repo))

    def refused() -> str | None:
        status, answer = push()
        assert 502 == status, answer
        assert "TOKEN_REFUSED" == answer["error"]["reason"]
        log = (served.data_dir / "webhook-0.log").read_text()
        return "the server refuses the webhook's token (SCOPE_MISSING)" in log

    until(refused)
    file.write_text("psv_nonsense")
    assert 502 == push()[0]
    file.write_text(made[1])
    _, answer = until(lambda: (found := push())[0] == 202 and found)
    assert "by-webhook" in answer["source"]
    log = (served.data_dir / "webhook-0.log").read_text()
    assert not [token for token in made if token.strip()[17:] in log]


@pytest.mark.long
def test_a_webhook_whose_token_cannot_be_read_does_not_start(tmp_path):
    done = run(
        "webhook",
        PUSHSERVE_WEBHOOK_SECRET="x",
        PUSHSERVE_WEBHOOK_LISTEN="127.0.0.1:0",
        PUSHSERVE_WEBHOOK_TOKEN_FILE=tmp_path / "none",
    )
    assert 1 == done.returncode
    wanted = f"webhook_token_file: {tmp_path}/none cannot be read: No such file or directory"
    assert wanted in done.stderr
    assert "Traceback" not in done.stderr


SPY = """
import glob, os

def predict(input):
    seen = [dict(os.environ)]
    for path in glob.glob("/proc/[0-9]*/environ") + glob.glob("/proc/[0-9]*/cmdline"):
        try:
            seen.append(open(path).read())
        except OSError:
            continue
    for folder in FOLDERS:
        for top, _, files in os.walk(folder):
            for name in files:
                try:
                    seen.append(open(os.path.join(top, name)).read())
                except (OSError, ValueError):
                    continue
    return {"seen": str(seen), "asked": input["x"]}
"""


def test_no_secret_reaches_a_model_a_process_list_or_the_log(served, command, hub, authority):
    """A predict.py that gives back whatever it can find, while calls with tokens come."""
    folders = [str(served.data_dir), str(authority.folder)]
    repo = hub.create("spy")
    repo.commit(
        {
            "predict.py": SPY.replace("FOLDERS", repr(folders)),
            "examples.json": json.dumps([{"input": {"x": 1}}]),
        }
    )
    token = admin_token(served)
    done = command("register", repo.url, token=token)
    assert 0 == done.returncode, done.stderr
    done = command("predict", "spy", "--data", '[{"x": 1}]', "--format", "json", token=token)
    assert 0 == done.returncode, done.stderr
    assert "PATH" in done.stdout or "LANG" in done.stdout or "seen" in done.stdout
    key = Path(served.settings["PUSHSERVE_TLS_KEY"]).read_text()
    secrets = {"a token": token[17:], "the stray token": STRAY[17:], "the key": key[40:90]}
    processes = {served.process.pid: "", **served.children()}
    shown = {
        "the model": done.stdout,
        "the server's log": served.log.read_text(),
        **{
            f"{what} of {pid}": Path(f"/proc/{pid}/{what}").read_text()
            for pid in processes
            for what in ("cmdline", "environ")
        },
    }
    assert len(processes) > 4
    found = [
        (name, where)
        for where, text in shown.items()
        for name, secret in secrets.items()
        if secret in text
    ]
    assert [] == found

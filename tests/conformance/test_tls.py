"""TLS on the port, by both transports and real clients; certificates that change under load."""

import socket
import ssl
import threading
from pathlib import Path

import grpc
import pytest

from pushserve.v1 import model_service_pb2 as pb
from pushserve.v1 import model_service_pb2_grpc as pb_grpc
from pushserve_server.settings import ConfigError
from tests.fixtures.certificates import Authority
from tests.fixtures.served import until
from tests.fixtures.transports import TRANSPORTS, Holding, answer, named, running, streamed


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path / "tls")


@pytest.fixture
def files(authority):
    chain, key = authority.write()
    return {"tls_certificate": str(chain), "tls_key": str(key)}


def new_channel(server, credentials):
    # Else gRPC gives two channels to one address one connection.
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
    return grpc.secure_channel(server.address, credentials, options)


def ask(server, credentials) -> str:
    with new_channel(server, credentials) as channel:
        return pb_grpc.ModelServiceStub(channel).Predict(named("iris"), timeout=10).model


def refused(server, credentials) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as caught:
        ask(server, credentials)
    return caught.value.code()


def certificate_shown(server, authority) -> bytes:
    """Give what a new connection is shown, as DER."""
    context = ssl.create_default_context(cadata=authority.pem.decode())
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("127.0.0.1", server.port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        assert "h2" == secure.selected_alpn_protocol()
        return secure.getpeercert(binary_form=True) or b""


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_calls_of_every_kind_go_over_tls(transport, authority, files):
    with (
        running(transport, **files) as server,
        new_channel(server, authority.credentials()) as channel,
    ):
        stub = pb_grpc.ModelServiceStub(channel)
        assert "iris" == stub.Predict(named("iris"), timeout=10).model
        assert "x" == stub.List(pb.ListRequest(name_prefix="x"), timeout=10).next_page_token
        replies = stub.PredictStream(streamed("a", "b"), timeout=10)
        assert ["a", "b"] == [reply.response.model for reply in replies]
        watch = stub.WatchDeployment(pb.WatchDeploymentRequest(name="d"), timeout=10)
        assert ["d 0", "d 1", "d 2"] == [reply.deployment.name for reply in watch]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_who_speaks_no_tls_or_trusts_somebody_else_gets_nothing(
    transport, authority, files, tmp_path
):
    with running(transport, **files) as server:
        stub = pb_grpc.ModelServiceStub(server.channel)  # without TLS
        with pytest.raises(grpc.RpcError) as caught:
            stub.Predict(named("iris"), timeout=10)
        assert grpc.StatusCode.UNAVAILABLE == caught.value.code()
        stranger = Authority(tmp_path / "stranger").credentials()
        assert grpc.StatusCode.UNAVAILABLE == refused(server, stranger)
        assert "iris" == ask(server, authority.credentials())


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_callers_have_to_show_a_certificate_of_the_client_ca(transport, authority, files, tmp_path):
    callers = Authority(tmp_path / "callers", "callers")
    with running(transport, **files, tls_client_ca=str(callers.file)) as server:
        chain, key = callers.issue("ci@example.com")
        assert "iris" == ask(server, grpc.ssl_channel_credentials(authority.pem, key, chain))
        assert grpc.StatusCode.UNAVAILABLE == refused(server, authority.credentials())
        # Signed by the CA of the server's certificate, which is not the one for callers.
        assert grpc.StatusCode.UNAVAILABLE == refused(server, authority.credentials(named=True))
        chain, key = callers.issue("ci@example.com", days=-1)
        expired = grpc.ssl_channel_credentials(authority.pem, key, chain)
        assert grpc.StatusCode.UNAVAILABLE == refused(server, expired)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_new_certificate_is_shown_to_the_next_connection_and_no_call_is_lost(
    transport, authority, files
):
    held = Holding()
    with running(transport, held, **files) as server:
        first = certificate_shown(server, authority)
        with new_channel(server, authority.credentials()) as channel:
            stub = pb_grpc.ModelServiceStub(channel)
            under_way = stub.Predict.future(named("before"), timeout=20)
            until(lambda: ["before"] == held.names())
            authority.write()
            second = certificate_shown(server, authority)
            assert first != second
            leaf = Path(files["tls_certificate"]).read_text()
            assert ssl.PEM_cert_to_DER_cert(leaf) == second
            # On the connection of before, in the middle of a call and with a new one.
            after = stub.Predict.future(named("after"), timeout=20)
            until(lambda: ["before", "after"] == held.names())
            for call in held.calls:
                answer(call)
            assert "before" == under_way.result().model
            assert "after" == after.result().model


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_bad_new_certificate_leaves_the_old_one(transport, authority, files, caplog):
    with running(transport, **files) as server:
        first = certificate_shown(server, authority)
        Path(files["tls_key"]).write_bytes(authority.issue()[1])
        assert first == certificate_shown(server, authority)
        assert "iris" == ask(server, authority.credentials())
        assert f"tls_key: {files['tls_key']} is not the key of the certificate" in caplog.text
        Path(files["tls_certificate"]).unlink()
        assert first == certificate_shown(server, authority)
        authority.write()
        assert first != certificate_shown(server, authority)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_new_client_ca_counts_for_new_connections(transport, authority, files, tmp_path):
    old, new = Authority(tmp_path / "a", "old"), Authority(tmp_path / "b", "new")
    ca = tmp_path / "clients.pem"
    ca.write_bytes(old.pem)

    def of(callers):
        chain, key = callers.issue("ci@example.com")
        return grpc.ssl_channel_credentials(authority.pem, key, chain)

    with running(transport, **files, tls_client_ca=str(ca)) as server:
        assert "iris" == ask(server, of(old))
        assert grpc.StatusCode.UNAVAILABLE == refused(server, of(new))
        ca.write_bytes(new.pem)
        assert "iris" == ask(server, of(new))
        assert grpc.StatusCode.UNAVAILABLE == refused(server, of(old))


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_no_call_fails_while_certificates_change(transport, authority, files):
    """Callers who connect anew for each call, and one who stays, over 20 certificates."""
    done = threading.Event()
    failed: list[Exception] = []
    calls = [0, 0]

    def call_on(which: int) -> None:
        credentials = authority.credentials()
        try:
            with new_channel(server, credentials) as lasting:
                stub = pb_grpc.ModelServiceStub(lasting)
                while not done.is_set():
                    if which:
                        stub.Predict(named("iris"), timeout=10)
                    else:
                        ask(server, credentials)
                    calls[which] += 1
        except grpc.RpcError as error:
            failed.append(error)

    with running(transport, **files) as server:
        threads = [threading.Thread(target=call_on, args=(which,)) for which in (0, 1)]
        for thread in threads:
            thread.start()
        for _ in range(20):
            authority.write()
            before = calls[0]
            until(lambda before=before: failed or calls[0] > before + 1)
        done.set()
        for thread in threads:
            thread.join(30)
    assert [] == failed
    assert min(calls) > 20


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_server_does_not_listen_with_bad_files(transport, files):
    files["tls_key"] += ".not-there"
    with (
        pytest.raises(ConfigError, match=r"tls_key: .*\.not-there cannot be read"),
        running(transport, **files),
    ):
        pass

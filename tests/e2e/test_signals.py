"""Signals that come on each other's heels."""

import signal

import pytest

from tests.fixtures.served import start, stop


@pytest.mark.long
def test_many_signals_stop_a_server_as_one_does(tmp_path):
    server = start(tmp_path / "data", "")
    for _ in range(50):
        server.process.send_signal(signal.SIGTERM)
        server.process.send_signal(signal.SIGINT)
    stop(server)
    assert 0 == server.process.returncode

"""A real webhook process in front of a fake model server."""

import hashlib
import hmac
import http.client
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fixtures.fake_service import FakeServer

SECRET = "It's a Secret to Everybody"
PAYLOADS = Path(__file__).parent / "payloads"


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


class Webhook:
    """A webhook process; `log` is what it has written."""

    def __init__(self, server: str, **environment: str) -> None:
        self.log: list[str] = []
        plain = {k: v for k, v in os.environ.items() if not k.startswith("PUSHSERVE_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pushserve_webhook.main"],
            stderr=subprocess.PIPE,
            text=True,
            env=plain
            | {
                "PUSHSERVE_WEBHOOK_LISTEN": "127.0.0.1:0",
                "PUSHSERVE_WEBHOOK_SERVER": server,
                "PUSHSERVE_WEBHOOK_SECRET": SECRET,
            }
            | environment,
        )
        self.port = self._read_port()
        self._reader = threading.Thread(target=self._read_log)
        self._reader.start()

    def _read_port(self) -> int:
        for line in self.process.stderr:
            self.log.append(line)
            if found := re.search(r"listening on \S+:(\d+)", line):
                return int(found[1])
        raise AssertionError("".join(self.log))

    def _read_log(self) -> None:
        self.log.extend(self.process.stderr)

    def request(self, method: str, path: str, body: bytes | None = None, **headers) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            names = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body=body, headers=names)
            reply = connection.getresponse()
            return Answer(reply.status, dict(reply.getheaders()), reply.read())
        finally:
            connection.close()

    def deliver(self, body: bytes, event: str | None = "push", **headers) -> Answer:
        """Send an event as GitHub does, signed unless the test brings a signature."""
        signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        given = {
            "Content_Type": "application/json",
            "User_Agent": "GitHub-Hookshot/044aadd",
            "X_GitHub_Delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
            "X_Hub_Signature_256": f"sha256={signature}",
        }
        if event is not None:
            given["X_GitHub_Event"] = event
        merged = {k: v for k, v in (given | headers).items() if v is not None}
        return self.request("POST", "/webhook/github", body, **merged)

    def stop(self) -> int:
        """End it as an operator does; gives the exit code."""
        self.process.terminate()
        code = self.process.wait(timeout=20)
        self._reader.join(timeout=5)
        self.process.stderr.close()
        return code


def payload(name: str) -> bytes:
    return (PAYLOADS / f"{name}.json").read_bytes()


@pytest.fixture(scope="module")
def shared_server() -> Iterator[FakeServer]:
    server = FakeServer()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def webhook(shared_server) -> Iterator[Webhook]:
    webhook = Webhook(shared_server.address)
    yield webhook
    webhook.stop()


@pytest.fixture
def service(shared_server):
    """What arrived since the test began, and faults for its calls."""
    shared_server.service.requests.clear()
    yield shared_server.service
    shared_server.service.faults.clear()

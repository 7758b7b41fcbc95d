"""docs/getting-started.md: its files are written and its commands run, as a reader would."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.served import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "getting-started.md"
DEMO = ROOT / "examples" / "demo.py"
_BLOCK = re.compile(r"^```(\w+)(?: file=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ADDRESS = "127.0.0.1:50051"
"""What the page and the defaults say; the test has a port of its own."""


def free_port() -> int:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        return int(holder.getsockname()[1])


@pytest.fixture
def demo(tmp_path):
    """What `make run` starts, in a folder that stands for a checkout, and an environment."""
    checkout = tmp_path / "pushserve"
    checkout.mkdir()
    (checkout / ".venv").symlink_to(sys.prefix)
    address, webhook = (f"127.0.0.1:{free_port()}" for _ in range(2))
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("PUSHSERVE_")},
        "PUSHSERVE_LISTEN": address,
        "PUSHSERVE_WEBHOOK_LISTEN": webhook,
        "PUSHSERVE_SERVER": address,
        "PUSHSERVE_FRONTENDS": "1",  # of which the page says nothing
        **{f"GIT_{who}_{what}": "someone@example.com"
           for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    }  # fmt: skip
    log = checkout / "demo.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, DEMO, "--root", checkout / ".run"],
            env=environment, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    try:
        until(lambda: "Ctrl-C stops" in log.read_text() or process.poll() is not None, 90)
        assert process.poll() is None, log.read_text()
        yield checkout, environment
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


@pytest.mark.parametrize(
    ("blocks", "versions"),
    [(8, ["1"]), pytest.param(None, ["1", "2", "1"], marks=pytest.mark.long)],
    ids=["to the first answer", "whole"],
)
def test_every_command_of_the_page(demo, blocks, versions):
    checkout, environment = demo
    script = ["set -e"]
    for kind, name, text in _BLOCK.findall(PAGE.read_text())[:blocks]:
        if kind == "python":
            script.append(f"cat > {name} <<'PAGE'\n{text}PAGE")
        elif kind == "sh":
            script.append(f"echo '$'; {text}")
    text = "\n".join(script).replace(ADDRESS, environment["PUSHSERVE_SERVER"])
    # The target's own line, but for the folder, which is this checkout's in the page.
    target = f"{sys.executable} {DEMO} --root {checkout}/.run --repository churn"
    assert 1 == text.count("make --silent repository NAME=churn")
    text = text.replace("make --silent repository NAME=churn", target)
    done = subprocess.run(
        ["bash", "-c", text], cwd=checkout, env=environment,
        capture_output=True, text=True, check=False, timeout=180,
    )  # fmt: skip
    assert 0 == done.returncode, done.stdout + done.stderr
    answers = re.findall(r"^([12]) \['(\w+)', '(\w+)'\]$", done.stdout, re.MULTILINE)
    assert versions == [version for version, *_ in answers]
    assert {("stays", "leaves")} == {tuple(labels) for _, *labels in answers}
    assert len(set(versions)) == done.stdout.count("live: churn version")


@pytest.mark.parametrize("taken", ["PUSHSERVE_LISTEN", "PUSHSERVE_WEBHOOK_LISTEN"])
def test_the_demo_takes_no_other_server_for_its_own(tmp_path, taken):
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        ended = subprocess.run(
            [sys.executable, DEMO, "--root", tmp_path, "--once"],
            env={**os.environ, "PUSHSERVE_LISTEN": f"127.0.0.1:{free_port()}", taken: address},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert 1 == ended.returncode
    said = " ".join(ended.stdout.split())
    assert f"something listens on {address} already" in said
    assert f"{taken}=127.0.0.1:" in said

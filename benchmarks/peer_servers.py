"""The servers that pushserve is measured beside: installing, starting and ending them.

Each has an environment of its own below .bench/, made once with uv. The models are the same
joblib files for all, so scikit-learn is pinned to the version here.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import grpc
import joblib
import models
import processes
import wires
from subjects import Running

CACHE = Path(__file__).resolve().parent.parent / ".bench"
SCRIPTS = Path(__file__).with_name("peers")
READY_WITHIN = 90
"""Seconds that a peer may take to start."""


class LeftOut(Exception):
    """A peer cannot be measured here; the text says why."""


@dataclass(frozen=True)
class Peer:
    """A server: `command(python, room, ports)` starts it in `room`, which holds `models/`.

    It answers gRPC on the first of its three ports. Without `requirements` it runs in the
    environment of pushserve.
    """

    title: str
    wire: wires.Wire
    command: Callable[[Path, Path, list[int]], list[str]]
    requirements: tuple[str, ...] = ()


def _mlserver(
    settings: dict[str, Any], model_settings: dict[str, Any]
) -> Callable[[Path, Path, list[int]], list[str]]:
    def command(python: Path, room: Path, ports: list[int]) -> list[str]:
        addresses = {"host": "127.0.0.1"} | dict(
            zip(("grpc_port", "http_port", "metrics_port"), ports, strict=True)
        )
        (room / "settings.json").write_text(json.dumps(addresses | {"debug": False} | settings))
        for name in models.MODELS:
            parameters = {"uri": str(room / "models" / f"{name}.joblib"), "version": "1"}
            described = {
                "name": name,
                "implementation": "mlserver_sklearn.SKLearnModel",
                "parameters": parameters,
            }
            (room / name).mkdir()
            (room / name / "model-settings.json").write_text(json.dumps(described | model_settings))
        return [str(python.with_name("mlserver")), "start", str(room)]

    return command


def _script(name: str, ports: int) -> Callable[[Path, Path, list[int]], list[str]]:
    def command(python: Path, room: Path, given: list[int]) -> list[str]:
        return [str(python), str(SCRIPTS / name), *map(str, given[:ports]), str(room / "models")]

    return command


_MLSERVER = (
    "mlserver==1.7.1",
    "mlserver-sklearn==1.7.1",
    "uvloop<0.22",  # its parallel workers die with 0.22: no event loop in their main thread
)

PEERS = {
    "handwritten": Peer(
        "grpcio + sklearn by hand", wires.handwritten(), _script("handwritten.py", 1)
    ),
    "mlserver": Peer(
        "MLServer, default", wires.open_inference("predict_proba"), _mlserver({}, {}), _MLSERVER
    ),
    "mlserver-batching": Peer(
        "MLServer, batching",
        wires.open_inference("predict_proba"),
        _mlserver({"parallel_workers": 0}, {"max_batch_size": 64, "max_batch_time": 0.002}),
        _MLSERVER,
    ),
    "pytriton": Peer(
        "PyTriton, batching",
        wires.open_inference("probabilities"),
        _script("pytriton_server.py", 2),
        ("nvidia-pytriton==0.7.0",),
    ),
}


def install(peer: Peer) -> Path:
    """Give the interpreter of the peer's environment, made if need be.

    Raises:
        LeftOut: it cannot be installed here.
    """
    if not peer.requirements:
        return Path(sys.executable)
    wanted = [*peer.requirements, *(f"{n}=={version(n)}" for n in ("scikit-learn", "joblib"))]
    key = hashlib.sha256("\n".join([sys.version, *wanted]).encode()).hexdigest()[:12]
    home = CACHE / f"{peer.requirements[0].partition('=')[0]}-{key}"
    python = home / "bin" / "python"
    if (home / ".installed").exists():
        return python
    shutil.rmtree(home, ignore_errors=True)
    uv = str(processes.BIN / "uv")
    try:
        for command in (
            [uv, "venv", "--quiet", "--python", sys.executable, str(home)],
            [uv, "pip", "install", "--quiet", "--python", str(python), *wanted],
        ):
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    except subprocess.SubprocessError as error:
        shutil.rmtree(home, ignore_errors=True)
        said = error.stderr if isinstance(error, subprocess.CalledProcessError) else str(error)
        raise LeftOut(f"cannot be installed: {_last_line(said)}") from None
    (home / ".installed").touch()
    return python


@contextlib.contextmanager
def started(peer: Peer, python: Path, room: Path) -> Iterator[Running]:
    """Run a peer in `room` (made new) until it has answered rightly for both models.

    Raises:
        LeftOut: it ended, or did not answer in time, or with other numbers.
    """
    shutil.rmtree(room, ignore_errors=True)
    (room / "models").mkdir(parents=True)
    for name, make in models.MODELS.items():
        joblib.dump(make()[0], room / "models" / f"{name}.joblib")
    ports = _free_ports(3)
    log = room / "log"
    begun = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            peer.command(python, room, ports),
            cwd=room, env=_environment(), stdout=output, stderr=output, process_group=0,
        )  # fmt: skip
    address = f"127.0.0.1:{ports[0]}"
    try:
        for name in models.MODELS:
            _await_answer(peer, address, name, process, log)
        yield Running(address, process.pid, time.monotonic() - begun)
    finally:
        _end(process)


def _await_answer(
    peer: Peer, address: str, model: str, process: subprocess.Popen[bytes], log: Path
) -> None:
    deadline = time.monotonic() + READY_WITHIN
    while True:
        try:
            peer.wire.ask(address, model)
        except grpc.RpcError as error:
            if process.poll() is not None:
                raise LeftOut(f"ended at its start: {_last_line(log.read_text())}") from None
            if time.monotonic() > deadline:
                raise LeftOut(f"{model} is not answered: {error.details()}") from None
            time.sleep(0.02)
        except AssertionError as error:
            raise LeftOut(f"answers other numbers: {error}") from None
        else:
            return


def _environment() -> dict[str, str]:
    """Let PyTriton's stub find the libpython of this interpreter, not another one's."""
    libraries = [sysconfig.get_config_var("LIBDIR") or "", os.environ.get("LD_LIBRARY_PATH", "")]
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(filter(None, libraries))}


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a server, and what it leaves behind."""
    pids = processes.tree(process.pid)
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(20)
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def _free_ports(count: int) -> list[int]:
    """Find ports that were free a moment ago: these servers do not say which they took."""
    with contextlib.ExitStack() as stack:
        holders = [stack.enter_context(socket.socket()) for _ in range(count)]
        for holder in holders:
            holder.bind(("127.0.0.1", 0))
        return [holder.getsockname()[1] for holder in holders]


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "it said nothing"

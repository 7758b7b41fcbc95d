"""Starting what is measured, and reading what it used from /proc.

All that is started is in a process group of its own: Ctrl-C is for the benchmark alone, which
then ends them.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent
_TICK = os.sysconf("SC_CLK_TCK")
_IDLE = 0.1
"""Seconds of processor time in one second, below which a server has settled."""


def tree(pid: int) -> list[int]:
    """Give a process and all below it."""
    found, todo = [], [pid]
    while todo:
        one = todo.pop()
        found.append(one)
        with contextlib.suppress(OSError):
            todo += map(int, Path(f"/proc/{one}/task/{one}/children").read_text().split())
    return found


def cpu_seconds(pids: list[int]) -> float:
    """Give user and system time of these processes so far."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
    return total / _TICK


def await_idle(pid: int, seconds: float = 20.0) -> None:
    """Wait, up to `seconds`, until a process and all below it have done next to nothing for 1 s."""
    deadline = time.monotonic() + seconds
    before = cpu_seconds(tree(pid))
    while time.monotonic() < deadline:
        time.sleep(1)
        now = cpu_seconds(tree(pid))
        if now - before < _IDLE:
            return
        before = now


def memory(pids: list[int]) -> int:
    """Give the proportional set size of these processes, in bytes."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total


def descriptors(pids: list[int]) -> int:
    """Count the file descriptors that these processes hold open."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            total += len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return total


def disk(folder: Path) -> int:
    """Give what the files below a folder take on disk, in bytes."""
    total = 0
    for where, _, files in os.walk(folder):  # it passes over what goes away meanwhile
        for file in files:
            with contextlib.suppress(OSError):
                total += Path(where, file).lstat().st_blocks * 512
    return total


@contextlib.contextmanager
def echo(processes: int) -> Iterator[tuple[str, list[int]]]:
    """Run the no-op echo; give its address and pids."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
        running = [
            subprocess.Popen(
                [sys.executable, HERE / "echo.py", str(port)],
                stdout=subprocess.PIPE,
                process_group=0,
            )
            for _ in range(processes)
        ]
        try:
            for process in running:
                assert process.stdout is not None
                assert process.stdout.readline() == b"ready\n"
            yield f"127.0.0.1:{port}", [process.pid for process in running]
        finally:
            for process in running:
                process.terminate()
                process.wait()
                assert process.stdout is not None
                process.stdout.close()


@contextlib.contextmanager
def pushserve(root: Path, frontends: int, **settings: str) -> Iterator[tuple[str, int]]:
    """Run a server whose sources are the repositories below `root`; give address and pid."""
    config = root / "server.toml"
    config.write_text(f'[[sources]]\nurl = "file://{root}/git/*"\ntrust = "code"\n')
    environment = {
        **os.environ,
        "PUSHSERVE_CONFIG": str(config),
        "PUSHSERVE_LISTEN": "127.0.0.1:0",
        "PUSHSERVE_FRONTENDS": str(frontends),
        "PUSHSERVE_DATA_DIR": str(root / "data"),
        **{f"PUSHSERVE_{name.upper()}": value for name, value in settings.items()},
    }
    log = root / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [BIN / "pushserve", "serve"],
            env=environment, stdout=output, stderr=output, process_group=0,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while log.read_text().count("answering on") < frontends:
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.01)
        address = json.loads((root / "data" / "server.json").read_text())["listen"]
        yield address, process.pid
    finally:
        process.terminate()
        process.wait(60)


def repository(root: Path, name: str, files: dict[str, bytes]) -> str:
    """Commit files to a bare repository (made if need be); give its URL."""
    bare, work = root / "git" / f"{name}.git", root / "work" / name
    if not bare.exists():
        git("init", "--quiet", "--bare", "--initial-branch=main", str(bare))
        git("config", "uploadpack.allowFilter", "true", cwd=bare)
        work.mkdir(parents=True)
        git("init", "--quiet", "--initial-branch=main", cwd=work)
        git("remote", "add", "origin", str(bare), cwd=work)
    for file, content in files.items():
        (work / file).write_bytes(content)
    git("add", ".", cwd=work)
    git("-c", "user.name=bench", "-c", "user.email=bench@example.com",
        "commit", "--quiet", "--allow-empty", "--message", "Bench", cwd=work)  # fmt: skip
    git("push", "--quiet", "origin", "main", cwd=work)
    return f"file://{bare}"


def git(*arguments: str, cwd: Path | None = None) -> None:
    subprocess.run(["git", *arguments], cwd=cwd, check=True, capture_output=True, process_group=0)

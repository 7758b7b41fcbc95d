"""Boot: what the supervisor tells a child process about itself.

The child reads one line of JSON from its standard input: settings with their secrets, which so
stand neither in an environment nor on a command line. The pipe stays open; its end means
that the supervisor is gone, and the child stops.
"""

from __future__ import annotations

import faulthandler
import json
import logging
import os
import selectors
import signal
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pushserve_server.processes.outage_lines import OutageLines
from pushserve_server.settings import Settings
from pushserve_server.supervision.child_process import SHOW_STACKS
from pushserve_server.supervision.heartbeat import BEAT_EVERY, Heartbeat, Heartbeats


@dataclass(frozen=True, slots=True)
class Boot:
    """What a child needs to know.

    `name` is its role on this server ("frontend-0"), `replica` tells the servers that share
    a registry apart, `port` is the shared gRPC port, `transport` what carries its calls. `start`
    counts how often it was started, and by `heartbeat_fd` it shows the supervisor that it lives.
    """

    name: str
    replica: str
    run_dir: Path
    port: int
    settings: Settings
    transport: Literal["core", "aio"] = "core"
    start: int = 0
    heartbeat_fd: int = -1

    @property
    def id(self) -> str:
        """Its name among all processes, of now and of before, that share the registry."""
        return f"{self.replica}-{self.name}-{self.start}"

    def heartbeats(self) -> Heartbeats:
        """Give what it shows that it lives by, once."""
        return Heartbeats(self.heartbeat_fd)

    def to_json(self) -> bytes:
        """Give a line that `from_json` reads; without what is one process's alone: heartbeats."""
        values = {
            "name": self.name,
            "replica": self.replica,
            "run_dir": str(self.run_dir),
            "port": self.port,
            "settings": self.settings.to_json(),
            "transport": self.transport,
            "start": self.start,
        }
        return json.dumps(values).encode() + b"\n"

    @classmethod
    def from_json(cls, text: bytes, heartbeat_fd: int) -> Boot:
        """Build it from what `to_json` gave."""
        data = json.loads(text)
        return cls(
            name=data["name"],
            replica=data["replica"],
            run_dir=Path(data["run_dir"]),
            port=data["port"],
            settings=Settings.from_json(data["settings"]),
            transport=data["transport"],
            start=data["start"],
            heartbeat_fd=heartbeat_fd,
        )


def begin(boot: Boot) -> None:
    """Set up logging, and what signals do that a child takes no end by."""
    set_up_logging(boot.settings, boot.name)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the supervisor has a word to say on it
    faulthandler.register(SHOW_STACKS, all_threads=True)


def wait_until_told_to_stop(heartbeat: Heartbeat) -> None:
    """Return on SIGTERM, or when the supervisor is gone. For the main thread, without asyncio.

    Meanwhile it turns, for `heartbeat`.

    The handler only writes to a pipe. An event's lock would not do: a second signal that
    comes while the first is being handled would wait for it for ever.
    """
    reader, writer = os.pipe()
    signal.signal(signal.SIGTERM, lambda *_: os.write(writer, b"s"))
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def wait_for_end() -> None:
        sys.stdin.buffer.read()
        os.write(writer, b"o")

    threading.Thread(target=wait_for_end, name="orphan-watch", daemon=True).start()
    with selectors.DefaultSelector() as selector:
        selector.register(reader, selectors.EVENT_READ)
        while not selector.select(BEAT_EVERY):
            heartbeat.beat()


def set_up_logging(settings: Settings, name: str) -> None:
    """Log to standard error, each line with the process's name."""
    logging.basicConfig(
        level=settings.log_level.upper(),
        format=f"%(asctime)s %(levelname)-7s {name:<11} %(name)s: %(message)s",
        stream=sys.stderr,
        force=True,
    )
    for handler in logging.getLogger().handlers:
        handler.addFilter(OutageLines())

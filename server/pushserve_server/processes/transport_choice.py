"""Transport choice: gRPC's core where its binding works, else grpc.aio.

The core's Python binding is no stable interface. A trial call in a process of its own says whether
this grpcio's does what the core transport needs; the verdict is kept for this very build of it.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, Final, Literal

from pushserve_server.settings import Settings

logger = logging.getLogger(__name__)

Name = Literal["core", "aio"]

_PROBE_TIMEOUT: Final = 20.0
_VERDICT: Final = "transport.json"


def choose_transport(settings: Settings, data_dir: Path) -> Name:
    """Say which transport to use; a trial call is made once for each build of grpcio."""
    if settings.transport != "auto":
        return settings.transport
    build = _build()
    problem = _known(data_dir / _VERDICT, build)
    if problem is None:
        problem = _try_core()
        _remember(data_dir / _VERDICT, build, problem)
    if not problem:
        return "core"
    logger.warning(
        "gRPC's core cannot be used by the binding of grpcio %s (%s); calls are carried by "
        "grpc.aio, which is right and slower",
        metadata.version("grpcio"),
        problem,
    )
    return "aio"


def _build() -> dict[str, Any]:
    """Name this build of grpcio and Python."""
    # Not by its import, which would cost the supervisor 30 MB.
    folder = Path(str(metadata.distribution("grpcio").locate_file("grpc/_cython")))
    stats = [(path.name, path.stat()) for path in sorted(folder.glob("cygrpc*.so"))]
    return {
        "grpcio": metadata.version("grpcio"),
        "python": sys.version,
        "binding": [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats],
    }


def _known(path: Path, build: dict[str, Any]) -> str | None:
    """Give what a trial of this build has said before; None where there was none."""
    try:
        verdict = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    if not isinstance(verdict, dict) or verdict.get("build") != build:
        return None
    return str(verdict.get("problem", ""))


def _remember(path: Path, build: dict[str, Any], problem: str) -> None:
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        new.write_text(json.dumps({"build": build, "problem": problem}))
        new.replace(path)
    except OSError as error:  # the next start tries again
        logger.warning("the choice of a transport cannot be kept: %s", error)


def _try_core() -> str:
    """Make a call by the core transport in another process; say what went wrong, or ""."""
    command = [sys.executable, "-m", "pushserve_server.api.transport_probe"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_PROBE_TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"the trial call did not end: {type(error).__name__}"
    if done.returncode == 0:
        return ""
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    how = f"signal {-done.returncode}" if done.returncode < 0 else f"code {done.returncode}"
    return f"the trial call ended with {how}: {lines[-1][:300] if lines else 'no word'}"

"""Data layout: what lasts is below the data directory, what does not below the run directory."""

from __future__ import annotations

from pathlib import Path

from pushserve_server.settings import Settings


def bundles_dir(settings: Settings) -> Path:
    """Bundles by their digest."""
    return settings.data_dir / "bundles"


def lock_file(settings: Settings) -> Path:
    """Held by the supervisor: one server for each data directory."""
    return settings.data_dir / "lock"


def address_file(settings: Settings) -> Path:
    """JSON that says where the running server listens: {"pid", "listen", "run_dir"}."""
    return settings.data_dir / "server.json"


def zygote_socket(run_dir: Path) -> Path:
    """Where jobs for the sandbox are taken."""
    return run_dir / "zygote.sock"


def workers_dir(run_dir: Path) -> Path:
    """Where workers listen."""
    return run_dir / "workers"


def worker_folder(run_dir: Path, version_id: int) -> Path:
    """Where the workers of a version listen (see `worker_sockets`)."""
    return workers_dir(run_dir) / str(version_id)

"""Server process: what `pushserve serve` becomes by exec.

So the supervisor does not hold on to what only a command line and the reading of the
configuration need. The settings come with it in a file without a name, since they may hold
secrets.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import time
from typing import Final, NoReturn

from pushserve_server.processes.drivers import leave_out_unused
from pushserve_server.settings import ConfigError, Settings
from pushserve_server.supervision.forked_process import ForkServer

_MOST_FILES: Final = 65_536
_IMPORTS: Final = 30.0


def become_server(settings: Settings) -> NoReturn:
    """Replace this process by the server's."""
    os.environ.pop("PUSHSERVE_TOKEN", None)  # the command's; no process of the server needs it
    file = os.memfd_create("settings", 0)
    os.write(file, json.dumps(settings.to_json()).encode())
    os.lseek(file, 0, os.SEEK_SET)
    os.execv(sys.executable, [sys.executable, "-m", __name__, str(file)])  # noqa: S606


def _allow_many_files() -> None:
    """Have every process open as many files as the system lets it: a worker takes four of ours."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft = _MOST_FILES if most == resource.RLIM_INFINITY else min(most, _MOST_FILES)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, most))


def main() -> int:
    """Run a server until it is told to stop; give the exit code."""
    with open(int(sys.argv[1]), "rb") as file:  # noqa: PTH123 (a descriptor)
        settings = Settings.from_json(json.load(file))
    leave_out_unused(settings.database)
    _allow_many_files()  # before there are others, who inherit it
    fork_server = ForkServer(
        settings.database,
        start_timeout=settings.start_timeout,
        hang_timeout=settings.hang_timeout,
    )
    fork_server.tend(time.monotonic())  # it imports while this process does
    from pushserve_server.processes.supervisor import serve  # noqa: PLC0415 (needs settings)

    try:
        serve(settings, fork_server)
    except ConfigError as error:
        sys.stderr.write(f"error: {error}\n")
        fork_server.stop(time.monotonic() + _IMPORTS)  # it hears of it when it has imported
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

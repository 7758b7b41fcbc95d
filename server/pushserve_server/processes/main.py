"""Server process: what `pushserve serve` becomes by exec.

So the supervisor does not hold on to what only a command line and the reading of the
configuration need. The settings come with it in a file without a name, since they may hold
secrets.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import NoReturn

from pushserve_server.processes.drivers import leave_out_unused
from pushserve_server.settings import ConfigError, Settings
from pushserve_server.supervision.forked_process import ForkServer


def become_server(settings: Settings) -> NoReturn:
    """Replace this process by the server's."""
    file = os.memfd_create("settings", 0)
    os.write(file, json.dumps(settings.to_json()).encode())
    os.lseek(file, 0, os.SEEK_SET)
    os.execv(sys.executable, [sys.executable, "-m", __name__, str(file)])  # noqa: S606


def main() -> int:
    """Run a server until it is told to stop; give the exit code."""
    with open(int(sys.argv[1]), "rb") as file:  # noqa: PTH123 (a descriptor)
        settings = Settings.from_json(json.load(file))
    leave_out_unused(settings.database)
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
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

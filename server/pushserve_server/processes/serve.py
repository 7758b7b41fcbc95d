"""The server as a process of its own, which `pushserve serve` becomes by exec.

So the supervisor does not hold on to what only a command line needs.
"""

from __future__ import annotations

import sys

from pushserve_server.config import ConfigError, load_settings
from pushserve_server.processes.drivers import leave_out_unused


def main() -> int:
    """Run a server until it is told to stop; give the exit code."""
    try:
        settings = load_settings()
        leave_out_unused(settings.database)
        from pushserve_server.processes.supervisor import serve  # noqa: PLC0415 (needs settings)

        serve(settings)
    except ConfigError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

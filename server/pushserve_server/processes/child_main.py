"""Child process: `python -m pushserve_server.processes.child_main MODULE`.

The module is imported after the settings are known, and its `main` gets them.
"""

from __future__ import annotations

import importlib
import logging
import sys

from pushserve_server.errors import Unavailable
from pushserve_server.processes.boot import read_boot
from pushserve_server.processes.drivers import leave_out_unused

logger = logging.getLogger(__name__)


def main() -> None:
    """Run one child."""
    boot = read_boot()
    leave_out_unused(boot.settings.database)
    run = importlib.import_module(sys.argv[1]).main
    try:
        run(boot)
    except Unavailable as error:
        # The registry's database, most likely; the supervisor starts it again when that is back.
        logger.error("%s", error.message)  # noqa: TRY400 (its text says all)
        sys.exit(1)


if __name__ == "__main__":
    main()

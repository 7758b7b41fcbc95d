"""Child process: `python -m pushserve_server.processes.child_main MODULE`.

The module is imported after the settings are known, and its `main` gets them.
"""

from __future__ import annotations

import importlib
import sys

from pushserve_server.processes.boot import read_boot
from pushserve_server.processes.drivers import leave_out_unused


def main() -> None:
    """Run one child."""
    boot = read_boot()
    leave_out_unused(boot.settings.database)
    importlib.import_module(sys.argv[1]).main(boot)


if __name__ == "__main__":
    main()

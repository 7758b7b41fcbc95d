"""`pushserve serve`: read and check the configuration, then become the server."""

from __future__ import annotations

from pushserve_client.cli import screen
from pushserve_server.config import load_settings
from pushserve_server.processes.main import become_server
from pushserve_server.settings import ConfigError


def main() -> int:
    """Run the server in this process's place; gives the exit code where it cannot."""
    try:
        become_server(load_settings())
    except ConfigError as error:
        screen.fail(str(error))
    return 1

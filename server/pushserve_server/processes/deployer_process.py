"""Deployer process: takes deployments live, and looks at every source's refs on a timer."""

from __future__ import annotations

import logging
import secrets

from pushserve_server.data_layout import zygote_socket
from pushserve_server.deploy.deployer import Deployer
from pushserve_server.deploy.reconciler import Reconciler
from pushserve_server.processes.boot import Boot, wait_until_told_to_stop
from pushserve_server.registry import Registry
from pushserve_server.sandbox_client import SandboxClient
from pushserve_server.wakeups import Wakeups

logger = logging.getLogger(__name__)


def main(boot: Boot) -> None:
    """Work until SIGTERM or until the supervisor is gone."""
    settings = boot.settings
    registry = Registry.open(settings.database)
    wakeups = Wakeups(boot.run_dir)
    owner = f"{boot.id}-{secrets.token_hex(4)}"
    deployer = Deployer(
        settings, registry, SandboxClient(zygote_socket(boot.run_dir)), wakeups, owner
    )
    reconciler = Reconciler(settings, registry, wakeups)
    deployer.start()
    reconciler.start()
    logger.info("taking deployments")
    wait_until_told_to_stop()
    reconciler.stop()
    deployer.stop()
    registry.close()

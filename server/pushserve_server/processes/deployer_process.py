"""Deployer process: takes deployments live, and looks at every source's refs on a timer."""

from __future__ import annotations

import logging
import secrets
from typing import Final

from pushserve_server.data_layout import zygote_socket
from pushserve_server.deploy.deployer import Deployer
from pushserve_server.deploy.reconciler import Reconciler
from pushserve_server.processes.boot import Boot, wait_until_told_to_stop
from pushserve_server.registry import Registry
from pushserve_server.sandbox_client import SandboxClient
from pushserve_server.wakeups import Wakeups

logger = logging.getLogger(__name__)

_PATIENCE: Final = 10
"""The deployer's loop waits for the registry, which may be slow without anything being wrong."""


def main(boot: Boot) -> None:
    """Work until SIGTERM or until the supervisor is gone."""
    settings, heartbeats = boot.settings, boot.heartbeats()
    registry = Registry.open(settings.database)
    wakeups = Wakeups(boot.run_dir)
    registry.when_changed(wakeups.wake)
    owner = f"{boot.id}-{secrets.token_hex(4)}"
    deployer = Deployer(
        settings,
        registry,
        SandboxClient(zygote_socket(boot.run_dir)),
        wakeups,
        owner,
        beat=heartbeats.loop("deployer's loop", patience=_PATIENCE).beat,
    )
    reconciler = Reconciler(settings, registry)
    heartbeats.ready()
    deployer.start()
    reconciler.start()
    logger.info("taking deployments")
    wait_until_told_to_stop(heartbeats.loop("main thread"))
    reconciler.stop()
    deployer.stop()
    registry.close()

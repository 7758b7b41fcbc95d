"""Webhook process: `pushserve webhook`, the application behind waitress."""

from __future__ import annotations

import logging
import signal
import sys
import types
from typing import Final

import waitress.server

from pushserve_webhook.app import MAX_BODY, create_app
from pushserve_webhook.registrar import DEADLINE, Registrar
from pushserve_webhook.settings import (
    ConfigError,
    WebhookSettings,
    load_settings,
    split_address,
)

_THREADS: Final = 8
"""Events at a time; each waits for the server, which takes milliseconds when it is well."""

logger = logging.getLogger(__name__)


def serve(settings: WebhookSettings) -> None:
    """Answer events until SIGTERM or Ctrl-C; those in flight are answered first.

    Raises:
        ConfigError: the port is taken, or the token or a certificate cannot be used.
    """
    registrar = Registrar(settings)
    registrar.check()
    server = _bind(settings, registrar)
    logger.info("listening on %s:%s", server.effective_host, server.effective_port)
    signal.signal(signal.SIGTERM, _exit)
    try:
        server.run()  # returns at SystemExit and KeyboardInterrupt, 5 s after them at most
        server.task_dispatcher.shutdown(timeout=DEADLINE)
    finally:
        server.close()
        registrar.close()
        logger.info("stopped")


def _bind(settings: WebhookSettings, registrar: Registrar) -> waitress.server.BaseWSGIServer:
    host, port = split_address(settings.webhook_listen)
    try:
        return waitress.server.create_server(
            create_app(settings, registrar),
            host=host,
            port=port,
            threads=_THREADS,
            # Flask answers the exact limit in JSON; this one bounds what is read at all.
            max_request_body_size=MAX_BODY + 1024**2,
            channel_timeout=30,
            ident=None,
        )
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {settings.webhook_listen}: {error.strerror or error}; stop what "
            "uses the port, or set another one (PUSHSERVE_WEBHOOK_LISTEN)"
        ) from None


def _exit(_number: int, _frame: types.FrameType | None) -> None:
    raise SystemExit(0)


def main() -> int:
    """Run the webhook; gives the process's exit code."""
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)-7s webhook     %(name)s: %(message)s",
        stream=sys.stderr,
    )
    try:
        serve(load_settings())
    except ConfigError as error:
        print(f"pushserve webhook: {error}", file=sys.stderr)  # noqa: T201 -- for a terminal
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

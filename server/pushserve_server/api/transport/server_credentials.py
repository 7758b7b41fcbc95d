"""Server credentials: TLS of the port, with certificates that are replaced while it listens.

gRPC asks for them at each handshake, so a new connection gets what the files hold by then, and
connections that there are, with their calls, go on as they were made.
"""

from __future__ import annotations

import logging

import grpc

from pushserve_server.access.certificates import (
    CertificateFiles,
    Certificates,
    CertificateWatch,
)
from pushserve_server.settings import Settings

logger = logging.getLogger(__name__)


def server_credentials(settings: Settings) -> grpc.ServerCredentials | None:
    """Give the credentials that the settings name; None where there is no TLS.

    Raises:
        ConfigError: a file is no good.
    """
    files = CertificateFiles.of(settings)
    if files is None:
        return None
    watch = CertificateWatch(files)

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        """Run by the core before each handshake, on a thread of its own."""
        try:
            found = watch.changed()
        except Exception:
            logger.exception("the certificate files cannot be looked at")
            return None
        return None if found is None else _configuration(found)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(watch.current),
        fetch,  # type: ignore[arg-type] # its stubs do not know that None is no change
        require_client_authentication=bool(files.client_ca),
    )


def _configuration(found: Certificates) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(found.key, found.chain)], root_certificates=found.client_ca
    )

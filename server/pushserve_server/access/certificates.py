"""Certificates: the PEM files that TLS is made of, checked, and followed as they change.

They are checked as a client would, by the standard library's OpenSSL: what goes into a listening
port has been through a handshake. gRPC's core itself says nothing of a file that it cannot use.
"""

from __future__ import annotations

import contextlib
import logging
import os
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pushserve_server.access.file_stamp import FileStamp, file_stamp
from pushserve_server.settings import ConfigError, Settings

logger = logging.getLogger(__name__)

_DATES: Final = {9: "is not valid yet", 10: "has expired"}
"""By OpenSSL's codes of what is wrong with a certificate."""
_MOST: Final = 1024**2

_Stamp = tuple[FileStamp, ...]


@dataclass(frozen=True, slots=True)
class Certificates:
    """What TLS needs, as PEM. `client_ca` signs the certificates that callers have to show."""

    chain: bytes
    key: bytes
    client_ca: bytes | None


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Where they are; `client_ca` is None where callers show none."""

    chain: Path
    key: Path
    client_ca: Path | None

    @classmethod
    def of(cls, settings: Settings) -> CertificateFiles | None:
        """Give the files that the settings name; None where there is no TLS."""
        if not settings.tls_certificate:
            return None
        ca = Path(settings.tls_client_ca) if settings.tls_client_ca else None
        return cls(Path(settings.tls_certificate), Path(settings.tls_key), ca)

    def read(self) -> Certificates:
        """Read and check them.

        Raises:
            ConfigError: one of them is no good; says which and why.
        """
        chain = _read("tls_certificate", self.chain)
        key = _read("tls_key", self.key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        _check_certificates("tls_certificate", self.chain, chain)
        _check_key(context, self, chain, key)
        _check_dates(context, self.chain, chain)
        client_ca = None
        if self.client_ca is not None:
            client_ca = _read("tls_client_ca", self.client_ca)
            _check_certificates("tls_client_ca", self.client_ca, client_ca)
        return Certificates(chain, key, client_ca)

    def stamp(self) -> _Stamp:
        """Give what tells this state of the files from another."""
        paths = (self.chain, self.key, *([self.client_ca] if self.client_ca else []))
        return tuple(map(file_stamp, paths))


class CertificateWatch:
    """Follows the files, for one process: looks at them when asked, and reads what has changed.

    What is no good is said once in the log, and the last good ones stay. Any thread may ask.
    """

    def __init__(self, files: CertificateFiles) -> None:
        self._files = files
        self._lock = threading.Lock()
        self._stamp = files.stamp()  # before they are read: a change meanwhile is seen next time
        self.current = files.read()

    def changed(self) -> Certificates | None:
        """Give the files' content where it has changed and is good."""
        with self._lock:
            stamp = self._files.stamp()
            if stamp == self._stamp:
                return None
            self._stamp = stamp
            try:
                found = self._files.read()
            except ConfigError as error:
                logger.error("%s; the certificate of before stays in use", error)  # noqa: TRY400 (no trace helps)
                return None
            if found == self.current:
                return None
            self.current = found
            logger.info("the certificate has changed; new connections get the new one")
            return found


def _read(setting: str, path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_MOST + 1)
    except OSError as error:
        raise ConfigError(f"{setting}: {path} cannot be read: {error.strerror}") from None
    if len(data) > _MOST:
        raise ConfigError(f"{setting}: {path} is larger than 1 MiB, so it is no PEM file")
    return data


def _check_certificates(setting: str, path: Path, data: bytes) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=data.decode("ascii", errors="ignore"))
    except (ssl.SSLError, ValueError):
        raise ConfigError(f"{setting}: {path} holds no certificate in PEM form") from None


def _check_key(context: ssl.SSLContext, files: CertificateFiles, chain: bytes, key: bytes) -> None:
    if b"ENCRYPTED" in key:
        raise ConfigError(
            f"tls_key: {files.key} is encrypted; take its passphrase off "
            "(`openssl pkey`) and keep the file for the server's user alone"
        )
    if b"PRIVATE KEY-----" not in key:
        raise ConfigError(f"tls_key: {files.key} holds no private key in PEM form")
    try:
        # OpenSSL takes files alone; these have no name, and are what was read.
        with _unnamed_file(chain) as chain_file, _unnamed_file(key) as key_file:
            context.load_cert_chain(chain_file, key_file)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            said = f"is not the key of the certificate in {files.chain}"
        else:
            said = "holds no private key that can be used"
        raise ConfigError(f"tls_key: {files.key} {said}") from None


@contextlib.contextmanager
def _unnamed_file(data: bytes) -> Iterator[str]:
    descriptor = os.memfd_create("pem")
    try:
        os.write(descriptor, data)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _check_dates(server: ssl.SSLContext, path: Path, chain: bytes) -> None:
    """Have a client that trusts this very certificate look at it, in memory."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    client.load_verify_locations(cadata=chain.decode("ascii", errors="ignore"))
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    caller = client.wrap_bio(to_client, to_server)
    listener = server.wrap_bio(to_server, to_client, server_side=True)
    try:
        for side in (caller, listener, caller):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    except ssl.SSLCertVerificationError as error:
        if error.verify_code in _DATES:
            said = _DATES[error.verify_code]
            raise ConfigError(f"tls_certificate: the certificate in {path} {said}") from None
    except ssl.SSLError:
        return  # what else a client may not like is between it and the server

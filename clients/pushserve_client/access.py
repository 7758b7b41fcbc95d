"""Access: how a client proves who it is, and whom it believes: tokens and TLS."""

from __future__ import annotations

import os
import re
import ssl
from pathlib import Path
from typing import Final, Optional, Union

import grpc

from pushserve_client.channel import is_local
from pushserve_client.errors import BadArgument

FilePath = Union[str, "os.PathLike[str]"]
Metadata = tuple[tuple[str, str], ...]

_FIT: Final = re.compile(r"[!-~]{1,4096}")


def token_metadata(target: str, token: Optional[str], *, encrypted: bool) -> Metadata:
    """Give what a call to `target` carries; nothing where there is no token.

    Raises:
        BadArgument: it is no token, or others could read it on its way. The text does not show it.
    """
    if token is None:
        return ()
    if not isinstance(token, str) or not _FIT.fullmatch(token.strip()):
        raise BadArgument("token: expected the text that `pushserve token create` has shown")
    if not encrypted and not is_local(target):
        raise BadArgument(
            f"token: it is sent over TLS alone, or to this machine, and {target!r} is neither: "
            "ask for TLS (tls=True, or ca=FILE; the command: --tls)"
        )
    return (("authorization", f"Bearer {token.strip()}"),)


def tls_credentials(
    *,
    tls: bool = False,
    ca: Optional[FilePath] = None,
    certificate: Optional[FilePath] = None,
    key: Optional[FilePath] = None,
) -> Optional[grpc.ChannelCredentials]:
    """Give gRPC's credentials for PEM files; None where nobody asks for TLS.

    Raises:
        BadArgument: a file is no good; the text names it.
    """
    if not (tls or ca or certificate or key):
        return None
    if bool(certificate) != bool(key):
        raise BadArgument("certificate, key: a certificate goes with its key; give both")
    roots = None if ca is None else _certificates(ca)
    if certificate is None or key is None:
        return grpc.ssl_channel_credentials(roots)
    chain, secret = _read("certificate", certificate), _read("key", key)
    _check_pair(certificate, key)
    return grpc.ssl_channel_credentials(roots, secret, chain)


def _certificates(path: FilePath) -> bytes:
    data = _read("ca", path)
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=data.decode("ascii", errors="ignore"))
    except (ssl.SSLError, ValueError):
        raise BadArgument(f"ca: {os.fspath(path)} holds no certificate in PEM form") from None
    return data


def _check_pair(certificate: FilePath, key: FilePath) -> None:
    try:
        # Without a password function, OpenSSL asks at the terminal for that of an encrypted key.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key, lambda: b"")
    except ssl.SSLError:
        raise BadArgument(
            f"certificate, key: {os.fspath(certificate)} and {os.fspath(key)} are no certificate "
            "and its private key in PEM form, without a passphrase"
        ) from None


def _read(name: str, path: FilePath) -> bytes:
    try:
        return Path(path).read_bytes()
    except (OSError, TypeError) as error:
        why = getattr(error, "strerror", None) or "it is no path"
        raise BadArgument(f"{name}: {path} cannot be read: {why}") from None

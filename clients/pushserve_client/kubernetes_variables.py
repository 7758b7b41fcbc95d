"""Kubernetes variables: those that it sets in every container for a Service named pushserve.

They begin as settings do, and nobody wrote them:

    PUSHSERVE_SERVICE_HOST=10.0.0.11              PUSHSERVE_PORT=tcp://10.0.0.11:50051
    PUSHSERVE_SERVICE_PORT=50051                  PUSHSERVE_PORT_50051_TCP=tcp://10.0.0.11:50051
    PUSHSERVE_SERVICE_PORT_GRPC=50051             PUSHSERVE_PORT_50051_TCP_PROTO=tcp
    PUSHSERVE_PORT_50051_TCP_PORT=50051           PUSHSERVE_PORT_50051_TCP_ADDR=10.0.0.11

A Service named pushserve-blue has BLUE_ before the rest, one named pushserve-webhook WEBHOOK_. The
rule is here because server and webhook both bring this package along.
https://kubernetes.io/docs/tutorials/services/connect-applications-service/#environment-variables
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

_PROTOCOL: Final = re.compile(r"tcp|udp|sctp")
_END: Final = re.compile(
    r"_(?:"
    r"(?P<address>SERVICE_HOST|PORT_\d+_(?:TCP|UDP|SCTP)_ADDR)"
    r"|(?P<port>SERVICE_PORT|PORT_\d+_(?:TCP|UDP|SCTP)_PORT)"
    r"|(?P<url>PORT|PORT_\d+_(?:TCP|UDP|SCTP))"
    r"|(?P<protocol>PORT_\d+_(?:TCP|UDP|SCTP)_PROTO)"
    r")\Z"
)
_NAMED_PORT: Final = "_SERVICE_PORT_"


def is_kubernetes_variable(name: str, value: str) -> bool:
    """Say whether Kubernetes made a variable: by its name, and by a value as it writes them."""
    if _NAMED_PORT in name:
        return _is_port(value)
    end = _END.search(name)
    if end is None:
        return False
    if end["port"]:
        return _is_port(value)
    if end["address"]:
        return _is_address(value)
    if end["protocol"]:
        return _PROTOCOL.fullmatch(value) is not None
    protocol, _, place = value.partition("://")
    host, _, port = place.rpartition(":")
    address = host.removeprefix("[").removesuffix("]")
    return _PROTOCOL.fullmatch(protocol) is not None and _is_address(address) and _is_port(port)


def _is_address(value: str) -> bool:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return True


def _is_port(value: str) -> bool:
    return re.fullmatch(r"[0-9]{1,5}", value) is not None and 0 < int(value) <= 65535

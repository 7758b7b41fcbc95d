"""Core binding: the one module that imports grpcio's private binding to it.

The binding is no stable interface. `probe` finds out whether it does what `core_server` and
`core_calls` need; where it does not, calls are carried by grpc.aio.
"""

from __future__ import annotations

from typing import Any, Final

import grpc
from grpc._cython import cygrpc  # type: ignore[attr-defined]

NO_FLAGS: Final = 0
NO_COMPRESS: Final = 2
"""`GRPC_WRITE_NO_COMPRESS`: for one message."""

CompletionQueue: Final[Any] = cygrpc.CompletionQueue
Server: Final[Any] = cygrpc.Server
OPERATION_COMPLETE: Final = cygrpc.CompletionType.operation_complete
QUEUE_SHUTDOWN: Final = cygrpc.CompletionType.queue_shutdown
OK: Final = cygrpc.StatusCode.ok
CANCELLED: Final = cygrpc.StatusCode.cancelled

ReceiveMessage: Final[Any] = cygrpc.ReceiveMessageOperation
ReceiveClose: Final[Any] = cygrpc.ReceiveCloseOnServerOperation
SendHead: Final[Any] = cygrpc.SendInitialMetadataOperation
SendMessage: Final[Any] = cygrpc.SendMessageOperation
SendStatus: Final[Any] = cygrpc.SendStatusFromServerOperation


def core_credentials(credentials: grpc.ServerCredentials | None) -> Any:
    """Give what the core takes for credentials; None is none."""
    return None if credentials is None else credentials._credentials  # type: ignore[attr-defined]  # noqa: SLF001

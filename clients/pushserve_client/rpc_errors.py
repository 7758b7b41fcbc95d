"""RPC errors: whatever a call through gRPC raises, as an error of the documented tree."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import grpc
import grpc.aio

from pushserve_client.errors import (
    Cancelled,
    ClientClosed,
    Details,
    WrongEventLoop,
    error_from_rpc,
)

S = TypeVar("S")


@contextlib.contextmanager
def documented_errors(is_closed: Callable[[], bool]) -> Iterator[None]:
    """Raise what the calls inside it raise as errors of `pushserve_client.errors`.

    `is_closed` says whether the client was closed, which gRPC tells in several ways.
    """
    try:
        yield
    except grpc.RpcError as error:
        raise error_from_rpc(error) from error
    except (ValueError, grpc.aio.UsageError) as error:
        if is_closed():
            raise ClientClosed from error
        raise
    except RuntimeError as error:
        if "event loop" in str(error).lower() or "different loop" in str(error):
            raise WrongEventLoop from error
        raise
    except asyncio.CancelledError as error:
        # A call that close() took down, which is not the end of the task that waits for it.
        if is_closed() and not _is_task_cancelled():
            text = "the client was closed during the call"
            raise Cancelled(grpc.StatusCode.CANCELLED, text, Details()) from error
        raise


@contextlib.contextmanager
def ended(stream: S) -> Iterator[S]:
    """Cancel a stream of answers when nobody reads it any more."""
    try:
        yield stream
    finally:
        call: Any = stream
        call.cancel()


def _is_task_cancelled() -> bool:
    """Whether somebody cancels the task that runs; before Python 3.11 it does not say."""
    cancelling = getattr(asyncio.current_task(), "cancelling", None)
    return bool(cancelling is not None and cancelling())

"""Probe: calls over loopback by the core transport; exit code 0 says that it works.

    python -m pushserve_server.api.transport_probe

It is a process of its own: a binding that has changed may well end the one that tries it.
"""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import AsyncIterator
from typing import Any, Final

import grpc

from pushserve_server.api.call_pipeline import Pipeline
from pushserve_server.api.transport.call import REQUEST_ID, Call, Method, StreamCall
from pushserve_server.api.transport.factory import make_transport
from pushserve_server.settings import Settings

_GROUP: Final = "probe"
_ID: Final = "probe-1"
_TIMEOUT: Final = 10.0


def _echo(calls: list[Call]) -> None:
    for call in calls:
        values = dict(call.metadata)
        assert values["x-probe-bin"] == b"\0\1", values  # noqa: S101
        assert call.peer.startswith("ipv4:127.0.0.1:"), call.peer  # noqa: S101
        assert math.isfinite(call.deadline)  # noqa: S101
        call.reply(call.body)


async def _twice(call: StreamCall) -> AsyncIterator[bytes]:
    while (data := await call.receive()) is not None:
        yield data
        yield data


async def _run() -> None:
    pipeline = Pipeline({_GROUP: 8})
    pipeline.add(
        [
            Method("/probe/Echo", _GROUP, batch=_echo),
            Method("/probe/Twice", _GROUP, stream=_twice, takes_stream=True),
        ]
    )
    transport = make_transport("core", pipeline, Settings())
    port = transport.listen("127.0.0.1:0")
    await transport.start()
    try:
        await asyncio.to_thread(_call, port)
    finally:
        await transport.stop(0)
        await pipeline.close()
        transport.close()


def _call(port: int) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        metadata: Any = ((REQUEST_ID, _ID), ("x-probe-bin", b"\0\1"))
        echo: Any = channel.unary_unary("/probe/Echo")
        body = b"x" * 100_000
        reply, call = echo.with_call(body, timeout=_TIMEOUT, metadata=metadata)
        assert reply == body  # noqa: S101
        assert dict(call.trailing_metadata())[REQUEST_ID] == _ID  # noqa: S101
        twice: Any = channel.stream_stream("/probe/Twice")
        replies = list(twice(iter([b"a", b"b"]), timeout=_TIMEOUT))
        assert replies == [b"a", b"a", b"b", b"b"]  # noqa: S101
        missing: Any = channel.unary_unary("/probe/Missing")
        code = missing.future(b"", timeout=_TIMEOUT).code()
        assert code is grpc.StatusCode.UNIMPLEMENTED, code  # noqa: S101


def main() -> None:
    """Run the probe."""
    if sys.flags.optimize:
        raise SystemExit("python -O would leave the checks out")
    asyncio.run(_run())


if __name__ == "__main__":
    main()

"""Servicer methods: parsing requests, and methods that take and give messages instead of bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Container
from typing import Any, Final, TypeVar

from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError

from pushserve_server.api.model_limits import check_reply, check_request
from pushserve_server.api.transport.call import Call, Method, StreamCall
from pushserve_server.errors import BadInput

T = TypeVar("T")
Parse = Callable[[bytes], Any]

_UNREADABLE: Final = "the request is not a message of this method"


def methods_of(
    servicer: object,
    service: ServiceDescriptor,
    group: str,
    streams: str,
    except_methods: Container[str] = (),
) -> list[Method]:
    """Make the methods of a service, which `servicer` has by their names.

    One of them takes a message and the call, and gives a message; or, where it streams, an
    asynchronous iterator of messages, from an iterator of requests where the caller streams,
    too. `group` is the limit that they count towards, `streams` that of those that stream.

    Raises:
        AttributeError: the servicer lacks a method.
    """
    return [
        _method(getattr(servicer, method.name), method, group, streams)
        for method in service.methods
        if method.name not in except_methods
    ]


def _method(answer: Any, method: MethodDescriptor, group: str, streams: str) -> Method:
    parse = message_factory.GetMessageClass(method.input_type).FromString
    name = f"/{method.containing_service.full_name}/{method.name}"
    if method.client_streaming:
        return Method(name, streams, stream=_both_streams(answer, parse), takes_stream=True)
    if method.server_streaming:
        return Method(name, streams, stream=_stream(answer, parse))
    return Method(name, group, unary=_unary(answer, parse))


def _unary(answer: Any, parse: Parse) -> Any:
    async def unary(call: Call) -> bytes:
        request = read(call.body, parse)
        check_request(call, request)
        reply = await answer(request, call)
        check_reply(call, reply)
        data: bytes = reply.SerializeToString()
        return data

    return unary


def _stream(answer: Any, parse: Parse) -> Any:
    async def stream(call: Call) -> AsyncIterator[bytes]:
        request = read(call.body, parse)
        check_request(call, request)
        async for reply in answer(request, call):
            check_reply(call, reply)
            yield reply.SerializeToString()

    return stream


def _both_streams(answer: Any, parse: Parse) -> Any:
    async def requests(call: StreamCall) -> AsyncIterator[Any]:
        while (data := await call.receive()) is not None:
            yield read(data, parse)

    async def stream(call: StreamCall) -> AsyncIterator[bytes]:
        async for reply in answer(requests(call), call):
            yield reply.SerializeToString()

    return stream


def read(data: bytes, parse: Callable[[bytes], T]) -> T:
    """Parse a request.

    Raises:
        BadInput: the bytes are no such message.
    """
    try:
        return parse(data)
    except DecodeError:
        raise BadInput(_UNREADABLE, reason="WRONG_FORM") from None

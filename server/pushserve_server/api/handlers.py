"""Handlers: a service's methods, wrapped once at start; bytes in, bytes out, errors to statuses.

No handler leaks an exception, and none answers UNKNOWN: gRPC would do both with whatever a
handler or a deserializer raises. An interceptor could do the same, but grpc.aio builds its
chain anew for every call.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Container
from typing import Any, Final, NoReturn, TypeVar

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError

from pushserve_server.api.status import DETAILS_KEY, failure
from pushserve_server.errors import BadInput

Context = grpc.aio.ServicerContext[Any, Any]

T = TypeVar("T")


def generic_handler(
    servicer: object, service: ServiceDescriptor, except_methods: Container[str]
) -> grpc.GenericRpcHandler:
    """Make the handlers of a service, whose methods `servicer` has by their names.

    A method takes a message and the context, and gives a message or an asynchronous iterator
    of them. Those named in `except_methods` are left out.

    Raises:
        AttributeError: the servicer lacks a method.
    """
    handlers = {
        method.name: _handler(getattr(servicer, method.name), method)
        for method in service.methods
        if method.name not in except_methods
    }
    return grpc.method_handlers_generic_handler(service.full_name, handlers)


def _handler(call: Any, method: MethodDescriptor) -> grpc.RpcMethodHandler[Any, Any]:
    parse = message_factory.GetMessageClass(method.input_type).FromString
    if method.server_streaming:
        return grpc.unary_stream_rpc_method_handler(_stream(call, parse))
    return grpc.unary_unary_rpc_method_handler(_unary(call, parse))


Parse = Callable[[bytes], Any]


def _unary(call: Any, parse: Parse) -> Any:
    async def handle(data: bytes, context: Context) -> bytes:
        try:
            reply = await call(read(data, parse), context)
        except Exception as error:  # noqa: BLE001 (the edge of an RPC)
            await _abort(error, context)
        answer: bytes = reply.SerializeToString()
        return answer

    return handle


def _stream(call: Any, parse: Parse) -> Any:
    async def handle(data: bytes, context: Context) -> AsyncIterator[bytes]:
        try:
            async for reply in call(read(data, parse), context):
                yield reply.SerializeToString()
        except Exception as error:  # noqa: BLE001 (the edge of an RPC)
            await _abort(error, context)

    return handle


_UNREADABLE: Final = "the request is not a message of this method"


def read(data: bytes, parse: Callable[[bytes], T]) -> T:
    """Parse a request.

    Raises:
        BadInput: the bytes are no such message.
    """
    try:
        return parse(data)
    except DecodeError:
        raise BadInput(_UNREADABLE, reason="WRONG_FORM") from None


async def _abort(error: Exception, context: Context) -> NoReturn:
    if isinstance(error, grpc.aio.AbortError):
        raise error
    code, status = failure(error)
    await context.abort(code, status.message, ((DETAILS_KEY, status.SerializeToString()),))

"""A service's methods, wrapped once at start: bytes in, bytes out, errors to statuses.

No handler leaks an exception, and none answers UNKNOWN: gRPC would do both with whatever a
handler or a deserializer raises. An interceptor could do the same, but grpc.aio builds its
chain anew for every call.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, NoReturn

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError
from google.rpc import status_pb2

from pushserve_server.api.status import DETAILS_KEY, internal_status, status_code, status_of
from pushserve_server.errors import BadInput, PushserveError

logger = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]


def generic_handler(servicer: object, service: ServiceDescriptor) -> grpc.GenericRpcHandler:
    """Make the handlers of a service, whose methods `servicer` has by their names.

    A method takes a message (or an asynchronous iterator of messages) and the context, and
    gives messages, or bytes that are one already.

    Raises:
        AttributeError: the servicer lacks a method.
    """
    handlers = {
        method.name: _handler(getattr(servicer, method.name), method) for method in service.methods
    }
    return grpc.method_handlers_generic_handler(service.full_name, handlers)


def _handler(call: Any, method: MethodDescriptor) -> grpc.RpcMethodHandler[Any, Any]:
    parse = message_factory.GetMessageClass(method.input_type).FromString
    if method.client_streaming:
        return grpc.stream_stream_rpc_method_handler(_streams(call, parse))
    if method.server_streaming:
        return grpc.unary_stream_rpc_method_handler(_stream(call, parse))
    return grpc.unary_unary_rpc_method_handler(_unary(call, parse))


Parse = Callable[[bytes], Any]


def _unary(call: Any, parse: Parse) -> Any:
    async def handle(data: bytes, context: Context) -> bytes:
        try:
            reply = await call(_read(data, parse), context)
        except Exception as error:  # noqa: BLE001 (the edge of an RPC)
            await _abort(error, context)
        return reply if type(reply) is bytes else reply.SerializeToString()

    return handle


def _stream(call: Any, parse: Parse) -> Any:
    async def handle(data: bytes, context: Context) -> AsyncIterator[bytes]:
        try:
            async for reply in call(_read(data, parse), context):
                yield reply.SerializeToString()
        except Exception as error:  # noqa: BLE001 (the edge of an RPC)
            await _abort(error, context)

    return handle


def _streams(call: Any, parse: Parse) -> Any:
    async def handle(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        try:
            async for reply in call(_read_all(requests, parse), context):
                yield reply if type(reply) is bytes else reply.SerializeToString()
        except Exception as error:  # noqa: BLE001 (the edge of an RPC)
            await _abort(error, context)

    return handle


async def _read_all(requests: AsyncIterator[bytes], parse: Parse) -> AsyncIterator[Any]:
    async for data in requests:
        yield _read(data, parse)


_UNREADABLE: Final = "the request is no message of this method"


def _read(data: bytes, parse: Parse) -> Any:
    try:
        return parse(data)
    except DecodeError:
        raise BadInput(_UNREADABLE, reason="WRONG_FORM") from None


async def _abort(error: Exception, context: Context) -> NoReturn:
    if isinstance(error, grpc.aio.AbortError):
        raise error
    if isinstance(error, PushserveError):
        await _abort_with(context, status_of(error), status_code(error))
    logger.error("a handler raised", exc_info=error)
    await _abort_with(context, internal_status(), grpc.StatusCode.INTERNAL)


async def _abort_with(
    context: Context, status: status_pb2.Status, code: grpc.StatusCode
) -> NoReturn:
    await context.abort(code, status.message, ((DETAILS_KEY, status.SerializeToString()),))

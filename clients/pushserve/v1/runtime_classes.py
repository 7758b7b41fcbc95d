"""Message classes and gRPC stubs, made at import from a serialized descriptor.

They are what protoc's own modules hold, without their demands: code made by protoc runs under
two major versions of protobuf, and grpcio-tools' stubs ask for a grpcio as new as themselves.
These run under every version that the distribution allows (docs/decisions/0011-packages.md).
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import FileDescriptor, MethodDescriptor, ServiceDescriptor

# What every module made by protoc calls, so it stays as it is while protobuf supports those.
from google.protobuf.internal import builder


def add_messages(module: dict[str, Any], file_name: str) -> FileDescriptor:
    """Put the messages and enums of a file into `module`, the globals of a `_pb2` module.

    `file_name` is a serialized FileDescriptorProto beside this file. Modules of the files that
    it imports have to be imported before.
    """
    data = Path(__file__).with_name(file_name).read_bytes()
    file = descriptor_pool.Default().AddSerializedFile(data)
    builder.BuildMessageAndEnumDescriptors(file, module)
    builder.BuildTopDescriptorsAndMessages(file, module["__name__"], module)
    return file


def add_services(module: dict[str, Any], messages: ModuleType) -> None:
    """Put stub, servicer and registration of each service of `messages` into `module`."""
    for service in messages.DESCRIPTOR.services_by_name.values():
        for made in (_stub(service), _servicer(service), _registration(service)):
            made.__module__ = module["__name__"]
            module[made.__name__] = made


def _stub(service: ServiceDescriptor) -> type:
    def __init__(self: object, channel: Any) -> None:  # noqa: N807 -- it becomes the class's
        for method in service.methods:
            make = getattr(channel, _arity(method))
            call = make(
                f"/{service.full_name}/{method.name}",
                request_serializer=_class(method.input_type).SerializeToString,
                response_deserializer=_class(method.output_type).FromString,
            )
            setattr(self, method.name, call)

    return type(f"{service.name}Stub", (), {"__init__": __init__})


def _servicer(service: ServiceDescriptor) -> type:
    return type(f"{service.name}Servicer", (), {m.name: _unimplemented for m in service.methods})


def _unimplemented(_self: object, _request: object, context: grpc.ServicerContext) -> None:
    context.set_code(grpc.StatusCode.UNIMPLEMENTED)
    context.set_details("Method not implemented!")
    raise NotImplementedError("Method not implemented!")


def _registration(service: ServiceDescriptor) -> Any:
    def add_to_server(servicer: object, server: grpc.Server) -> None:
        handlers = {m.name: _handler(getattr(servicer, m.name), m) for m in service.methods}
        handler = grpc.method_handlers_generic_handler(service.full_name, handlers)
        server.add_generic_rpc_handlers((handler,))

    add_to_server.__name__ = add_to_server.__qualname__ = f"add_{service.name}Servicer_to_server"
    return add_to_server


def _handler(call: Any, method: MethodDescriptor) -> grpc.RpcMethodHandler[Any, Any]:
    make = getattr(grpc, f"{_arity(method)}_rpc_method_handler")
    handler: grpc.RpcMethodHandler[Any, Any] = make(
        call,
        request_deserializer=_class(method.input_type).FromString,
        response_serializer=_class(method.output_type).SerializeToString,
    )
    return handler


def _arity(method: MethodDescriptor) -> str:
    """Name a method's kind as grpc does: "unary_stream", …."""
    sides = (method.client_streaming, method.server_streaming)
    return "_".join("stream" if streams else "unary" for streams in sides)


def _class(message: Any) -> Any:
    return message_factory.GetMessageClass(message)

"""Reflection: the descriptors of all services on the port, by grpc.reflection v1 and v1alpha."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import FileDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha import reflection_pb2

from pushserve_server.api.status import failure
from pushserve_server.api.transport.call import Call
from pushserve_server.errors import NotFound

_ALPHA: Final[Any] = reflection_pb2.DESCRIPTOR


def _v1() -> FileDescriptor:
    """Make the file of v1, which is v1alpha's under another package."""
    proto = descriptor_pb2.FileDescriptorProto()
    _ALPHA.CopyToProto(proto)
    old, new = proto.package, "grpc.reflection.v1"
    proto.package, proto.name = new, "grpc/reflection/v1/reflection.proto"
    for message in proto.message_type:
        for field in filter(lambda field: field.type_name, message.field):
            field.type_name = field.type_name.replace(f".{old}.", f".{new}.")
    for service in proto.service:
        for method in service.method:
            method.input_type = method.input_type.replace(f".{old}.", f".{new}.")
            method.output_type = method.output_type.replace(f".{old}.", f".{new}.")
    pool = DescriptorPool()
    pool.AddSerializedFile(proto.SerializeToString())
    found: FileDescriptor = pool.FindFileByName(proto.name)
    return found


SERVICES: Final[tuple[ServiceDescriptor, ...]] = tuple(
    file.services_by_name["ServerReflection"] for file in (_v1(), _ALPHA)
)


class Reflection:
    """The servicer of one version of the protocol; `services` gives the names to list."""

    def __init__(self, service: ServiceDescriptor, services: Callable[[], Iterable[str]]) -> None:
        self._response: Any = message_factory.GetMessageClass(service.methods[0].output_type)
        self._services = services
        self._pools = (descriptor_pool.Default(), *(one.file.pool for one in SERVICES))

    async def ServerReflectionInfo(
        self, requests: AsyncIterator[Any], call: Call
    ) -> AsyncIterator[Any]:
        """Answer each question about a file, a symbol, or the services."""
        async for request in requests:
            response = self._response(valid_host=request.host, original_request=type(request)())
            response.original_request.CopyFrom(request)
            try:
                self._answer(request, response)
            except (KeyError, NotFound):
                what = request.WhichOneof("message_request") or "request"
                failed = failure(NotFound("symbol", "", f"this server does not know that {what}"))
                response.error_response.error_code = failed.number
                response.error_response.error_message = failed.message
            yield response

    def _answer(self, request: Any, response: Any) -> None:
        kind = request.WhichOneof("message_request")
        if kind == "list_services":
            for name in sorted(self._services()):
                response.list_services_response.service.add(name=name)
        elif kind == "file_by_filename":
            self._give_files(response, self._find("FindFileByName", request.file_by_filename))
        elif kind == "file_containing_symbol":
            self._give_files(response, self._file_of(request.file_containing_symbol))
        elif kind == "file_containing_extension":
            asked = request.file_containing_extension
            extendee = self._find("FindMessageTypeByName", asked.containing_type)
            pool = extendee.file.pool
            found = pool.FindExtensionByNumber(extendee, asked.extension_number)
            self._give_files(response, found.file)
        elif kind == "all_extension_numbers_of_type":
            extendee = self._find("FindMessageTypeByName", request.all_extension_numbers_of_type)
            numbers = [e.number for e in extendee.file.pool.FindAllExtensions(extendee)]
            answer = response.all_extension_numbers_response
            answer.base_type_name = extendee.full_name
            answer.extension_number.extend(sorted(numbers))
        else:
            raise KeyError(kind)

    def _find(self, how: str, name: str) -> Any:
        for pool in self._pools:
            try:
                return getattr(pool, how)(name)
            except KeyError:
                continue
        raise KeyError(name)

    def _file_of(self, symbol: str) -> FileDescriptor:
        """Find the file of any symbol; protobuf's own lookup does not know methods."""
        try:
            file: FileDescriptor = self._find("FindFileContainingSymbol", symbol)
        except KeyError:
            method = self._find("FindMethodByName", symbol)
            file = method.containing_service.file
        return file

    @staticmethod
    def _give_files(response: Any, file: FileDescriptor) -> None:
        """Give a file and all that it imports, each once."""
        for one in _with_imports(file, set()):
            proto = descriptor_pb2.FileDescriptorProto()
            one.CopyToProto(proto)
            data = proto.SerializeToString()
            response.file_descriptor_response.file_descriptor_proto.append(data)


def _with_imports(file: FileDescriptor, seen: set[str]) -> Iterator[FileDescriptor]:
    if file.name in seen:
        return
    seen.add(file.name)
    yield file
    for imported in file.dependencies:
        yield from _with_imports(imported, seen)

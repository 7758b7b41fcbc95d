"""Makes docs/api.md of the .proto files: every method, message and enum, in their own words."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)

HERE = Path(__file__).resolve().parent
PAGE = HERE.with_name("docs") / "api.md"
_METHOD, _MESSAGE, _ENUM, _SERVICE = 2, 4, 5, 6
"""Numbers of fields in descriptor.proto, of which a comment's path is made."""
_HEAD = """\
# The API

Made by `make protos` of [{name}](../protos/{name}). Codes, reasons and limits are in
[errors.md](errors.md); how each is called from Python and the shell in [client.md](client.md).
A server also answers `grpc.health.v1.Health` and server reflection (v1 and v1alpha), so
`grpcurl -plaintext HOST:PORT describe {package}.{service}` shows the same.
"""


def make() -> str:
    """Give the page's text."""
    with tempfile.NamedTemporaryFile() as out:
        names = sorted(str(path.relative_to(HERE)) for path in HERE.rglob("*.proto"))
        command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{HERE}", "--include_source_info"]
        subprocess.run([*command, f"--descriptor_set_out={out.name}", *names], check=True)
        files = FileDescriptorSet.FromString(out.read()).file
    return "\n".join(line for file in files for line in _page(file)) + "\n"


def _page(file: FileDescriptorProto) -> Iterator[str]:
    says = {
        tuple(location.path): location.leading_comments
        for location in file.source_code_info.location
    }
    service = file.service[0]
    yield _HEAD.format(name=file.name, package=file.package, service=service.name)
    yield f"## {service.name}\n\n{_text(says[_SERVICE, 0])}\n"
    yield "| method | request | response | |\n|---|---|---|---|"
    for number, method in enumerate(service.method):
        request = f"{'stream ' * method.client_streaming}{_link(method.input_type)}"
        response = f"{'stream ' * method.server_streaming}{_link(method.output_type)}"
        comment = _line(says[_SERVICE, 0, _METHOD, number])
        yield f"| `{method.name}` | {request} | {response} | {comment} |"
    yield "\n## Messages"
    for number, message in enumerate(file.message_type):
        yield from _message(message, says, (_MESSAGE, number))
    yield "\n## Enums"
    for number, enum in enumerate(file.enum_type):
        yield from _enum(enum, says, (_ENUM, number))


def _message(
    message: DescriptorProto, says: dict[tuple[int, ...], str], path: tuple[int, ...]
) -> Iterator[str]:
    yield f"\n### {message.name}\n\n{_text(says[path])}\n"
    yield "| field | number | type | |\n|---|---|---|---|"
    for number, field in enumerate(message.field):
        comment = _line(says[*path, 2, number])
        if field.HasField("oneof_index"):
            comment += f" One of `{message.oneof_decl[field.oneof_index].name}`."
        yield f"| `{field.name}` | {field.number} | {_type(field)} | {comment} |"


def _enum(
    enum: EnumDescriptorProto, says: dict[tuple[int, ...], str], path: tuple[int, ...]
) -> Iterator[str]:
    yield f"\n### {enum.name}\n\n{_text(says[path])}\n"
    yield "| value | number | |\n|---|---|---|"
    for number, value in enumerate(enum.value):
        yield f"| `{value.name}` | {value.number} | {_line(says[*path, 2, number])} |"


def _type(field: FieldDescriptorProto) -> str:
    many = "repeated " if field.label == FieldDescriptorProto.LABEL_REPEATED else ""
    if field.type_name:
        return many + _link(field.type_name)
    return f"{many}{FieldDescriptorProto.Type.Name(field.type).removeprefix('TYPE_').lower()}"


def _link(type_name: str) -> str:
    package, _, name = type_name.rpartition(".")
    if package.startswith(".google"):
        return f"`{type_name.removeprefix('.')}`"
    return f"[{name}](#{name.lower()})"


def _text(comment: str) -> str:
    return "\n".join(line.removeprefix(" ") for line in comment.strip("\n").splitlines())


def _line(comment: str) -> str:
    return " ".join(comment.split()).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(make())

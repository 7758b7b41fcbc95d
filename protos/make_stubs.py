"""Makes what clients/ holds of the .proto files: descriptors, modules, types (`make protos`).

For each file beside this script, below the same path: a copy of it (users make stubs for other
languages from that), its descriptor (`.binpb`), and the modules that make classes of the
descriptor at import, with their types (`.pyi`). For the client alone: the messages of gRPC's
health check and error details.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto, FileDescriptorSet
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2

HERE = Path(__file__).resolve().parent
CLIENTS = HERE.with_name("clients")

_MESSAGES = '''\
"""Messages of {file}. Made by `make protos`."""

{imports}
from {package}.runtime_classes import add_messages

DESCRIPTOR = add_messages(globals(), "{name}.binpb")
'''
_SERVICES = '''\
"""Stubs and servicers of {file}. Made by `make protos`."""

from {package} import {name}_pb2
from {package}.runtime_classes import add_services

add_services(globals(), {name}_pb2)
'''


def make(target: Path) -> None:
    """Make everything below `target`."""
    for file in _run_protoc(target).file:
        _write_modules(target, file)
        shutil.copyfile(HERE / file.name, target / file.name)
    for path in target.rglob("*_pb2_grpc.pyi"):
        _drop_version_constants(path)
    _write_known_messages(target / "pushserve_client")


def _run_protoc(target: Path) -> FileDescriptorSet:
    names = sorted(str(path.relative_to(HERE)) for path in HERE.rglob("*.proto"))
    outs = [f"--{kind}_out=quiet:{target}" for kind in ("mypy", "mypy_grpc")]
    # The plugins that make the types are beside this Python.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with tempfile.NamedTemporaryFile() as descriptors:
        command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{HERE}", *outs]
        command += [f"--descriptor_set_out={descriptors.name}", *names]
        subprocess.run(command, env={**os.environ, "PATH": path}, check=True)
        return FileDescriptorSet.FromString(descriptors.read())


def _write_modules(target: Path, file: FileDescriptorProto) -> None:
    path = target / file.name
    modules = [name.removesuffix(".proto").replace("/", ".") for name in file.dependency]
    texts = {
        "file": file.name,
        "name": path.stem,
        "package": file.package,
        "imports": "".join(f"import {module}_pb2\n" for module in modules),
    }
    path.with_name(f"{path.stem}_pb2.py").write_text(_MESSAGES.format(**texts))
    if file.service:
        path.with_name(f"{path.stem}_pb2_grpc.py").write_text(_SERVICES.format(**texts))
    for message in file.message_type:
        _drop_json_names(message)
    path.with_suffix(".binpb").write_bytes(file.SerializeToString(deterministic=True))


def _drop_json_names(message: DescriptorProto) -> None:
    """Leave out what protoc's Python modules leave out.

    The same file may then come into a process from such a module too: protobuf takes a file
    twice only where both are equal.
    """
    for field in message.field:
        field.ClearField("json_name")
    for nested in message.nested_type:
        _drop_json_names(nested)


def _drop_version_constants(path: Path) -> None:
    """Leave out the types of two constants that only grpcio-tools' modules have."""
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith("GRPC_")))


def _write_known_messages(folder: Path) -> None:
    modules = (status_pb2, error_details_pb2, health_pb2)
    files = [FileDescriptorProto.FromString(m.DESCRIPTOR.serialized_pb) for m in modules]
    folder.mkdir(exist_ok=True)
    known = FileDescriptorSet(file=files).SerializeToString(deterministic=True)
    (folder / "known_messages.binpb").write_bytes(known)


if __name__ == "__main__":
    make(CLIENTS)

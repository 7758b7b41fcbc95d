"""Known messages: of gRPC's health check and of its error details, in a pool of their own.

They are not taken from grpcio-health-checking and googleapis-common-protos: pip would bring
their newest releases, and with them a newer protobuf than an environment's other packages bear.
In a pool of their own they cannot clash with those either.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import any_pb2, descriptor_pb2, duration_pb2, message_factory
from google.protobuf.descriptor_pool import DescriptorPool


@cache
def known_message(name: str) -> Any:
    """Give the class of a message by its full name, such as "google.rpc.ErrorInfo".

    Raises:
        KeyError: it is none of those known here.
    """
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(name))


@cache
def _pool() -> DescriptorPool:
    pool = DescriptorPool()
    for imported in (any_pb2, duration_pb2):
        pool.AddSerializedFile(imported.DESCRIPTOR.serialized_pb)
    data = Path(__file__).with_name("known_messages.binpb").read_bytes()
    for file in descriptor_pb2.FileDescriptorSet.FromString(data).file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool

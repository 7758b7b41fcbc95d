"""Messages of pushserve/v1/model_service.proto. Made by `make protos`."""

import google.protobuf.any_pb2
import google.protobuf.struct_pb2
import google.protobuf.timestamp_pb2

from pushserve.v1.runtime_classes import add_messages

DESCRIPTOR = add_messages(globals(), "model_service.binpb")

"""Stubs and servicers of pushserve/v1/model_service.proto. Made by `make protos`."""

from pushserve.v1 import model_service_pb2
from pushserve.v1.runtime_classes import add_services

add_services(globals(), model_service_pb2)

"""The contract's classes, made at import, are what protoc's own modules hold."""

import pickle
import runpy
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from google.protobuf import struct_pb2

from pushserve.v1 import model_service_pb2 as pb
from pushserve.v1 import model_service_pb2_grpc as stubs

ROOT = Path(__file__).resolve().parents[2]
MESSAGES = sorted(pb.DESCRIPTOR.message_types_by_name)


@pytest.fixture(scope="module")
def protoc(tmp_path_factory) -> Path:
    """A folder with the modules that protoc makes of the contract."""
    folder = tmp_path_factory.mktemp("protoc")
    outs = [f"--python_out={folder}", f"--grpc_python_out={folder}"]
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'protos'}", *outs]
    subprocess.run([*command, "pushserve/v1/model_service.proto"], check=True)
    return folder / "pushserve" / "v1"


SHOW = """\
import sys
sys.path.insert(0, sys.argv[1])
import model_service_pb2 as pb

for name, value in sorted(vars(pb).items()):
    if isinstance(value, type):
        print(name, value.__mro__[1:], value.DESCRIPTOR.full_name)
    elif isinstance(value, int):
        print(name, value)
    elif hasattr(value, "items") and not name.startswith("_"):
        print(name, value.items())
print(pb.DESCRIPTOR.serialized_pb)
"""


def test_every_name_of_protocs_module_is_there(protoc):
    """Messages, enums and their values; and the descriptor is the same, byte by byte."""
    theirs, ours = (
        subprocess.run(
            [sys.executable, "-c", SHOW, folder], capture_output=True, text=True, check=True
        ).stdout
        for folder in (protoc, Path(pb.__file__).parent)
    )

    assert len(MESSAGES) + len(pb.DeploymentState.keys()) < len(theirs.splitlines())
    assert theirs == ours


@pytest.mark.parametrize("order", ["protoc ours", "ours protoc"])
def test_a_users_own_stubs_may_be_loaded_too(protoc, order):
    """Made of the same file, they are no second file of that name."""
    load = {
        "ours": "import pushserve.v1.model_service_pb2\n",
        "protoc": f"sys.path.insert(0, {str(protoc)!r}); import model_service_pb2\n",
    }
    code = "import sys\n" + "".join(load[who] for who in order.split())

    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_is_pickled(name):
    """So it sits in its module under its name."""
    message = getattr(pb, name)()

    assert ("pushserve.v1.model_service_pb2", name) == (
        type(message).__module__,
        type(message).__qualname__,
    )
    assert message == pickle.loads(pickle.dumps(message))


def test_a_message_with_all_kinds_of_fields_is_pickled():
    row = struct_pb2.Struct()
    row.update({"a": [1, None, {"b": "c"}]})
    request = pb.PredictRequest(model="iris", version=3, rows=[row], outputs=["label"])

    copy = pickle.loads(pickle.dumps(request))

    assert request == copy
    assert type(copy) is pb.PredictRequest


class Recording:
    """A channel that notes which method is made, of which kind."""

    def __init__(self):
        self.made = {}

    def __getattr__(self, kind):
        def make(path, request_serializer, response_deserializer, **_options):
            reply = response_deserializer(b"").DESCRIPTOR.full_name
            self.made[path] = (kind, request_serializer.__name__, reply)

        return make


def test_a_stub_calls_what_the_generated_one_calls(protoc):
    """Each method's path, kind and messages."""
    generated = runpy.run_path(str(protoc / "model_service_pb2_grpc.py"))
    theirs, ours = Recording(), Recording()

    generated["ModelServiceStub"](theirs)
    stubs.ModelServiceStub(ours)

    assert 12 == len(theirs.made)
    assert theirs.made == ours.made


def test_a_servicer_without_a_method_says_so():
    """As the generated base class does."""
    server = grpc.server(ThreadPoolExecutor(max_workers=1))
    stubs.add_ModelServiceServicer_to_server(stubs.ModelServiceServicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = stubs.ModelServiceStub(channel)
            with pytest.raises(grpc.RpcError) as caught:
                stub.Get(pb.GetRequest(model="iris"), timeout=10)
            assert grpc.StatusCode.UNIMPLEMENTED == caught.value.code()
            with pytest.raises(grpc.RpcError) as caught:
                list(stub.WatchDeployment(pb.WatchDeploymentRequest(), timeout=10))
            assert grpc.StatusCode.UNIMPLEMENTED == caught.value.code()
    finally:
        server.stop(grace=None).wait()


def test_stubs_sit_in_their_module():
    names = {"ModelServiceStub", "ModelServiceServicer", "add_ModelServiceServicer_to_server"}

    assert names == {
        name
        for name, value in vars(stubs).items()
        if getattr(value, "__module__", "") == "pushserve.v1.model_service_pb2_grpc"
    }

"""What a user does with the client, run by the Python of a clean environment (3.9 as well).

Arguments: the server's address, rows of iris as JSON, modules to import before ours. Prints what
came as JSON.
"""

import asyncio
import importlib
import json
import pickle
import sys

import grpc

for name in sys.argv[3:]:
    importlib.import_module(name)

from pushserve.v1 import model_service_pb2 as pb
from pushserve.v1 import model_service_pb2_grpc as stubs
from pushserve_client import AsyncClient, Client, errors

ADDRESS, ROWS = sys.argv[1], json.loads(sys.argv[2])


def chances(prediction):
    return prediction.to_lists()["probabilities"]


def error_of(call):
    try:
        call()
    except errors.CallError as error:
        resource = error.resource.name if error.resource else ""
        fields = [violation.field for violation in error.violations]
        return [type(error).__name__, error.reason, resource, fields]


def calls(client):
    deployment = next(client.deployments(model="iris"))
    prediction = client.predict("iris", ROWS)
    return {
        "serving": client.is_serving("iris"),
        "states": [str(d.state) for d in client.watch(deployment.name, timeout=20)],
        "unary": chances(prediction),
        "pickled": chances(pickle.loads(pickle.dumps(prediction))),
        "stream": [chances(p) for p in client.predict_stream("iris", [ROWS[:1], ROWS[1:]])],
        "not found": error_of(lambda: client.get("no-such-model")),
        "bad column": error_of(lambda: client.predict("iris", {"petal width (cm)": ["wide"]})),
    }


async def aio_calls():
    async with AsyncClient(ADDRESS) as client:
        return {
            "serving": await client.is_serving(),
            "unary": chances(await client.predict("iris", ROWS)),
            "stream": [chances(p) async for p in client.predict_stream("iris", [ROWS])],
        }


def stub_calls():
    """The messages and stubs themselves, without the client."""
    values = [value for row in ROWS for value in row]
    tensor = pb.Tensor(shape=[len(ROWS), len(ROWS[0])], values=values)
    request = pb.PredictRequest(model="iris", tensor=tensor, outputs=["probabilities"])
    request = pickle.loads(pickle.dumps(request))
    with grpc.insecure_channel(ADDRESS) as channel:
        reply = stubs.ModelServiceStub(channel).Predict(request, timeout=20)
    return {"values": list(reply.outputs[0].doubles.values), "shape": list(reply.outputs[0].shape)}


with Client(ADDRESS) as client:
    found = {"client": calls(client), "aio": asyncio.run(aio_calls()), "stub": stub_calls()}
print(json.dumps(found))

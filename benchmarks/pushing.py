"""Push to served: registering a repository, following its deployment, and timing its steps."""

from __future__ import annotations

import itertools
from collections import defaultdict
from pathlib import Path
from typing import Any

import models
import processes
import summary

from pushserve.v1 import model_service_pb2 as pb
from pushserve.v1 import model_service_pb2_grpc as pb_grpc


def register(stub: pb_grpc.ModelServiceStub, url: str) -> str:
    """Give the name of the deployment that takes the repository live."""
    return stub.Register(pb.RegisterRequest(source=url), timeout=20).deployment.name


def followed(stub: pb_grpc.ModelServiceStub, name: str) -> pb.Deployment:
    """Wait for a deployment's end; give it."""
    last = pb.Deployment()
    for reply in stub.WatchDeployment(pb.WatchDeploymentRequest(name=name), timeout=120):
        last = reply.deployment
    return last


def deploy(stub: pb_grpc.ModelServiceStub, url: str) -> pb.Deployment:
    """Take a repository live, and insist that it is."""
    last = followed(stub, register(stub, url))
    assert last.state == pb.DEPLOYMENT_STATE_READY, last
    return last


def push_to_served(
    root: Path, stub: pb_grpc.ModelServiceStub, pushes: int
) -> dict[str, list[float]]:
    """Push a small model again and again; print each step's time, give the summary's figures."""
    steps: dict[str, list[float]] = defaultdict(list)
    for i in range(pushes):
        files = models.files("logistic", "auto") | {"note.txt": str(i).encode()}
        done = deploy(stub, processes.repository(root, "logistic-auto", files))
        for step, took in times(done).items():
            steps[step].append(took)
    print(f"\npush to served, {pushes} pushes of a small model, ms: p50 (min-max)")
    for step, values in steps.items():
        print(f"  {step:16} {summary.spread(values)}")
    # Pushes after the first find everything warm.
    return {
        key: [ms / 1e3 for ms in steps[step]]
        for key, step in (("push", "push to served"), ("push after fetch", "after the fetch"))
    }


def times(done: pb.Deployment) -> dict[str, float]:
    """Give how long each state of a deployment took, in milliseconds."""
    first: dict[Any, float] = {}
    for event in done.events:
        first.setdefault(event.state, event.time.ToNanoseconds() / 1e6)
    order = sorted(first.items(), key=lambda item: item[1])
    found = {
        pb.DeploymentState.Name(state).removeprefix("DEPLOYMENT_STATE_"): after - at
        for (state, at), (_, after) in itertools.pairwise(order)
    }
    found["push to served"] = order[-1][1] - order[0][1]
    found["after the fetch"] = order[-1][1] - first[pb.DEPLOYMENT_STATE_CHECKING]
    return found

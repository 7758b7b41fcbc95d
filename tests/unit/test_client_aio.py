"""The asyncio client against a real server."""

import asyncio

import pytest

from pushserve.v1 import model_service_pb2 as pb
from pushserve_client import AsyncClient, DeploymentFailed, DeploymentState, errors
from tests.fixtures.fake_service import SOURCE


def run(server, story):
    async def main():
        async with AsyncClient(server.address, timeout=10) as client:
            return await asyncio.wait_for(story(client), timeout=30)

    return asyncio.run(main())


def test_predict_and_read(fake_server):
    """The same calls with the same values as the client that blocks."""

    async def story(client):
        prediction = await client.predict("iris", [[5.0], [0.5]])
        models = [model.name async for model in client.list(page_size=1)]
        details = await client.get("iris")
        return prediction.label.tolist(), models, details.version.number, await client.is_serving()

    assert (["big", "small"], ["echo", "iris"], 2, True) == run(fake_server, story)


def test_calls_side_by_side(fake_server):
    """One connection carries many calls."""

    async def story(client):
        replies = await asyncio.gather(*(client.predict("iris", [[x]]) for x in range(20)))
        return [reply.label[0] for reply in replies]

    assert ["small"] * 2 + ["big"] * 18 == run(fake_server, story)


def test_register_pin_delete(fake_server):
    """What changes something works as well."""

    async def story(client):
        deployment = await client.register(SOURCE, ref="main")
        again = await client.get_deployment(deployment.name)
        listed = [one async for one in client.deployments()]
        pinned = await client.pin("iris", version=1)
        unpinned = await client.unpin("iris")
        gone = await client.delete("iris")
        return deployment == again == listed[0], pinned.pinned, unpinned.pinned, gone

    assert (True, True, False, ("refs/heads/main",)) == run(fake_server, story)


def test_wait_over_a_lost_connection(fake_server):
    """A watch is taken up again."""
    fake_server.service.script("old", pb.DEPLOYMENT_STATE_SUPERSEDED, superseded_by="new")
    fake_server.service.script("new", pb.DEPLOYMENT_STATE_READY)
    fake_server.service.watch_losses = 1

    deployment = run(fake_server, lambda client: client.wait("old", timeout=20))

    assert ("new", DeploymentState.READY) == (deployment.name, deployment.state)


def test_a_failure_is_raised(fake_server):
    """With its reason."""
    failure = pb.DeploymentError(reason="ARTIFACT_MISSING", message="none", fix="commit one")
    fake_server.service.script("d", pb.DEPLOYMENT_STATE_FAILED, error=failure)

    with pytest.raises(DeploymentFailed, match="ARTIFACT_MISSING: none"):
        run(fake_server, lambda client: client.wait("d", timeout=10))


def test_errors_carry_their_details(fake_server):
    """As in the client that blocks."""
    with pytest.raises(errors.NotFound) as caught:
        run(fake_server, lambda client: client.get("nothing"))

    assert errors.Resource("model", "nothing") == caught.value.resource
    assert "MODEL_NOT_FOUND" == caught.value.reason

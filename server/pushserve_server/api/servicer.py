"""Servicer: `pushserve.v1.ModelService` but for Predict; a method converts, calls, converts."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Final, TypeVar

from pushserve.v1 import model_service_pb2 as pb
from pushserve_server.api import paging, record_messages
from pushserve_server.api.installed_packages import server_info
from pushserve_server.api.transport.call import Call
from pushserve_server.deploy.decide import FRONTEND_TTL, behind
from pushserve_server.domain.records import Version
from pushserve_server.errors import BadInput, Violation
from pushserve_server.registry import Registry
from pushserve_server.serve.async_registry import AsyncRegistry
from pushserve_server.settings import Settings
from pushserve_server.source.spellings import known_spelling
from pushserve_server.source.urls import parse_url

T = TypeVar("T")

_SWAP_PATIENCE: Final = 20.0
"""How long a call that moves a ref waits for the frontends, in seconds: some load first."""
_TO_ANSWER: Final = 0.5
"""What is left of a caller's deadline when it is answered all the same, in seconds."""
_SWAP_LOOK: Final = 0.02


class ModelService:
    """Answers for one frontend."""

    def __init__(self, settings: Settings, store: AsyncRegistry) -> None:
        self._settings = settings
        self._store = store

    async def Register(self, request: pb.RegisterRequest, call: Call) -> pb.RegisterResponse:
        """Put a deployment on disk, or give the one that exists."""
        # Only who registers needs git: its import costs each frontend 10 MB.
        from pushserve_server.deploy.register import register  # noqa: PLC0415

        deployment, created = await self._store.ask_remote(
            lambda registry: register(
                registry,
                self._settings,
                source=request.source,
                ref=request.ref,
                commit=request.commit,
                path=request.path,
                model=request.model,
                retry=request.retry,
            )
        )
        return pb.RegisterResponse(
            deployment=record_messages.deployment_to_proto(deployment), created=created
        )

    async def List(self, request: pb.ListRequest, call: Call) -> pb.ListResponse:
        """Page through the models."""
        size = paging.page_size(request.page_size)
        after = paging.name_from_token(request.page_token)
        models = await self._store.run(
            lambda registry: registry.list_models(
                prefix=request.name_prefix,
                source=request.source and _known_source(registry, request.source),
                limit=size + 1,
                after=after,
            )
        )
        page = models[:size]
        token = paging.token_from_name(page[-1].name) if len(models) > size else ""
        return pb.ListResponse(
            models=[record_messages.model_to_proto(model) for model in page], next_page_token=token
        )

    async def Get(self, request: pb.GetRequest, call: Call) -> pb.GetResponse:
        """Give one model in full."""
        model, shown, versions = await self._store.run(
            lambda registry: (
                registry.get_model(request.model),
                _version_shown(registry, request),
                registry.versions(request.model),
            )
        )
        return pb.GetResponse(
            model=record_messages.model_to_proto(model),
            version=record_messages.version_to_proto(shown),
            versions=[record_messages.version_to_proto(version) for version in versions],
        )

    async def GetDeployment(
        self, request: pb.GetDeploymentRequest, call: Call
    ) -> pb.GetDeploymentResponse:
        """Give one deployment."""
        name = _named(request.name)
        deployment = await self._store.run(lambda registry: registry.get_deployment(name))
        return pb.GetDeploymentResponse(deployment=record_messages.deployment_to_proto(deployment))

    async def ListDeployments(
        self, request: pb.ListDeploymentsRequest, call: Call
    ) -> pb.ListDeploymentsResponse:
        """Page through the deployments, newest first."""
        size = paging.page_size(request.page_size)
        before = paging.id_from_token(request.page_token)
        state = record_messages.STATE_FROM_PROTO.get(request.state)
        found = await self._store.run(
            lambda registry: registry.list_deployments(
                source=request.source and _known_source(registry, request.source),
                model=request.model,
                ref=request.ref,
                state=state,
                limit=size + 1,
                before=before,
            )
        )
        page = found[:size]
        token = paging.token_from_id(page[-1].id) if len(found) > size else ""
        return pb.ListDeploymentsResponse(
            deployments=[record_messages.deployment_to_proto(d) for d in page],
            next_page_token=token,
        )

    async def WatchDeployment(
        self, request: pb.WatchDeploymentRequest, call: Call
    ) -> AsyncIterator[pb.WatchDeploymentResponse]:
        """Send the deployment, then each change, until it has ended."""
        async with contextlib.aclosing(self._store.watch(_named(request.name))) as changes:
            async for deployment in changes:
                yield pb.WatchDeploymentResponse(
                    deployment=record_messages.deployment_to_proto(deployment)
                )

    async def Pin(self, request: pb.PinRequest, call: Call) -> pb.PinResponse:
        """Hold a ref on one version."""
        target = request.WhichOneof("target")
        ref = await self._change_everywhere(
            lambda registry: registry.pin(
                request.model,
                request.ref,
                number=request.version if target == "version" else None,
                commit=request.commit if target == "commit" else None,
            ),
            call,
        )
        return pb.PinResponse(ref=record_messages.ref_to_proto(ref))

    async def Unpin(self, request: pb.UnpinRequest, call: Call) -> pb.UnpinResponse:
        """Let a ref follow Git again."""
        ref = await self._change_everywhere(
            lambda registry: registry.unpin(request.model, request.ref), call
        )
        return pb.UnpinResponse(ref=record_messages.ref_to_proto(ref))

    async def Delete(self, request: pb.DeleteRequest, call: Call) -> pb.DeleteResponse:
        """Stop serving a model, or one ref of it."""
        refs = await self._change_everywhere(
            lambda registry: registry.delete(request.model, request.ref), call
        )
        return pb.DeleteResponse(refs=refs)

    async def Info(self, request: pb.InfoRequest, call: Call) -> pb.InfoResponse:
        """Say what the server runs on."""
        return await asyncio.to_thread(server_info)

    async def _change_everywhere(self, change: Callable[[Registry], T], call: Call) -> T:
        """Run a change that moves refs; answer when every live frontend serves by it.

        One that does not come along in time is no reason to fail: the change is on disk.
        """
        result = await self._store.run(change)
        generation = await self._store.generation()
        patience = min(_SWAP_PATIENCE, call.deadline - time.time() - _TO_ANSWER)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                # Other processes make it true: there is no event to wait for.
                while behind(  # noqa: ASYNC110
                    await self._store.live_frontends(FRONTEND_TTL), generation
                ):
                    await asyncio.sleep(_SWAP_LOOK)
        return result


def _named(name: str) -> str:
    """Give a deployment's name, which has to be there."""
    if not name:
        raise BadInput(
            "the deployment has no name", [Violation("name", "expected a deployment's name")]
        )
    return name


def _known_source(registry: Registry, url: str) -> str:
    parts = parse_url(url)
    return known_spelling(url, registry.source_urls(parts.name)) or str(parts)


def _version_shown(registry: Registry, request: pb.GetRequest) -> Version:
    target = request.WhichOneof("target")
    if target == "commit":
        return registry.find_version(request.model, commit=request.commit)
    if target == "version":
        return registry.find_version(request.model, number=request.version)
    ref = registry.resolve_ref(request.model, request.ref)
    return registry.find_version(request.model, number=ref.effective)

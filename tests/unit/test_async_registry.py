"""A frontend's own view of the registry: what callers ask for never holds up what it must do."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager

import pytest

from pushserve_server.domain.records import Failure
from pushserve_server.domain.states import DeploymentState as S
from pushserve_server.errors import NotFound
from pushserve_server.registry import Registry
from pushserve_server.serve.async_registry import AsyncRegistry
from tests.fixtures.registry import Steps, token

SOON = 20


@pytest.fixture
def registry(tmp_path):
    registry = Registry.open(f"sqlite:///{tmp_path / 'registry.sqlite3'}")
    yield registry
    registry.close()


@contextmanager
def store_of(registry: Registry, folder) -> Iterator[AsyncRegistry]:
    store = AsyncRegistry(registry, "f1")
    try:
        yield store
    finally:
        store.close()


class Counting:
    """Counts how often a registry's method is called."""

    def __init__(self, monkeypatch, registry: Registry, method: str) -> None:
        self.calls = 0
        self._call = getattr(registry, method)
        monkeypatch.setattr(registry, method, self)

    def __call__(self, *arguments):
        self.calls += 1
        return self._call(*arguments)


def test_a_frontend_lives_and_follows_while_callers_take_every_thread(registry, tmp_path):
    """Twenty slow Lists: heartbeat, generation and snapshot do not wait behind them."""
    gate = threading.Event()

    async def run(store: AsyncRegistry) -> list[tuple[str, int]]:
        await store.started("r1")
        slow = [asyncio.create_task(store.run(lambda _: gate.wait(60))) for _ in range(20)]
        try:
            async with asyncio.timeout(SOON):
                await store.heartbeat(7)
                await store.record_load(3, None)
                assert await store.generation() == (await store.snapshot(60)).generation
                return registry.live_frontends(60)
        finally:
            gate.set()
            await asyncio.gather(*slow)

    with store_of(registry, tmp_path) as store:
        assert [("f1", 7)] == asyncio.run(run(store))


def test_a_frontend_that_the_registry_forgot_says_again_what_it_has_loaded(registry, tmp_path):
    """Else no deployment of these versions would ever be loaded everywhere."""

    async def run(store: AsyncRegistry) -> None:
        await store.started("r1")
        await store.record_load(3, None)
        await store.record_load(4, "no memory")
        await store.record_load(5, None)
        await store.forget_load(5)
        registry.frontend_stopped("f1")
        await store.heartbeat(7)

    with store_of(registry, tmp_path) as store:
        asyncio.run(run(store))
    assert [("f1", 7)] == registry.live_frontends(60)
    assert [{"f1": None}, {"f1": "no memory"}, {}] == [registry.loads(i, 60) for i in (3, 4, 5)]


def test_the_last_heartbeat_comes_before_the_end(registry, tmp_path):
    """A frontend that stops leaves no row behind, even while heartbeats are on their way."""

    async def run(store: AsyncRegistry) -> None:
        await store.started("r1")
        beats = [asyncio.create_task(store.heartbeat(n)) for n in range(8)]
        await asyncio.sleep(0)
        await store.stopped()
        await asyncio.gather(*beats)

    with store_of(registry, tmp_path) as store:
        asyncio.run(run(store))
    assert [] == registry.live_frontends(60)


async def until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110 (threads make it true)
        await asyncio.sleep(0.01)


async def states(store: AsyncRegistry, name: str, seen: asyncio.Event | None = None) -> list[S]:
    found = []
    async with aclosing(store.watch(name)) as changes:
        async for deployment in changes:
            found.append(deployment.state)
            if seen is not None:
                seen.set()
    return found


def test_many_watchers_of_one_deployment_read_it_once(registry, tmp_path, monkeypatch):
    """One poll for all of them; each sees every change that lasted, and the end."""
    watchers = 40
    steps = Steps(registry)
    made = steps.register()
    reads = Counting(monkeypatch, registry, "get_deployment")

    async def run(store: AsyncRegistry) -> tuple[list[list[S]], int]:
        first = [asyncio.Event() for _ in range(watchers)]
        tasks = [asyncio.create_task(states(store, made.name, seen)) for seen in first]
        async with asyncio.timeout(SOON):
            for seen in first:
                await seen.wait()
            begun = reads.calls
            taken = await store.run(lambda _: steps.take())
            await until(lambda: reads.calls >= begun + 3)  # it was looked at since
            failure = Failure("X", S.FETCHING, "x", "y")
            await store.run(lambda _: registry.fail(token(taken), failure))
            return await asyncio.gather(*tasks), begun

    with store_of(registry, tmp_path) as store:
        seen, begun = asyncio.run(run(store))
    assert [[S.QUEUED, S.FETCHING, S.FAILED]] * watchers == seen
    assert begun < watchers


def test_a_watch_ends_with_its_last_watcher(registry, tmp_path):
    steps = Steps(registry)
    made = steps.register()

    async def run(store: AsyncRegistry) -> None:
        seen = [asyncio.Event(), asyncio.Event()]
        tasks = [asyncio.create_task(states(store, made.name, event)) for event in seen]
        async with asyncio.timeout(SOON):
            for event in seen:
                await event.wait()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await until(lambda: len(asyncio.all_tasks()) == 1)

    with store_of(registry, tmp_path) as store:
        asyncio.run(run(store))


def test_watching_what_is_not_there_says_so_to_each(registry, tmp_path):
    async def run(store: AsyncRegistry) -> list[object]:
        async with asyncio.timeout(SOON):
            return await asyncio.gather(
                *(states(store, "d-nowhere") for _ in range(3)), return_exceptions=True
            )

    with store_of(registry, tmp_path) as store:
        assert [NotFound] * 3 == [type(end) for end in asyncio.run(run(store))]


def test_others_hear_of_a_change_whose_caller_has_gone(registry, tmp_path):
    """A call is cancelled while its change is written: others are woken all the same."""
    written, told = threading.Event(), threading.Event()
    registry.when_changed(told.set)

    def change(registry: Registry) -> None:
        written.set()
        registry.heartbeat("f2", "r1", 1)

    async def run(store: AsyncRegistry) -> None:
        call = asyncio.create_task(store.run(change))
        await asyncio.to_thread(written.wait, SOON)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)

    with store_of(registry, tmp_path) as store:
        asyncio.run(run(store))
        assert told.wait(SOON)

"""1,000 models in one frontend: what is loaded, what is unloaded, and how much is done for it."""

import asyncio

import pytest

from pushserve_server.domain.records import EngineName
from pushserve_server.errors import ModelFailed
from pushserve_server.serve.models import version_cache as shelf_module
from tests.fixtures.many import Gated, doubled, follow
from tests.fixtures.registry import NOON, Steps, sha


async def call(catalogue, model, value=1.0):
    """Predict as the servicer does."""
    live = catalogue.route(model) or await catalogue.wait_for_route(model)
    return await doubled(live, value)


async def settled(catalogue):
    """Wait until nothing is loaded, preloaded or unloaded any more."""
    shelf = catalogue._shelf
    async with asyncio.timeout(30):
        await catalogue._preloading
        while tasks := {*shelf._loading.values(), *shelf._background}:
            await asyncio.wait(tasks)


def loaded(catalogue):
    return sorted(live.version.model for live in catalogue._shelf.live.values())


def test_1000_models_start_with_the_loads_that_the_rule_names(many):
    many.add(1000)

    async def run():
        async with many.catalogue("m0007", "m000*", limit=3) as catalogue:
            assert 1000 == len(catalogue.table)
            assert catalogue.applied == many.registry.generation()
            await settled(catalogue)
            assert ["m0007", "m0000", "m0001"] == many.loads
            ready = catalogue.readiness()
            assert 1000 == len(ready)
            assert all(ready.values())

    asyncio.run(run())


def test_a_change_of_one_model_of_1000_makes_one_entry_anew(many):
    many.add(1000)

    async def run():
        async with many.catalogue() as catalogue:
            catalogue.readiness()
            before = dict(catalogue.table)
            many.registry.pin("m0500", "main", number=1, commit=None, now=NOON)
            many.registry.delete("m0600", "", NOON)
            await follow(catalogue, catalogue._store)
            after = catalogue.table
            assert {"m0600"} == before.keys() - after.keys()
            assert 0 == len([name for name in after if after[name] is not before[name]])
            assert {"m0600": None} == catalogue.readiness()
            assert {} == catalogue.readiness()
            assert [] == many.loads

    asyncio.run(run())


def test_a_first_call_loads_once_however_many_wait(many):
    many.add(3)

    async def run():
        async with many.catalogue() as catalogue:
            answers = await asyncio.gather(*(call(catalogue, "m0001", i) for i in range(20)))
            assert [2.0 * i for i in range(20)] == answers
            assert ["m0001"] == many.loads
            assert 4.0 == await doubled(catalogue.route("m0001"), 2.0)

    asyncio.run(run())


def test_the_one_not_called_for_longest_makes_room_and_comes_back(many):
    many.add(6)

    async def run():
        async with many.catalogue() as catalogue:
            await call(catalogue, "m0000")
            size = catalogue.route("m0000").engine.size
        many.loads.clear()
        limit = 3 * size + size // 2
        async with many.catalogue(graph_memory=limit) as catalogue:
            for i in (0, 1, 2, 0, 3):
                assert 2.0 * i == await call(catalogue, f"m000{i}", i)
            await settled(catalogue)
            assert ["m0000", "m0002", "m0003"] == loaded(catalogue)
            for i in (1, 2, 4, 5):
                await call(catalogue, f"m000{i}")
                await settled(catalogue)
                sizes = [live.engine.size for live in catalogue._shelf.live.values()]
                assert sum(sizes) <= limit
            assert "m0001" == many.loads[4]

    asyncio.run(run())


def test_calls_in_flight_end_on_what_is_unloaded(many, monkeypatch):
    many.add(2)

    async def run():
        async with many.catalogue(graph_memory=1) as catalogue:
            first = await catalogue.wait_for_route("m0000")
            gate = asyncio.Event()
            monkeypatch.setattr(Gated, "gate", gate)
            in_flight = asyncio.create_task(doubled(first, 8.0))
            await asyncio.sleep(0)
            assert first.busy
            await catalogue.wait_for_route("m0001")
            assert ["m0001"] == loaded(catalogue)
            assert not in_flight.done()
            assert first.engine.ready
            gate.set()
            assert 16.0 == await in_flight
            await settled(catalogue)
            assert not first.engine.ready

    asyncio.run(run())


def test_a_preload_lets_nobody_go(many):
    many.add(5)

    async def run():
        async with many.catalogue() as catalogue:
            await call(catalogue, "m0000")
            size = catalogue.route("m0000").engine.size
        many.loads.clear()
        async with many.catalogue("*", graph_memory=2 * size + size // 2) as catalogue:
            await settled(catalogue)
            assert ["m0000", "m0001"] == many.loads == loaded(catalogue)

    asyncio.run(run())


def test_what_is_deployed_is_loaded_told_and_kept(many):
    """Whatever the rule and the limit say."""
    many.add(2)
    steps = Steps(many.registry)
    steps.registry.frontend_started("f1", "r", NOON)

    async def run():
        async with many.catalogue(graph_memory=1) as catalogue:
            taken = deploying(many, steps)
            version = many.registry.find_version("new", number=1).id
            await follow(catalogue, catalogue._store)
            await settled(catalogue)
            assert {"f1": None} == many.registry.loads(version, NOON, 9)
            await call(catalogue, "m0000")
            await settled(catalogue)
            assert ["m0000", "new"] == loaded(catalogue)
            many.registry.activate(taken.id, "me", NOON)
            await follow(catalogue, catalogue._store)
            assert 6.0 == await doubled(catalogue.route("new"), 3.0)
            assert ["new", "m0000"] == many.loads

    asyncio.run(run())


def deploying(many, steps):
    """Take a new model to LOADING."""
    steps.register(sha("b"), path="new")
    taken = steps.take()
    steps.build(taken, "new", engine=EngineName.ONNX)
    many.use_bundle("new")
    return taken


def test_what_cannot_be_loaded_says_so_and_is_tried_again(many, monkeypatch):
    many.add(2)
    graph = next((many.root / "bundles").glob("*/files/model.onnx"))
    whole = graph.read_bytes()

    async def run():
        async with many.catalogue() as catalogue:
            catalogue.readiness()
            graph.write_bytes(b"x" * len(whole))
            for _ in range(2):
                with pytest.raises(ModelFailed, match="m0000 cannot be loaded"):
                    await call(catalogue, "m0000")
            assert ["m0000"] == many.loads
            assert {"m0000": False} == catalogue.readiness()
            graph.write_bytes(whole)
            monkeypatch.setattr(shelf_module, "_RETRY_FAILED", 0.0)
            assert {"m0000": True} == catalogue.readiness()
            assert 2.0 == await call(catalogue, "m0000")

    asyncio.run(run())


def test_a_ref_that_moves_away_from_a_loaded_version_is_swapped_when_the_new_one_is_there(many):
    many.add(1)

    async def run():
        async with many.catalogue() as catalogue:
            await call(catalogue, "m0000")
            second = many.add_version("m0000")
            many.registry.pin("m0000", "main", number=2, commit=None, now=NOON)
            await follow(catalogue, catalogue._store)
            assert -1 == catalogue.applied
            assert 1 == catalogue.route("m0000").version.number
            await settled(catalogue)
            assert many.registry.generation() == catalogue.applied
            assert second == catalogue.route("m0000").version.id

    asyncio.run(run())

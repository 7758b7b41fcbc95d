"""1,000 models in one frontend: what is loaded, what is unloaded, and how much is done for it."""

import asyncio

import pytest
from grpc_health.v1.health_pb2 import HealthCheckResponse

from pushserve_runtime.build_error import BuildFailed
from pushserve_runtime.onnx_predictor import OnnxPredictor
from pushserve_server.api.health import Health
from pushserve_server.domain.records import EngineName
from pushserve_server.errors import ModelFailed
from pushserve_server.serve.models import model_table as model_table_module
from pushserve_server.serve.models import version_cache
from tests.fixtures.many import Gated, doubled, follow
from tests.fixtures.registry import Steps, sha, token

SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING


async def call(model_table, model, value=1.0):
    """Predict as the servicer does."""
    live = model_table.route(model) or await model_table.wait_for_route(model)
    return await doubled(live, value)


async def settled(model_table):
    """Wait until nothing is loaded, preloaded or unloaded any more."""
    cache = model_table._cache
    async with asyncio.timeout(30):
        await model_table._preloading
        while tasks := {*cache._loading.values(), *cache._background}:
            await asyncio.wait(tasks)


def as_worker(many, model):
    """Make a model's version one of a worker; give its id."""
    version = many.registry.find_version(model, number=1)
    with many.registry._store.writing() as tables:
        tables.versions.update(engine="worker").where(tables.versions.id == version.id).execute()
    return version.id


def loaded(model_table):
    return sorted(live.version.model for live in model_table._cache.live.values())


def test_1000_models_start_with_the_loads_that_the_rule_names(many):
    many.add(1000)

    async def run():
        async with many.model_table("m0007", "m000*", limit=3) as model_table:
            assert 1000 == len(model_table.table)
            assert model_table.applied == many.registry.generation()
            await settled(model_table)
            assert ["m0007", "m0000", "m0001"] == many.loads
            ready = model_table.readiness()
            assert 1000 == len(ready)
            assert all(ready.values())

    asyncio.run(run())


def test_a_change_of_one_model_of_1000_makes_one_entry_anew(many):
    many.add(1000)

    async def run():
        async with many.model_table() as model_table:
            model_table.readiness()
            before = dict(model_table.table)
            many.registry.pin("m0500", "main", number=1, commit=None)
            many.registry.delete("m0600", "")
            await follow(model_table, model_table._store)
            after = model_table.table
            assert {"m0600"} == before.keys() - after.keys()
            assert 0 == len([name for name in after if after[name] is not before[name]])
            assert {"m0600": None} == model_table.readiness()
            assert {} == model_table.readiness()
            assert [] == many.loads

    asyncio.run(run())


def test_a_first_call_loads_once_however_many_wait(many):
    many.add(3)

    async def run():
        async with many.model_table() as model_table:
            answers = await asyncio.gather(*(call(model_table, "m0001", i) for i in range(20)))
            assert [2.0 * i for i in range(20)] == answers
            assert ["m0001"] == many.loads
            assert 4.0 == await doubled(model_table.route("m0001"), 2.0)

    asyncio.run(run())


def test_the_one_not_called_for_longest_makes_room_and_comes_back(many):
    many.add(6)

    async def run():
        async with many.model_table() as model_table:
            await call(model_table, "m0000")
            size = model_table.route("m0000").engine.size
        many.loads.clear()
        limit = 3 * size + size // 2
        async with many.model_table(graph_memory=limit) as model_table:
            for i in (0, 1, 2, 0, 3):
                assert 2.0 * i == await call(model_table, f"m000{i}", i)
            await settled(model_table)
            assert ["m0000", "m0002", "m0003"] == loaded(model_table)
            for i in (1, 2, 4, 5):
                await call(model_table, f"m000{i}")
                await settled(model_table)
                sizes = [live.engine.size for live in model_table._cache.live.values()]
                assert sum(sizes) <= limit
            assert "m0001" == many.loads[4]

    asyncio.run(run())


def test_calls_in_flight_end_on_what_is_unloaded(many, monkeypatch):
    many.add(2)

    async def run():
        async with many.model_table(graph_memory=1) as model_table:
            first = await model_table.wait_for_route("m0000")
            gate = asyncio.Event()
            monkeypatch.setattr(Gated, "gate", gate)
            in_flight = asyncio.create_task(doubled(first, 8.0))
            await asyncio.sleep(0)
            assert first.busy
            await model_table.wait_for_route("m0001")
            assert ["m0001"] == loaded(model_table)
            assert not in_flight.done()
            assert first.engine.ready
            gate.set()
            assert 16.0 == await in_flight
            await settled(model_table)
            assert not first.engine.ready

    asyncio.run(run())


def test_a_preload_lets_nobody_go(many):
    many.add(5)

    async def run():
        async with many.model_table() as model_table:
            await call(model_table, "m0000")
            size = model_table.route("m0000").engine.size
        many.loads.clear()
        async with many.model_table("*", graph_memory=2 * size + size // 2) as model_table:
            await settled(model_table)
            assert ["m0000", "m0001"] == many.loads == loaded(model_table)

    asyncio.run(run())


def test_what_is_deployed_is_loaded_told_and_kept(many):
    """Whatever the rule and the limit say."""
    many.add(2)
    steps = Steps(many.registry)
    steps.registry.frontend_started("f1", "r")

    async def run():
        async with many.model_table(graph_memory=1) as model_table:
            taken = deploying(many, steps)
            version = many.registry.find_version("new", number=1).id
            await follow(model_table, model_table._store)
            await settled(model_table)
            assert {"f1": None} == many.registry.loads(version, 9)
            await call(model_table, "m0000")
            await settled(model_table)
            assert ["m0000", "new"] == loaded(model_table)
            many.registry.activate(token(taken))
            await follow(model_table, model_table._store)
            assert 6.0 == await doubled(model_table.route("new"), 3.0)
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

    def refuse(*_, **__):
        raise BuildFailed("ARTIFACT_UNREADABLE", "ONNX Runtime cannot load it", "export it anew")

    async def run():
        async with many.model_table() as model_table:
            model_table.readiness()
            with_fault.setattr(OnnxPredictor, "open", refuse)
            for _ in range(2):
                with pytest.raises(ModelFailed, match="m0000 cannot be loaded"):
                    await call(model_table, "m0000")
            assert ["m0000"] == many.loads
            assert {"m0000": False} == model_table.readiness()
            with_fault.undo()
            monkeypatch.setattr(version_cache, "_RETRY_FAILED", 0.0)
            assert {"m0000": True} == model_table.readiness()
            assert 2.0 == await call(model_table, "m0000")

    with pytest.MonkeyPatch.context() as with_fault:
        asyncio.run(run())


def test_a_ref_that_moves_away_from_a_loaded_version_is_swapped_when_the_new_one_is_there(many):
    many.add(1)

    async def run():
        async with many.model_table() as model_table:
            await call(model_table, "m0000")
            second = many.add_version("m0000")
            many.registry.pin("m0000", "main", number=2, commit=None)
            await follow(model_table, model_table._store)
            assert -1 == model_table.applied
            assert 1 == model_table.route("m0000").version.number
            await settled(model_table)
            assert many.registry.generation() == model_table.applied
            assert second == model_table.route("m0000").version.id

    asyncio.run(run())


def test_a_worker_that_is_being_started_is_not_ready(many):
    """Nor is the server, until what is loaded first is there."""
    many.add(3)
    worker = as_worker(many, "m0001")
    many.registry.keep_alive([worker], by_ref=True)

    async def run():
        async with many.model_table() as model_table:
            assert {"m0000": True, "m0001": False, "m0002": True} == model_table.readiness()
            assert not model_table.has_begun
            await model_table._cache.loaded(worker)
            assert {"m0001": True} == model_table.readiness()
            assert model_table.has_begun

    asyncio.run(run())


def test_a_worker_that_the_supervisor_has_not_asked_for_yet_is_not_ready(many):
    """It is one of those to start with."""
    many.add(2)
    as_worker(many, "m0000")

    async def run():
        async with many.model_table("m0000") as model_table:
            assert {"m0000": False, "m0001": True} == model_table.readiness()
            assert not model_table.has_begun

    asyncio.run(run())


def test_workers_that_nobody_asks_for_are_loaded_by_their_first_call(many, monkeypatch):
    monkeypatch.setattr(model_table_module, "_WORKERS_ASKED", 0.0)
    many.add(1)
    as_worker(many, "m0000")

    async def run():
        async with many.model_table("*") as model_table:
            await model_table._preloading
            assert {"m0000": True} == model_table.readiness()
            assert model_table.has_begun

    asyncio.run(run())


def test_a_server_that_loads_nothing_at_its_start_is_ready(many):
    many.add(1)

    async def run():
        async with many.model_table() as model_table:
            assert model_table.has_begun

    asyncio.run(run())


def test_the_health_of_a_server_follows():
    health = Health(("a.Service",))

    health.show({"m": False}, has_begun=False)
    before = dict(health._shown)
    health.show({"m": True}, has_begun=True)

    assert {NOT_SERVING} == set(before.values())
    assert {SERVING} == set(health._shown.values())
    assert {"", "a.Service", "m"} == set(health._shown)

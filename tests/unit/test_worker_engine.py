"""The frontend's end of a worker's socket, against a listener that only notes what comes."""

import asyncio
from datetime import UTC, datetime

import numpy as np
import pytest

from pushserve_runtime.frames import HEADER, Kind, encode_json
from pushserve_runtime.signature import DType, Feature, Layout, OutputSpec, Signature
from pushserve_server.api.doors.predict_outputs import make_encoder
from pushserve_server.domain.records import EngineName, Version
from pushserve_server.errors import ModelFailed
from pushserve_server.serve.codec.decoding import Decoder
from pushserve_server.serve.codec.output_selection import OutputSelection, plan_outputs
from pushserve_server.serve.engines.worker_engine import WorkerEngine
from pushserve_server.worker_notes import say_why

SIGNATURE = Signature(
    Layout.MATRIX, (Feature("x"),), (OutputSpec("value", DType.FLOAT64),), ("value",)
)
VERSION = Version(
    1, "m", 1, "c" * 40, EngineName.WORKER, "d" * 64, SIGNATURE, {}, datetime.now(UTC)
)


class Listener:
    """Greets, answers nothing else, and notes (kind, request id) of each frame."""

    def __init__(self) -> None:
        self.frames: asyncio.Queue[tuple[int, int]] = asyncio.Queue()
        self.hung_up = asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                size, request, kind = HEADER.unpack(await reader.readexactly(HEADER.size))
                await reader.readexactly(4 + size - HEADER.size)
                if kind == Kind.HELLO:
                    writer.writelines(encode_json(request, Kind.READY, {}))
                else:
                    self.frames.put_nowait((kind, request))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()
            self.hung_up.set()


@pytest.mark.parametrize("how", ["the caller hangs up", "the deadline passes"])
def test_a_call_that_nobody_waits_for_is_cancelled_in_the_worker(tmp_path, how):
    path = tmp_path / "w.sock"

    async def run() -> list[tuple[int, int]]:
        listener = Listener()
        server = await asyncio.start_unix_server(listener, str(path))
        engine = WorkerEngine(path, tmp_path / "note")
        await engine.load()
        request = Decoder(SIGNATURE, 9).from_tensor(np.array([1.0]), [])
        selection = OutputSelection(
            plan_outputs(SIGNATURE, ()), make_encoder(VERSION, SIGNATURE.outputs)
        )
        call = asyncio.create_task(engine.predict(request, selection))
        seen = [await asyncio.wait_for(listener.frames.get(), 10)]
        if how == "the caller hangs up":
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
        else:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(call, 0.01)
        seen.append(await asyncio.wait_for(listener.frames.get(), 10))
        await engine.close()
        await asyncio.wait_for(listener.hung_up.wait(), 10)
        await asyncio.sleep(0)  # its transport closes
        server.close()
        await server.wait_closed()
        return seen

    (first, request), (second, cancelled) = asyncio.run(run())
    assert (Kind.PREDICT, Kind.CANCEL) == (first, second)
    assert request == cancelled


def test_a_worker_that_cannot_load_its_model_ends_the_wait_with_its_reason(tmp_path):
    """And when there is one that can, later, it is used."""
    path, note = tmp_path / "w.sock", tmp_path / "w.why"
    why = "model.pkl cannot be loaded: ValueError: no such opcode"

    async def run() -> None:
        engine = WorkerEngine(path, note)
        waiting = asyncio.create_task(engine.load())
        await asyncio.sleep(0)
        say_why(note, why)
        for load in (waiting, engine.load()):
            with pytest.raises(ModelFailed) as caught:
                await asyncio.wait_for(load, 20)
            assert ("LOAD_FAILED", why) == (caught.value.code_reason, caught.value.message)
        note.unlink()
        listener = Listener()
        server = await asyncio.start_unix_server(listener, str(path))
        await asyncio.wait_for(engine.load(), 20)
        assert engine.ready
        await engine.close()
        await asyncio.wait_for(listener.hung_up.wait(), 20)
        server.close()

    asyncio.run(run())

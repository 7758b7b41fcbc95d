"""The frontend's end of workers' sockets, against workers that do what a test has them do."""

import asyncio
import json
import threading
from pathlib import Path

import numpy as np
import pytest

from pushserve.v1 import model_service_pb2 as pb
from pushserve_runtime.frames import Array, Kind, encode_arrays
from pushserve_runtime.signature import DType
from pushserve_server.errors import BadAnswer, BadInput, ModelFailed, Overloaded, Unavailable
from pushserve_server.worker_sockets import (
    begin_anew,
    complaint_of,
    may_be_loadable,
    say_unloadable,
)
from tests.fixtures.scripted_worker import (
    OBJECTS,
    TABLE,
    TEXTS,
    ScriptedWorker,
    asked,
    echo,
    frame,
    result,
)


def run(coroutine):
    return asyncio.run(coroutine)


async def until(look):
    async with asyncio.timeout(10):
        while not look():  # noqa: ASYNC110 (what is looked at has no event)
            await asyncio.sleep(0.005)


def values(answer: bytes) -> list[float]:
    return list(pb.PredictResponse.FromString(answer).outputs[0].doubles.values)


@pytest.mark.parametrize("how", ["the caller hangs up", "the deadline passes"])
def test_a_call_that_nobody_waits_for_is_cancelled_in_the_worker(tmp_path, how):
    async def story():
        worker = ScriptedWorker()
        async with asked(tmp_path, worker) as one:
            call = asyncio.create_task(one.ask())
            seen = [await worker.frames.get()]
            if how == "the caller hangs up":
                call.cancel()
                await asyncio.gather(call, return_exceptions=True)
            else:
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(call, 0.01)
            seen.append(await worker.frames.get())
        return seen

    (first, request), (second, cancelled) = run(story())
    assert (Kind.PREDICT, Kind.CANCEL) == (first, second)
    assert request == cancelled


@pytest.mark.parametrize("answer", [echo, lambda request: frame(request, Kind.DROPPED)])
def test_an_answer_that_comes_after_its_call_was_given_up_is_no_lie(tmp_path, answer):
    async def story():
        worker = ScriptedWorker()
        async with asked(tmp_path, worker) as one:
            call = asyncio.create_task(one.ask())
            _, number = await worker.frames.get()
            call.cancel()
            await worker.frames.get()
            worker.writers[0].write(answer(number))
            worker.answer = echo
            return await one.ask(), worker.connections, complaint_of(tmp_path / "0.sock")

    answered, connections, complaint = run(story())
    assert [1.5] == values(answered)
    assert (1, None) == (connections, complaint)


GIB = 1 << 30
LIES = {
    "a head of 1 GiB": lambda n: frame(n, Kind.RESULT, bytes(100), GIB),
    "an error of 1 GiB": lambda n: frame(n, Kind.ERROR, bytes(100), GIB),
    "an error of 65 KiB": lambda n: frame(n, Kind.ERROR, b'{"reason": "X"}' + b" " * 65 * 1024),
    "nobody asked": lambda n: result(n + 1, [1.0]),
    "READY again": lambda n: frame(n, Kind.READY, b"{}"),
    "a PREDICT": lambda n: frame(n, Kind.PREDICT),
    "dropped though somebody waits": lambda n: frame(n, Kind.DROPPED),
    "no kind": lambda n: frame(n, 99),
    "a length of 0": lambda _: bytes(12),
    "2^32 arrays": lambda n: frame(n, Kind.RESULT, bytes(4) + b"\1\0\0\0" + b"\xff" * 4 + bytes(4)),
    "two rows": lambda n: result(n, [1.0, 2.0]),
    "another type": lambda n: _of(n, Array(DType.INT64, np.array([1]))),
    "columns": lambda n: _of(n, Array(DType.FLOAT64, np.array([[1.0, 2.0]]))),
    "nulls": lambda n: _of(n, Array(DType.FLOAT64, np.array([1.0]), np.array([True]))),
    "no bytes": lambda n: frame(n, Kind.RESULT),
    "more bytes": lambda n: frame(n, Kind.RESULT, result(n, [1.0])[12:] + bytes(8)),
}


def _of(number: int, *arrays: Array) -> bytes:
    body = b"".join(encode_arrays(0, len(arrays[0].values), arrays))
    return frame(number, Kind.RESULT, body)


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_ends_the_connection_and_the_worker(tmp_path, lie):
    """Whoever waits is told, the supervisor is, and nothing that was announced is waited for."""

    async def story():
        worker = ScriptedWorker(LIES[lie])
        async with asked(tmp_path, worker) as one:
            with pytest.raises(Unavailable) as caught:
                await one.ask()
            complaint = complaint_of(tmp_path / "0.sock")
            begin_anew(tmp_path / "0.sock")
            worker.answer = echo
            return caught.value, complaint, await one.ask()

    error, complaint, later = run(story())
    assert "WORKER_BROKEN" == error.code_reason == complaint.reason
    assert "m v1" in error.message
    assert str(tmp_path) not in error.message
    assert [1.5] == values(later)


def test_a_second_answer_is_a_lie(tmp_path):
    async def story():
        worker = ScriptedWorker(lambda n: result(n, [1.0]) * 2)
        async with asked(tmp_path, worker) as one:
            answer = await one.ask()
            return answer, complaint_of(tmp_path / "0.sock")

    answer, complaint = run(story())
    assert [1.0] == values(answer)
    assert "WORKER_BROKEN" == complaint.reason


TEXT_LIES = {
    "offsets that fall": b"\0\0\0\0\5\0\0\0\1\0\0\0" + b"a" * 4,
    "an offset beyond": b"\0\0\0\0\xff\0\0\0\xff\0\0\0",
    "no offsets": b"",
    "no UTF-8": b"\0\0\0\0\1\0\0\0\2\0\0\0\xff\xfe",
    "half a surrogate pair": b"\0\0\0\0\3\0\0\0\3\0\0\0\xed\xa0\x80",
}


@pytest.mark.parametrize("lie", TEXT_LIES)
def test_lies_in_texts(tmp_path, lie):
    data = TEXT_LIES[lie]
    head = bytes((6, 1, 0, 0)) + len(data).to_bytes(4, "little") + b"\2\0\0\0" + bytes(4)
    body = bytes(4) + b"\2\0\0\0" + b"\1\0\0\0" + bytes(4) + head + data + bytes(-len(data) % 8)

    async def story():
        worker = ScriptedWorker(lambda n: frame(n, Kind.RESULT, body))
        async with asked(tmp_path, worker, signature=TEXTS) as one:
            with pytest.raises(Unavailable) as caught:
                await one.ask(2)
            return caught.value.code_reason

    assert "WORKER_BROKEN" == run(story())


@pytest.mark.parametrize(
    ("said", "expected", "text"),
    [
        ({"reason": "MODEL_REJECTED", "message": "x"}, BadInput, "refuses"),
        ({"reason": "MODEL_FAILED", "message": "secret"}, ModelFailed, "failed"),
        ({"reason": "WHATEVER", "message": "secret"}, ModelFailed, "failed"),
        ({"reason": "ANSWER_INVALID", "message": "\ud800 is\nno text"}, BadAnswer, "? is no text"),
        ({"reason": "ANSWER_TOO_LARGE", "message": "x" * 9000}, BadAnswer, "x…"),
        ({"reason": "\ud800", "message": []}, ModelFailed, "failed"),
        ({"reason": "ANSWER_INVALID"}, ModelFailed, "cannot be read"),
        ([], ModelFailed, "cannot be read"),
        (7, ModelFailed, "cannot be read"),
        ("text", ModelFailed, "cannot be read"),
    ],
)
def test_what_a_worker_says_of_an_error_is_cut_and_cleaned(tmp_path, said, expected, text):
    async def story():
        body = json.dumps(said).encode()
        worker = ScriptedWorker(lambda n: frame(n, Kind.ERROR, body))
        async with asked(tmp_path, worker) as one:
            with pytest.raises(expected) as caught:
                await one.ask()
            return caught.value.message

    message = run(story())
    message.encode()
    assert text in message
    assert "secret" not in message
    assert len(message) < 400


@pytest.mark.parametrize("body", [b"\xff", b"[" * 30_000, b"9" * 30_000, b""])
def test_errors_that_are_no_json(tmp_path, body):
    async def story():
        worker = ScriptedWorker(lambda n: frame(n, Kind.ERROR, body))
        async with asked(tmp_path, worker) as one:
            with pytest.raises(ModelFailed, match="cannot be read"):
                await one.ask()

    run(story())


def test_silence_is_noticed(tmp_path):
    async def story():
        async with asked(tmp_path, ScriptedWorker(), patience=0.2) as one:
            with pytest.raises(Unavailable) as caught:
                await one.ask()
            return caught.value.code_reason

    assert "WORKER_HUNG" == run(story())


def an_hour_later(connection):
    """Have a connection look whether its worker has been silent for too long."""
    connection._heard -= 3600
    connection._look()


def test_silence_is_told_and_ends_the_worker(tmp_path):
    """To all who wait, whenever they came; the supervisor reads of it."""

    async def story():
        worker = ScriptedWorker()
        async with asked(tmp_path, worker) as one:
            first, later = (asyncio.create_task(one.ask()) for _ in range(2))
            await until(lambda: worker.frames.qsize() == 2)
            an_hour_later(one.engine._greeted[0])
            errors = await asyncio.gather(first, later, return_exceptions=True)
            return errors, complaint_of(tmp_path / "0.sock")

    errors, complaint = run(story())
    expected = "the worker of m v1 did not answer for 60 s; it is being started again"
    assert [("WORKER_HUNG", expected)] * 2 == [(e.code_reason, e.message) for e in errors]
    assert "WORKER_HUNG" == complaint.reason


def test_one_that_answers_others_but_not_this_call_hangs(tmp_path):
    """No call waits for ever, whatever else the worker does."""

    async def story():
        worker = ScriptedWorker()
        async with asked(tmp_path, worker, patience=0.2) as one:
            left_out = asyncio.create_task(one.ask())
            await worker.frames.get()
            worker.answer = echo
            while not left_out.done():
                try:
                    await one.ask()
                except Unavailable:
                    break
            with pytest.raises(Unavailable) as caught:
                await left_out
            return caught.value.code_reason

    assert "WORKER_HUNG" == run(story())


def test_one_that_owes_nothing_may_be_silent(tmp_path):
    async def story():
        worker = ScriptedWorker(echo)
        async with asked(tmp_path, worker) as one:
            await one.ask()
            an_hour_later(one.engine._greeted[0])
            await one.ask()
            return worker.connections, complaint_of(tmp_path / "0.sock")

    assert (1, None) == run(story())


def test_one_that_does_not_say_hello_is_asked_anew(tmp_path):
    """It may be loading: that it does not is for the supervisor to say."""

    async def story():
        worker = ScriptedWorker(echo, greets=False)
        async with asked(tmp_path, worker, patience=0.3) as one:
            load = asyncio.create_task(one.engine.load())
            await until(lambda: worker.connections > 2)
            assert not one.engine.ready
            worker.greets = True
            await load
            return await one.ask(), complaint_of(tmp_path / "0.sock")

    answer, complaint = run(story())
    assert [1.5] == values(answer)
    assert complaint is None


def test_a_worker_that_does_not_read_is_sent_a_bounded_amount(tmp_path):
    """Calls are given up and made again: what waits to be read does not grow with them."""

    async def story():
        worker = ScriptedWorker()
        async with asked(tmp_path, worker, answer=2**30) as one:
            worker.reads.clear()
            await asyncio.gather(asyncio.wait_for(one.ask(), 0.01), return_exceptions=True)
            refused = 0
            for _ in range(70):  # of 0.8 MB each
                call = asyncio.create_task(one.ask(100_000))
                await asyncio.sleep(0)
                call.cancel()
                (error,) = await asyncio.gather(call, return_exceptions=True)
                refused += isinstance(error, Overloaded)
            connection = one.engine._greeted[0]
            return refused, connection._transport.get_write_buffer_size()

    refused, unsent = run(story())
    assert refused > 20
    assert unsent < 34 * 2**20


def test_numbers_too_many_for_one_answer_are_not_asked_for(tmp_path):
    async def story():
        worker = ScriptedWorker(echo)
        async with asked(tmp_path, worker, answer=80_000) as one:
            with pytest.raises(BadInput) as caught:
                await one.ask(10_001)
            return caught.value, worker.frames.qsize()

    error, frames = run(story())
    assert "ANSWER_TOO_LARGE" == error.code_reason
    assert "10001 rows takes 80008 bytes, and 80000 are the most" in error.message
    assert ["rows"] == [violation.field for violation in error.violations]
    assert 0 == frames


def test_objects_that_are_too_many_are_not_taken(tmp_path):
    """A worker's own limit is the one that it was told; one that ignores it is broken off."""

    async def story():
        worker = ScriptedWorker(lambda n: frame(n, Kind.RESULT, b"", 17 * 2**20))
        async with asked(tmp_path, worker, signature=OBJECTS, answer=2**30) as one:
            with pytest.raises(Unavailable) as caught:
                await one.ask()
            return caught.value.code_reason

    assert "WORKER_BROKEN" == run(story())


def test_each_worker_has_a_share_of_the_calls(tmp_path):
    """Who owes the least is asked; one after the other where all owe the same."""

    async def story():
        workers = [ScriptedWorker() for _ in range(3)]
        async with asked(tmp_path, *workers) as one:
            await until(lambda: len(one.engine._greeted) == 3)
            calls = [asyncio.create_task(one.ask()) for _ in range(9)]
            await until(lambda: sum(worker.frames.qsize() for worker in workers) == 9)
            shares = [worker.frames.qsize() for worker in workers]
            for worker in workers[:2]:
                for _ in range(3):
                    _, number = await worker.frames.get()
                    worker.writers[0].write(echo(number))
            await until(lambda: sum(call.done() for call in calls) == 6)
            calls += [asyncio.create_task(one.ask()) for _ in range(6)]
            await until(lambda: sum(worker.frames.qsize() for worker in workers) == 9)
            then = [worker.frames.qsize() for worker in workers]
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            return shares, then

    assert ([3, 3, 3], [3, 3, 3]) == run(story())


def test_one_that_hangs_keeps_no_others_calls(tmp_path):
    """While one of two is silent, the other is asked, though it owes more."""

    async def story():
        silent, good = ScriptedWorker(), ScriptedWorker(echo)
        async with asked(tmp_path, silent, good) as one:
            await until(lambda: len(one.engine._greeted) == 2)
            stuck = [asyncio.create_task(one.ask()) for _ in range(2)]
            await silent.frames.get()
            await until(
                lambda: one.engine._greeted[0].is_suspect(asyncio.get_running_loop().time())
            )
            good.answer = lambda _: None
            before = silent.frames.qsize()
            stuck += [asyncio.create_task(one.ask()) for _ in range(5)]
            await until(lambda: good.frames.qsize() >= 5)
            after = silent.frames.qsize()
            for call in stuck:
                call.cancel()
            await asyncio.gather(*stuck, return_exceptions=True)
            return before, after

    before, after = run(story())
    assert before == after


@pytest.mark.parametrize("times", [1, 2])
def test_what_a_stopped_worker_has_not_read_is_asked_again(tmp_path, times):
    """Once: a server stops what nobody calls, and that may be the moment of a call."""
    socket = tmp_path / "0.sock"

    async def story():
        worker, servers = ScriptedWorker(), []
        async with asked(tmp_path, worker) as one:
            call = asyncio.create_task(one.ask())
            for stopped in range(times):
                await worker.frames.get()
                socket.unlink()
                worker.writers[0].close()
                worker = ScriptedWorker(echo if stopped + 1 == times else lambda _: None)
                servers.append(await asyncio.start_unix_server(worker, str(socket)))
            try:
                return await call
            finally:
                for server in servers:
                    server.close()

    if times == 1:
        assert [1.5] == values(run(story()))
    else:
        with pytest.raises(Unavailable, match="was stopped; try again"):
            run(story())


def test_a_closed_engine_answers_nobody(tmp_path):
    """Not one that waits for a worker, and not one that has been asked."""

    async def story():
        worker = ScriptedWorker(greets=False)
        async with asked(tmp_path, worker) as one:
            waits = asyncio.create_task(one.ask())
            await asyncio.sleep(0.01)
            await one.engine.close()
            with pytest.raises(Unavailable) as caught:
                await waits
            assert "WORKER_STARTING" == caught.value.code_reason
            with pytest.raises(Unavailable):
                await one.ask()
        (Path(tmp_path) / "0.sock").unlink()
        async with asked(tmp_path, ScriptedWorker()) as one:
            asks = asyncio.create_task(one.ask())
            await asyncio.sleep(0.01)
            await one.engine.close()
            with pytest.raises(Unavailable):
                await asks

    run(story())


def test_a_worker_that_cannot_load_its_model_ends_the_wait_with_its_reason(tmp_path):
    """And when there is one that can, later, it is used."""
    why = "model.pkl cannot be loaded: ValueError: no such opcode"

    async def story():
        worker = ScriptedWorker(echo, greets=False)
        async with asked(tmp_path, worker) as one:
            waiting = asyncio.create_task(one.engine.load())
            await asyncio.sleep(0)
            say_unloadable(tmp_path, why)
            for refused in (waiting, one.engine.load(), one.ask()):
                with pytest.raises(ModelFailed) as caught:
                    await refused
                assert ("LOAD_FAILED", why) == (caught.value.code_reason, caught.value.message)
            may_be_loadable(tmp_path)
            worker.greets = True
            for writer in worker.writers:
                writer.close()
            await one.engine.load()
            return await one.ask()

    assert [1.5] == values(run(story()))


class Witness(str):
    """A text that notes on which thread it is encoded."""

    __slots__ = ("threads",)

    def encode(self, *how: str) -> bytes:
        self.threads.append(threading.current_thread())
        return super().encode(*how)


@pytest.mark.parametrize(("rows", "on_the_loop"), [(1, True), (20_000, False)])
def test_large_answers_are_made_off_the_event_loop(tmp_path, rows, on_the_loop):
    """160 KB take a while to make a message of; other calls go on meanwhile."""

    async def story():
        worker = ScriptedWorker(lambda n: result(n, [1.0] * rows))
        async with asked(tmp_path, worker) as one:
            assert [1.0] * rows == values(await one.ask(rows))
            return one.encoder.threads

    (thread,) = run(story())
    assert on_the_loop == (thread is threading.main_thread())


@pytest.mark.parametrize(("size", "on_the_loop"), [(100, True), (100_000, False)])
def test_large_requests_are_encoded_off_the_event_loop(tmp_path, size, on_the_loop):
    async def story():
        text = Witness("a" * 10)
        text.threads = []
        async with asked(tmp_path, ScriptedWorker(echo), signature=TABLE) as one:
            await one.ask_of([text], size)
        return text.threads

    assert {on_the_loop} == {thread is threading.main_thread() for thread in run(story())}

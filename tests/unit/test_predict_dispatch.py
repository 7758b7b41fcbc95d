"""What is answered at once, what the event loop is left, and what is refused."""

import asyncio
import time

import numpy as np

from pushserve.v1 import model_service_pb2 as pb
from pushserve_server.access.guard import ANYBODY
from pushserve_server.api.doors.model_service import decode_predict
from pushserve_server.api.predict_dispatch import PredictDispatcher
from pushserve_server.api.transport.call import Method
from pushserve_server.errors import BadInput, DeadlineExceeded, NotFound
from tests.fixtures.registry import sha

PREDICT = Method("/pushserve.v1.ModelService/Predict", "predict", decode=decode_predict)
UNKNOWN_FIELD = b"\xba\x7d\xf0\xa2\x04" + bytes(70_000)
"""Field 2007 with 70,000 bytes: what does not count, but is there."""


class FakeCall:
    """One request, and what it was answered."""

    def __init__(self, *values: float, model: str = "m0000", left: float = 60, **more) -> None:
        tensor = pb.Tensor(raw=np.array(values, float).tobytes())
        request = pb.PredictRequest(model=model, tensor=tensor, **more)
        self.method = PREDICT
        self.principal = ANYBODY
        self.body = request.SerializeToString()
        self.deadline = time.time() + left
        self.got: pb.PredictResponse | Exception | None = None
        self.gone = None

    def change(self, change) -> None:
        request = pb.PredictRequest.FromString(self.body)
        change(request)
        self.body = request.SerializeToString()

    def reply(self, data: bytes) -> None:
        assert self.got is None
        self.got = pb.PredictResponse.FromString(data)

    def fail(self, error: Exception) -> None:
        assert self.got is None
        self.got = error

    def when_gone(self, do) -> None:
        self.gone = do

    @property
    def doubled(self) -> list[float]:
        assert isinstance(self.got, pb.PredictResponse), self.got
        return list(self.got.outputs[0].doubles.values)


async def answered(*calls: FakeCall) -> None:
    async with asyncio.timeout(20):
        while any(one.got is None for one in calls):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def run_with(many, story) -> None:
    """Have a story told with a loaded model "m0000" and another that is not loaded, "m0001"."""
    many.add(2)

    async def main() -> None:
        async with many.model_table() as model_table:
            await model_table.wait_for_route("m0000")
            await story(PredictDispatcher(model_table))

    asyncio.run(main())


def test_what_is_loaded_and_small_is_answered_before_the_call_returns(many):
    async def story(predicting):
        calls = [FakeCall(1, 2), FakeCall(3, 4, 5, 6), FakeCall(7, 8)]
        predicting(calls)
        assert [[2, 4], [6, 8, 10, 12], [14, 16]] == [one.doubled for one in calls]

    run_with(many, story)


def test_what_has_to_be_loaded_first_is_answered_by_the_event_loop(many):
    async def story(predicting):
        first, other, by_number = (
            FakeCall(1, 2),
            FakeCall(3, 4, model="m0001"),
            FakeCall(5, 6, version=1),
        )
        await asyncio.to_thread(predicting, [other, first, by_number])
        assert [2, 4] == first.doubled
        await answered(other, by_number)
        assert ([6, 8], [10, 12]) == (other.doubled, by_number.doubled)
        assert "m0001" == other.got.model

    run_with(many, story)


def test_a_version_asked_for_before_is_answered_at_once(many):
    async def story(predicting):
        for target in ({"version": 1}, {"commit": sha("a")[:9]}):
            first, second = FakeCall(1, 2, **target), FakeCall(3, 4, **target)
            predicting([first])
            await answered(first)
            predicting([second])
            assert ([2, 4], [6, 8]) == (first.doubled, second.doubled)

    run_with(many, story)


def test_what_takes_long_to_decode_holds_up_nobody(many):
    async def story(predicting):
        large = FakeCall(1, 2)

        def make_large(request):
            request.ClearField("tensor")
            request.rows.add().update({"x1": 1, "x2": 2})

        large.change(make_large)
        large.body += UNKNOWN_FIELD
        small = FakeCall(3, 4)
        predicting([large, small])
        assert large.got is None
        assert [6, 8] == small.doubled
        await answered(large)
        assert [2, 4] == large.doubled

    run_with(many, story)


def test_each_bad_request_fails_alone(many):
    async def story(predicting):
        calls = [
            FakeCall(1, 2),
            FakeCall(1, 2, model="nobody"),
            FakeCall(float("nan"), 1),
            FakeCall(1, 2, 3),
            FakeCall(1, 2, outputs=["nothing"]),
            FakeCall(1, 2, left=-1),
            FakeCall(3, 4),
        ]
        predicting(calls)
        assert [[2, 4], [6, 8]] == [calls[0].doubled, calls[-1].doubled]
        kinds = [NotFound, BadInput, BadInput, BadInput, DeadlineExceeded]
        assert kinds == [type(one.got) for one in calls[1:-1]]

    run_with(many, story)


def test_who_gives_up_is_not_worked_for(many):
    async def story(predicting):
        predicting._model_table.route("m0000").engine.gate = gate = asyncio.Event()
        calls = FakeCall(*range(18))  # by version: the event loop's
        calls.change(lambda request: setattr(request, "version", 1))
        predicting([calls])
        async with asyncio.timeout(10):
            while calls.gone is None:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert calls.got is None
        calls.gone()
        await answered(calls)
        assert isinstance(calls.got, DeadlineExceeded)
        assert not predicting._tasks
        gate.set()

    run_with(many, story)


def test_closing_ends_what_is_still_worked_on(many):
    async def story(predicting):
        predicting._model_table.route("m0000").engine.gate = asyncio.Event()
        calls = FakeCall(1, 2, version=1)
        predicting([calls])
        await asyncio.sleep(0.1)
        assert calls.got is None
        await predicting.close()
        assert isinstance(calls.got, DeadlineExceeded)

    run_with(many, story)

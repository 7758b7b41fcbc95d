"""Calls that would wait too long are refused; the clock is an argument."""

import pytest

from pushserve_server.errors import Overloaded
from pushserve_server.serve.wait_limit import WaitLimiter


def paced(ended: int, seconds: float, longest: float = 2.0) -> WaitLimiter:
    """Give the pace of a version of which so many calls ended in so many seconds."""
    limiter = WaitLimiter(longest)
    limiter.begin(10.0)
    limiter.ended += ended
    limiter.check(0, 10.0 + seconds)
    return limiter


@pytest.mark.parametrize(
    ("ended", "seconds", "in_flight", "lets_in"),
    [
        (100, 1.0, 200, True),  # 100 a second: 200 take two seconds
        (100, 1.0, 201, False),
        (7000, 1.0, 1024, True),
        (5, 1.0, 20, False),
        (64, 0.5, 256, True),  # a batch counts by its calls
    ],
)
def test_by_how_fast_calls_end(ended, seconds, in_flight, lets_in):
    limiter = paced(ended, seconds)
    if lets_in:
        limiter.check(in_flight, 11.1)
        return
    with pytest.raises(Overloaded) as caught:
        limiter.check(in_flight, 11.1)
    assert in_flight / (ended / seconds) - 2.0 == pytest.approx(
        max(caught.value.retry_after, 0.0), abs=0.1
    )


def test_nothing_is_refused_before_the_pace_is_known():
    limiter = WaitLimiter(1.0)
    limiter.begin(0.0)
    limiter.check(1000, 0.9)
    limiter.ended += 1
    limiter.check(1000, 0.1)  # too soon to tell
    with pytest.raises(Overloaded):
        limiter.check(1000, 100.0)


@pytest.mark.parametrize("before", [0, 5000])
def test_while_no_call_ends_none_is_let_in(before):
    """A model that hangs keeps the calls that it has, and no others: they would fill a frontend."""
    limiter = paced(before, 1.0)
    limiter.begin(12.0)
    limiter.check(20, 13.9)
    with pytest.raises(Overloaded, match="none of 20 calls of this version has ended for 3 s"):
        limiter.check(20, 15.0)
    limiter.ended += 1000
    limiter.check(20, 15.1)


def test_idle_time_does_not_count():
    """Calls that come once a minute say nothing of how fast they are."""
    limiter = WaitLimiter(2.0)
    limiter.begin(0.0)
    limiter.ended += 1
    limiter.begin(60.0)
    limiter.ended += 100
    limiter.check(200, 61.0)
    with pytest.raises(Overloaded):
        limiter.check(201, 61.0)


def test_a_version_that_got_faster_is_known_to_be():
    limiter = paced(10, 1.0)
    with pytest.raises(Overloaded):
        limiter.check(100, 11.1)
    limiter.ended += 1000
    limiter.check(100, 12.0)

"""When the requests of a connection are asked for that has sent large ones. Bytes and seconds."""

from dataclasses import dataclass

import pytest

from pushserve_server.api.transport.receiving_turns import ReceivingTurns

LARGE = 4_000_000
RATE = 100e6


@dataclass(frozen=True)
class Caller:
    peer: str


HEAVY, OTHER, THIRD = Caller("ipv4:1"), Caller("ipv4:2"), Caller("ipv4:3")


class Server:
    """Turns with a clock of their own; `asked` holds when each request was asked for."""

    def __init__(self) -> None:
        self.now = 0.0
        self.turns = ReceivingTurns(lambda: self.now)
        self.asked: list[tuple[str, float]] = []

    def take(self, caller: Caller) -> None:
        self.turns.take(caller, lambda: self.asked.append((caller.peer, self.now)))

    def pass_by(self, seconds: float, *, others: bool = True, step: float = 0.001) -> None:
        """Let time go, with calls of others in between."""
        for _ in range(round(seconds / step)):
            self.now += step
            if others:
                self.turns.take(OTHER, lambda: None)
            self.turns.go_on()


@pytest.fixture
def server() -> Server:
    server = Server()
    server.take(HEAVY)
    server.turns.received(HEAVY, LARGE)
    server.asked.clear()
    return server


def test_small_requests_are_asked_for_at_once():
    server = Server()
    for i in range(100):
        server.take(HEAVY)
        server.turns.received(HEAVY, 1000)
        assert i + 1 == len(server.asked)


def test_while_others_call_bytes_come_at_a_bounded_rate(server):
    server.pass_by(0.01)
    for _ in range(100):
        server.take(HEAVY)
    server.pass_by(0.9)
    assert 0.9 * RATE / LARGE == pytest.approx(len(server.asked), abs=2)
    assert {HEAVY.peer} == {peer for peer, _ in server.asked}


def test_alone_nobody_waits(server):
    for _ in range(100):
        server.take(HEAVY)
    assert 100 == len(server.asked)


def test_when_others_have_gone_what_waits_is_asked_for(server):
    server.pass_by(0.01)
    for _ in range(100):
        server.take(HEAVY)
    assert len(server.asked) < 3
    server.pass_by(0.2, others=False)
    assert 100 == len(server.asked)


def test_connections_take_turns(server):
    server.turns.received(THIRD, LARGE)
    server.pass_by(0.01)
    for caller in (HEAVY, HEAVY, HEAVY, HEAVY, THIRD, THIRD):
        server.take(caller)
    server.pass_by(0.5)
    first = [peer for peer, _ in server.asked][1:5]
    assert 2 == first.count(THIRD.peer)


def test_small_requests_among_large_ones_soon_come_as_fast_as_others(server):
    """A proxy carries the calls of many: 200 of 1 KB after a large one wait as long as 4 of it."""
    server.pass_by(0.01)
    for _ in range(200):
        server.take(HEAVY)
        while len(server.asked) == 0:
            server.pass_by(0.001)
        server.turns.received(HEAVY, 1000)
        server.asked.clear()
    assert server.now < 0.01 + 4 * LARGE / RATE + 0.2


def test_what_was_large_is_forgotten(server):
    server.pass_by(1.1)
    server.turns.forget()
    server.pass_by(0.01)
    for _ in range(100):
        server.take(HEAVY)
    assert 100 == len(server.asked)


def test_nobody_waits_when_the_server_stops(server):
    server.pass_by(0.01)
    for _ in range(10):
        server.take(HEAVY)
    server.turns.open()
    assert 10 == len(server.asked)
    server.take(HEAVY)
    assert 11 == len(server.asked)

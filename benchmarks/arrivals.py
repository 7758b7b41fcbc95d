"""Open-loop load: calls are sent when they are due, whether or not earlier ones are answered.

Arrivals are a Poisson process, spread over connections at random. Latency counts from when a
call was due, so that neither a slow server nor a slow client hides a wait. A small HTTP/2
client of its own (30-50 us a call), because a grpcio client would take more of the machine than
the server does, and h2load cannot send one call at a time at a given rate.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import time
from collections import deque
from collections.abc import Iterator

import load
import numpy as np

DRAIN = 5.0
"""Seconds to wait for answers after the last call was sent."""
_WINDOW = 2**31 - 1
_DATA, _HEADERS, _RST, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_END_STREAM = _ACK = 1
_MAX_CONCURRENT_STREAMS = 3
_LARGEST = 16_384


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    size = len(payload)
    return struct.pack(">BHBBI", size >> 16, size & 0xFFFF, kind, flags, stream) + payload


def _text(value: str) -> bytes:
    """Give a string as HPACK has it; none here is as long as 127 bytes."""
    return bytes([len(value)]) + value.encode()


class Connection:
    """One HTTP/2 connection that makes the same unary call again and again."""

    def __init__(self, address: str, method: str, message: bytes) -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._body = load.frame(message)
        self._stream = 1
        self._window = 65_535
        self._limit = _WINDOW
        self._buffer = b""
        self._backlog: deque[float] = deque()
        self._due: dict[int, float] = {}
        self._has_data: set[int] = set()
        # The first call puts its headers (RFC 7541) into the table that later ones point into.
        self._headers = (
            b"\x83\x86\x44" + _text(f"/{method}") + b"\x41" + _text(address)
            + b"\x40" + _text("te") + _text("trailers")
            + b"\x5f" + _text("application/grpc")
        )  # fmt: skip
        preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(_SETTINGS, 0, 0, b"")
        room = struct.pack(">I", _WINDOW - 65_535)
        self.socket.sendall(preface + _frame(_WINDOW_UPDATE, 0, 0, room))

    @property
    def waiting(self) -> int:
        """How many calls have no answer yet."""
        return len(self._due) + len(self._backlog)

    def call(self, due: float) -> None:
        """Send a call that was due at `due`, as soon as the server's limits allow."""
        self._backlog.append(due)
        self._send()

    def begin(self, body: bytes) -> None:
        """Send the head of a call and the first bytes of its body, and no end."""
        pieces = (body[at : at + _LARGEST] for at in range(0, len(body), _LARGEST))
        data = [_frame(_DATA, 0, self._stream, piece) for piece in pieces]
        self.socket.sendall(_frame(_HEADERS, 4, self._stream, self._headers) + b"".join(data))

    def _send(self) -> None:
        out = b""
        while self._backlog and self._window >= len(self._body) and len(self._due) < self._limit:
            out += _frame(_HEADERS, 4, self._stream, self._headers)
            out += _frame(_DATA, _END_STREAM, self._stream, self._body)
            self._headers = b"\x83\x86\xc1\xc0\xbf\xbe"
            self._due[self._stream] = self._backlog.popleft()
            self._window -= len(self._body)
            self._stream += 2
        if out:
            self.socket.sendall(out)

    def receive(self) -> Iterator[tuple[float, bool]]:
        """Read what has come; give when each ended call was due, and whether it has an answer."""
        received = self.socket.recv(65_536)
        if not received:
            raise ConnectionError("the server closed a connection")
        data = self._buffer + received
        at = 0
        while len(data) - at >= 9:
            high, low, kind, flags, stream = struct.unpack_from(">BHBBI", data, at)
            end = at + 9 + (high << 16 | low)
            if len(data) < end:
                break
            if kind == _DATA:
                self._has_data.add(stream)
            elif kind not in (_HEADERS, _RST):
                self._control(kind, flags, stream, data[at + 9 : end])
            if kind == _RST or (kind in (_DATA, _HEADERS) and flags & _END_STREAM):
                if stream in self._due:  # a reset may follow the end
                    yield self._due.pop(stream), kind == _HEADERS and stream in self._has_data
                self._has_data.discard(stream)
            at = end
        self._buffer = data[at:]
        self._send()

    def _control(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == _SETTINGS and not flags & _ACK:
            for key, value in struct.iter_unpack(">HI", payload):
                if key == _MAX_CONCURRENT_STREAMS:
                    self._limit = value
            self.socket.sendall(_frame(_SETTINGS, _ACK, 0, b""))
        elif kind == _PING and not flags & _ACK:
            self.socket.sendall(_frame(_PING, _ACK, 0, payload))
        elif kind == _WINDOW_UPDATE and stream == 0:
            self._window += struct.unpack(">I", payload)[0]
        elif kind == _GOAWAY:
            raise ConnectionError("the server sent GOAWAY")


def run(
    address: str, method: str, message: bytes, *, rate: float, seconds: float, connections: int = 64
) -> load.Load:
    """Call `method` `rate` times a second. A call is failed where no message came back."""
    chance = np.random.default_rng(0)
    due = np.cumsum(chance.exponential(1 / rate, size=int(rate * (load.WARM_UP + seconds))))
    which = chance.integers(connections, size=len(due)).tolist()
    with contextlib.ExitStack() as stack, select.epoll() as poll:
        opened = [Connection(address, method, message) for _ in range(connections)]
        for one in opened:
            stack.enter_context(one.socket)
            poll.register(one.socket, select.EPOLLIN)
        start = time.perf_counter() + 0.2  # the servers' settings come first
        ended = _drive(opened, poll, [start + at for at in due.tolist()], which)
    counted = [(at, took, good) for at, took, good in ended if at >= start + load.WARM_UP]
    times = [took for _, took, good in counted if good]
    sent = int(np.count_nonzero(due >= load.WARM_UP))
    p50, p99, p999 = np.percentile(times or [np.nan], [50, 99, 99.9]) * 1e6
    return load.Load(
        calls=len(times),
        failed=sent - len(times),
        seconds=float(due[-1]) - load.WARM_UP,
        p50=float(p50),
        p99=float(p99),
        p999=float(p999),
        reply_bytes=0.0,
    )


def _drive(
    opened: list[Connection], poll: select.epoll, due: list[float], which: list[int]
) -> list[tuple[float, float, bool]]:
    """Send every call when it is due; give (due, seconds to the answer, answered)."""
    by_number = {one.socket.fileno(): one for one in opened}
    ended: list[tuple[float, float, bool]] = []
    sent, give_up = 0, due[-1] + DRAIN
    while sent < len(due) or any(one.waiting for one in opened):
        now = time.perf_counter()
        if now > give_up:
            break
        while sent < len(due) and due[sent] <= now:
            opened[which[sent]].call(due[sent])
            sent += 1
        wait = max(0.0, (due[sent] if sent < len(due) else give_up) - time.perf_counter())
        # epoll's own timeout has a step of 1 ms, select's of 1 us.
        select.select([poll.fileno()], [], [], wait)
        for number, _ in poll.poll(0):
            answers = list(by_number[number].receive())
            now = time.perf_counter()
            ended += [(at, now - at, good) for at, good in answers]
    return ended

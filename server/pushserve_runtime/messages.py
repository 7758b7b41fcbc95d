"""Messages between the server, the zygote and a job, over a unix stream socket.

    message := u32 length of the rest, little-endian | UTF-8 JSON, one object

Descriptors may ride along with a message's first bytes (SCM_RIGHTS). Whoever sends is not
trusted: length, depth and number of values are looked at before a message is parsed.
"""

from __future__ import annotations

import array
import errno
import json
import os
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO, Final

from pushserve_runtime.bounded_json import JsonLimit, JsonRefused, check_shape, parse_json

LENGTH: Final = struct.Struct("<I")
LARGE: Final = JsonLimit(size=8 * 1024**2, values=1_000_000, depth=16)
"""For what holds a signature: a job's spec, a build's answer. Takes 100 MB at the very most."""
SMALL: Final = JsonLimit(size=64 * 1024, values=1_000, depth=16)
"""For what tells that something happened: started, ready, failed, ended."""
MAX_DESCRIPTORS: Final = 8
_CHUNK: Final = 256 * 1024


class ChannelError(ValueError):
    """What arrived is not a message, or only a part of one."""


def encode(message: Mapping[str, Any]) -> bytes:
    """Give the bytes of one message.

    Raises:
        ChannelError: no receiver takes one of this size.
    """
    text = json.dumps(message)
    body = text.encode()
    if len(body) > LARGE.size:
        raise ChannelError(f"a message of {len(body)} bytes; the most is {LARGE.size}")
    try:
        check_shape(text, LARGE)
    except JsonRefused as error:
        raise ChannelError(f"a message that nobody would take: {error}") from None
    return LENGTH.pack(len(body)) + body


def decode(body: bytes | bytearray, limit: JsonLimit = LARGE) -> dict[str, Any]:
    """Read one message's JSON.

    Raises:
        ChannelError: it is not one JSON object, or over the limit.
    """
    try:
        message = parse_json(body, limit)
    except JsonRefused as error:
        raise ChannelError(f"a message is refused: {error}") from None
    if not isinstance(message, dict):
        raise ChannelError("a message is not a JSON object")
    return message


def send(sock: socket.socket, message: Mapping[str, Any], fds: Sequence[int] = ()) -> None:
    """Send one message and descriptors with it.

    Raises:
        ChannelError: it is too large.
        OSError: the other side has hung up.
    """
    data = memoryview(encode(message))
    sent = socket.send_fds(sock, [data], list(fds)) if fds else 0
    if sent < len(data):
        sock.sendall(data[sent:])


def receive(
    sock: socket.socket, timeout: float | None = None, limit: JsonLimit = LARGE
) -> dict[str, Any] | None:
    """Wait for one message; None when the other side has hung up. `timeout` is in seconds.

    After a TimeoutError nothing is lost and one may call again; after a ChannelError the
    socket is of no further use.

    Raises:
        TimeoutError: nothing arrived in time.
        ChannelError: it is malformed or over the limit, or its rest did not arrive in time.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    before = sock.gettimeout()
    try:
        head = _receive_exactly(sock, LENGTH.size, deadline)
        if head is None:
            return None
        body = _receive_rest(sock, _checked_length(head, limit), deadline)
    except ConnectionError:
        return None
    finally:
        sock.settimeout(before)
    if body is None:
        raise ChannelError("a message was cut short")
    return decode(body, limit)


def receive_into(sock: socket.socket, size: int, file: BinaryIO, timeout: float) -> None:
    """Write the `size` bytes that a message has announced to `file`. `timeout` is in seconds.

    Raises:
        ChannelError: they did not arrive.
    """
    before, deadline = sock.gettimeout(), time.monotonic() + timeout
    try:
        while size:
            chunk = _receive_rest(sock, min(size, _CHUNK), deadline)
            if chunk is None:
                raise ChannelError("announced bytes were cut short")
            size -= file.write(chunk)
    except ConnectionError:
        raise ChannelError("announced bytes were cut short") from None
    finally:
        sock.settimeout(before)


def _checked_length(head: bytes | bytearray, limit: JsonLimit) -> int:
    (length,) = LENGTH.unpack_from(head)
    if not 0 < length <= limit.size:
        raise ChannelError(f"a message of {length} bytes; the most is {limit.size}")
    return int(length)


def _receive_exactly(sock: socket.socket, size: int, deadline: float | None) -> bytearray | None:
    """Give `size` bytes, or None if the stream ends first."""
    # What a liar announces is not allocated before it arrives.
    data = bytearray()
    while len(data) < size:
        sock.settimeout(None if deadline is None else max(deadline - time.monotonic(), 0.001))
        try:
            chunk = sock.recv(min(size - len(data), _CHUNK))
        except TimeoutError:
            if data:
                raise ChannelError("the rest of a message did not arrive in time") from None
            raise
        if not chunk:
            return None
        data += chunk
    return data


def _receive_rest(sock: socket.socket, size: int, deadline: float | None) -> bytearray | None:
    try:
        return _receive_exactly(sock, size, deadline)
    except TimeoutError:
        raise ChannelError("the rest of a message did not arrive in time") from None


class Inbox:
    """Collects one message and its descriptors from a socket without ever waiting."""

    def __init__(self, limit: JsonLimit = LARGE) -> None:
        self._limit = limit
        self._data = bytearray()
        self.fds: list[int] = []

    def read(self, sock: socket.socket) -> bool:
        """Take what has arrived; False when the other side has hung up.

        Raises:
            ChannelError: more descriptors came than any message has.
            OSError: they came, and this process can open no more.
        """
        space = socket.CMSG_SPACE(MAX_DESCRIPTORS * array.array("i").itemsize)
        try:
            data, ancillary, flags, _ = sock.recvmsg(
                _CHUNK, space, socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return True
        except ConnectionError:
            return False
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds = array.array("i")
                fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
                self.fds.extend(fds)
        if flags & socket.MSG_CTRUNC and len(self.fds) < MAX_DESCRIPTORS:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        if flags & socket.MSG_CTRUNC or len(self.fds) > MAX_DESCRIPTORS:
            raise ChannelError(f"more than {MAX_DESCRIPTORS} descriptors with a message")
        self._data += data
        return bool(data)

    def take(self) -> dict[str, Any] | None:
        """Give the message if it is whole.

        Raises:
            ChannelError: it is malformed.
        """
        if len(self._data) < LENGTH.size:
            return None
        end = LENGTH.size + _checked_length(self._data, self._limit)
        if len(self._data) < end:
            return None
        message = decode(self._data[LENGTH.size : end], self._limit)
        del self._data[:end]
        return message

    def close(self) -> None:
        """Close the descriptors that arrived."""
        for fd in self.fds:
            os.close(fd)
        self.fds.clear()

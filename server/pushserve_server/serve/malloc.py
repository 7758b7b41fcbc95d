"""malloc: what this process holds, and giving back what was freed."""

from __future__ import annotations

import asyncio
import ctypes
from collections.abc import Callable
from typing import Any, Final

_TRIM_AFTER: Final = 1.0
"""So that what is unloaded one after the other is given back at once, in seconds."""


class _MallocInfo(ctypes.Structure):
    """`struct mallinfo2` of glibc 2.33."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd",
            "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    ]  # fmt: skip


def _glibc(name: str, result: Any) -> Callable[..., Any] | None:
    try:
        function = getattr(ctypes.CDLL(None), name)
    except AttributeError:  # another C library: sizes are estimates, and nothing is trimmed
        return None
    function.restype = result
    return function  # type: ignore[no-any-return]


_malloc_info: Final = _glibc("mallinfo2", _MallocInfo)
_malloc_trim: Final = _glibc("malloc_trim", ctypes.c_int)
_mallopt: Final = _glibc("mallopt", ctypes.c_int)
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
_KEPT: Final = 32 * 1024**2
"""The most that malloc takes for its threshold of mmap, on 64 bits."""


def allocated() -> int:
    """Give the bytes that this process holds by malloc; 0 where that cannot be told.

    The resident set would not do: a graph that is loaded into what another one left does
    not make it grow.
    """
    if _malloc_info is None:
        return 0
    info = _malloc_info()
    return int(info.uordblks + info.hblkhd)


def keep_what_is_freed() -> None:
    """Have threads of this process use what another one freed; to be called before they start.

    malloc makes eight arenas for each core, and what one thread has freed there serves no other:
    two are enough. And it maps the memory of each request of some MB anew, which took a third of
    the time that such a request takes: here it keeps up to 32 MiB for the next one.
    """
    if _mallopt is not None:
        _mallopt(_M_ARENA_MAX, 2)
        _mallopt(_M_MMAP_THRESHOLD, _KEPT)
        _mallopt(_M_TRIM_THRESHOLD, _KEPT)


def give_back() -> None:
    """Return freed memory to the system, which malloc keeps for itself. May take a while."""
    if _malloc_trim is not None:
        _malloc_trim(0)


class Trimmer:
    """Gives memory back on a thread, a second after something was unloaded."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None

    def soon(self) -> None:
        """Something was unloaded."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._trim())

    @staticmethod
    async def _trim() -> None:
        await asyncio.sleep(_TRIM_AFTER)
        await asyncio.to_thread(give_back)

    async def close(self) -> None:
        """Wait for nothing any more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

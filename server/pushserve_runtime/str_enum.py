"""Enumerations whose members are texts, on Python 3.10 too (Python's own came with 3.11)."""

from __future__ import annotations

import sys

if sys.version_info >= (3, 11):
    from enum import StrEnum
else:
    from enum import Enum

    class StrEnum(str, Enum):
        """Members are their values, also where they are printed."""

        __str__ = str.__str__

        def __format__(self, spec: str) -> str:
            return str.__format__(self.value, spec)


__all__ = ["StrEnum"]

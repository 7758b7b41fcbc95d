"""Reflection: finds descriptors, those of methods by their full name among them."""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor_pool import DescriptorPool


class Symbols:
    """A descriptor pool for the reflection servicer.

    protobuf's own does not know methods as symbols, and `grpcurl describe
    pushserve.v1.ModelService.Predict` asks for one.
    """

    def __init__(self, pool: DescriptorPool) -> None:
        self._pool = pool

    def FindFileContainingSymbol(self, name: str) -> Any:
        """Give the file that declares `name`.

        Raises:
            KeyError: there is none.
        """
        try:
            return self._pool.FindFileContainingSymbol(name)
        except KeyError:
            return self._pool.FindMethodByName(name).containing_service.file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

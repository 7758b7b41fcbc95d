"""Attributes of a node, by type."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import AttributeProto, NodeProto, numpy_helper

from pushserve_sandbox.admission.not_admitted import NotAdmitted


class Attributes:
    """A node's attributes by name; what is absent has the default that is asked for with it."""

    def __init__(self, node: NodeProto) -> None:
        self.operator = node.op_type
        self._found = {item.name: item for item in node.attribute}

    def __contains__(self, name: str) -> bool:
        return name in self._found

    def integer(self, name: str, default: int = 0) -> int:
        """Give a whole number."""
        found = self._found.get(name)
        return default if found is None else int(found.i)

    def text(self, name: str, default: str = "") -> str:
        """Give a text."""
        found = self._found.get(name)
        return default if found is None else found.s.decode(errors="replace")

    def integers(self, name: str) -> NDArray[np.int64]:
        """Give whole numbers; none where it is absent."""
        found = self._found.get(name)
        return np.asarray([] if found is None else found.ints, np.int64)

    def texts(self, name: str) -> Sequence[bytes]:
        """Give texts; none where it is absent."""
        found = self._found.get(name)
        return [] if found is None else list(found.strings)

    def length(self, name: str) -> int:
        """Give how many elements it has, of whatever type."""
        found = self._found.get(name)
        if found is None:
            return 0
        if found.type == AttributeProto.TENSOR:
            return int(np.prod(found.t.dims))
        return max(len(found.ints), len(found.floats), len(found.strings))

    def tensor(self, name: str) -> NDArray[Any]:
        """Give a tensor's elements.

        Raises:
            NotAdmitted: it is absent.
        """
        found = self._found.get(name)
        if found is None:
            raise NotAdmitted(f"{self.operator} without {name}")
        return np.asarray(numpy_helper.to_array(found.t))

    def the_one(self, *names: str) -> str:
        """Give the one attribute that is there of these.

        Raises:
            NotAdmitted: none is, or several are.
        """
        found = [name for name in names if name in self._found]
        if len(found) != 1:
            raise NotAdmitted(f"{self.operator} with {len(found)} of {', '.join(names)}")
        return found[0]

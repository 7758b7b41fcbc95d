"""Unsent columns: what no message can hold, which may stay away where the model does not use it.

Dates, lists and objects stand beside the features in many frames. Whether one matters is known by
the model's signature alone, which is asked for where there is such a column.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Callable, TypeVar

from pushserve_client.errors import BadData
from pushserve_client.types import Accepts, Signature

T = TypeVar("T")


class UnsentColumns:
    """Columns that were left out, by name, with the error of each."""

    def __init__(self) -> None:
        self._errors: dict[str, BadData] = {}

    def __bool__(self) -> bool:
        return bool(self._errors)

    def sent(self, makers: Iterable[tuple[str, Callable[[], T]]]) -> list[T]:
        """Make what can be sent, and note what cannot.

        Raises:
            BadData: of the first one, where nothing at all can be sent.
        """
        made = []
        for name, make in makers:
            try:
                made.append(make())
            except BadData as error:
                self._errors.setdefault(name, error)
        if not made:
            self.refuse()
        return made

    def refuse(self) -> None:
        """Raise the error of the first one, if there is one."""
        for error in self._errors.values():
            raise error

    def check(self, signature: Signature) -> None:
        """Let those stay away that the model does not use.

        Raises:
            BadData: of the first one that it uses, or does not know.
        """
        unused = {f.name for f in signature.inputs if f.accepts is Accepts.UNUSED}
        for name, error in self._errors.items():
            if name not in unused:
                raise error


def failing(error: BadData) -> Callable[[], Any]:
    """Give what raises the error of a column that could not be read."""

    def make() -> Any:
        raise error

    return make

"""Output selection: which outputs to compute and how to answer, resolved once for each choice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from pushserve_runtime.closest_name import did_you_mean
from pushserve_runtime.frames import Array
from pushserve_runtime.signature import OutputSpec, Signature
from pushserve_server.domain.records import Version
from pushserve_server.errors import BadInput, Violation


class Encoder(Protocol):
    """Turns the arrays of some outputs, in a fixed order, into answers."""

    def one(self, arrays: Sequence[Array]) -> bytes:
        """Give the answer that holds all rows."""

    def each(self, arrays: Sequence[Array]) -> list[bytes]:
        """Give one answer for each row."""


MakeEncoder = Callable[[Version, Sequence[OutputSpec]], Encoder]


@dataclass(frozen=True, slots=True)
class OutputPlan:
    """Which outputs to compute, and how to put them into the order asked for.

    `order[i]` is the place of the i-th wanted output among the engine's answers.
    """

    mask: int
    order: tuple[int, ...]
    specs: tuple[OutputSpec, ...]


class OutputSelection:
    """One choice of outputs of one version: what to ask the engine for, how to answer.

    `mask` has a bit for each output to compute; an engine gives their arrays lowest first.
    Selections of one `owner` with equal masks have equal `run_key`s: one run serves them all.
    """

    __slots__ = ("_encoder", "_order", "mask", "run_key")

    def __init__(self, plan: OutputPlan, encoder: Encoder, *, owner: object = None) -> None:
        self.mask = plan.mask
        self.run_key = id(owner), plan.mask
        self._order = None if plan.order == tuple(range(len(plan.order))) else plan.order
        self._encoder = encoder

    def one(self, arrays: Sequence[Array]) -> bytes:
        """Give the answer that holds all rows of an engine's arrays."""
        return self._encoder.one(self._ordered(arrays))

    def many(self, arrays: Sequence[Array], counts: Sequence[int]) -> list[bytes]:
        """Give an answer for the first `counts[0]` rows, one for the next, and so on."""
        if sum(counts) == len(counts):
            return self._encoder.each(self._ordered(arrays))
        answers, start = [], 0
        for count in counts:
            part = slice(start, start + count)
            answers.append(self.one([Array(a.dtype, a.values[part]) for a in arrays]))
            start += count
        return answers

    def _ordered(self, arrays: Sequence[Array]) -> Sequence[Array]:
        return arrays if self._order is None else [arrays[i] for i in self._order]


def plan_outputs(signature: Signature, names: Sequence[str]) -> OutputPlan:
    """Resolve output names; none means the defaults.

    Raises:
        BadInput: a name is unknown or given twice.
    """
    known = {spec.name: i for i, spec in enumerate(signature.outputs)}
    wanted = tuple(names) or signature.default_outputs
    for i, name in enumerate(wanted):
        if name not in known or name in wanted[:i]:
            what = "is given twice" if name in known else "is not an output of this version"
            right = did_you_mean(f"expected some of {', '.join(known)}", name, known)
            raise BadInput(
                f"output {name!r} {what}; {right}",
                [Violation("outputs", f"{name!r} {what}; {right}")],
                reason="UNKNOWN_OUTPUT",
            )
    indices = [known[name] for name in wanted]
    lowest_first = sorted(indices)
    return OutputPlan(
        mask=sum(1 << i for i in indices),
        order=tuple(lowest_first.index(i) for i in indices),
        specs=tuple(signature.outputs[i] for i in indices),
    )

"""Prediction: what a call of `predict` gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from pushserve_client.output_values import OutputArrays
from pushserve_client.types import Engine

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Prediction:
    """The outputs for every row, and who answered.

    `outputs` are arrays of shape [rows] or [rows, columns] by name, in the order asked
    for, and need NumPy; `to_lists`, `columns` and `rows` do not. `output_classes` says what
    the columns of an output stand for. `rows` holds one dict for each row, where the model is
    a `predict.py`.
    """

    model: str
    version: int
    commit: str
    engine: Engine
    outputs: OutputArrays
    output_classes: Mapping[str, tuple[str, ...]]
    rows: tuple[dict[str, Any], ...]

    def __getitem__(self, output: str) -> npt.NDArray[Any]:
        """Give an output by name.

        Raises:
            KeyError: the reply does not hold it; the text says what it holds.
        """
        try:
            return self.outputs[output]
        except KeyError:
            there = ", ".join(self.outputs) or "none (this model gives rows)"
            text = f"no output {output!r} in the reply; there are: {there}"
            for close in get_close_matches(output, self.outputs, n=1):
                text += f". Did you mean {close!r}?"
            raise KeyError(text) from None

    @property
    def label(self) -> npt.NDArray[Any]:
        """The classifier's labels, [rows] ([rows, outputs] for several)."""
        return self["label"]

    @property
    def probabilities(self) -> npt.NDArray[Any]:
        """The classifier's probabilities, [rows, classes]; `classes` names the columns."""
        return self["probabilities"]

    @property
    def value(self) -> npt.NDArray[Any]:
        """The regressor's values, [rows] or [rows, targets]."""
        return self["value"]

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes that the columns of `probabilities` stand for, as text."""
        return self.output_classes.get("probabilities", ())

    def to_lists(self) -> dict[str, list[Any]]:
        """Give every output as lists of Python values: [rows] or [rows][columns]."""
        return self.outputs.lists()

    def columns(self) -> dict[str, list[Any]]:
        """Give every output as flat columns of Python values.

        A column of a 2-D output is called "probabilities[setosa]", or "transform[0]"
        where its columns have no names.
        """
        if self.rows:
            names = dict.fromkeys(name for row in self.rows for name in row)
            return {name: [row.get(name) for row in self.rows] for name in names}
        columns: dict[str, list[Any]] = {}
        for name, values in self.to_lists().items():
            if not (values and isinstance(values[0], list)):
                columns[name] = values
                continue
            titles = self.output_classes.get(name) or range(len(values[0]))
            for title, column in zip(titles, zip(*values)):
                columns[f"{name}[{title}]"] = list(column)
        return columns

    def to_pandas(self) -> pd.DataFrame:
        """Give `columns()` as a DataFrame. Needs pandas."""
        import pandas as pd  # noqa: PLC0415 -- optional, and slow to import

        return pd.DataFrame(self.columns())

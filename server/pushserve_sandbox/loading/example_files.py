"""Example files: inputs of a repository, with the outputs that they must give.

    [{"input": {…} | […], "output": …}, …]     "expected" may stand for "output"
    {"inputs": [row, …], "outputs": [output, …]}
    row | [row, …]                              inputs alone, as the old platform had them

A row is an object by feature name or an array of all values.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pushserve_runtime.bounded_json import JsonLimit, parse_json
from pushserve_runtime.build_error import BuildFailed

LIMIT: Final = JsonLimit(size=32 * 1024**2, values=10_000_000, depth=64)
COUNT_LIMIT: Final = 10_000

_FORMS: Final = (
    'use [{"input": {"feature": value, …}, "output": …}, …], {"inputs": […], "outputs": […]}, '
    "or one input without an output"
)


@dataclass(frozen=True, slots=True)
class Example:
    """One input as it was written. `has_output` tells a null that is expected from none."""

    input: Any
    output: Any = None
    has_output: bool = False


def read_examples(path: Path) -> list[Example]:
    """Read a file of examples.

    Raises:
        BuildFailed: EXAMPLES_INVALID, it has none of the forms.
    """
    if not path.is_file():
        raise _invalid(path, "the file does not exist")
    if path.stat().st_size > LIMIT.size:
        raise _invalid(path, f"it is larger than {LIMIT.size // 1024**2} MiB")
    try:
        data = parse_json(path.read_bytes(), LIMIT)
        json.dumps(data, ensure_ascii=False).encode()
        examples = parse_examples(data)
    except UnicodeEncodeError as error:
        # No caller can send such a text: protobuf's are UTF-8.
        raise _invalid(path, "a text holds half of a pair of surrogates (\\ud800…)") from error
    except ValueError as error:
        raise _invalid(path, str(error)) from error
    if len(examples) > COUNT_LIMIT:
        raise _invalid(path, f"it has {len(examples)} examples, more than {COUNT_LIMIT}")
    return examples


def parse_examples(data: Any) -> list[Example]:
    """Bring any of the forms into a list.

    Raises:
        ValueError: it is none of them.
    """
    if isinstance(data, Mapping):
        if "inputs" in data and set(data) <= {"inputs", "outputs", "expected"}:
            return _parallel(data)
        if _is_pair(data):
            return [_pair(data, 1)]
        return [Example(dict(data))]
    if not isinstance(data, list) or not data:
        raise ValueError("it has no example")
    if any(_is_pair(item) for item in data):
        return [_pair(item, number) for number, item in enumerate(data, start=1)]
    if all(isinstance(item, Mapping | list) for item in data):
        return [Example(item) for item in data]
    return [Example(data)]


def _is_pair(item: Any) -> bool:
    keys = {"input", "output", "expected"}
    return isinstance(item, Mapping) and "input" in item and set(item) <= keys | {"name"}


def _pair(item: Any, number: int) -> Example:
    if not _is_pair(item):
        raise ValueError(f'example {number} has not the form {{"input": …, "output": …}}')
    if "output" in item and "expected" in item:
        raise ValueError(f'example {number} has both "output" and "expected"')
    for key in ("output", "expected"):
        if key in item:
            return Example(item["input"], item[key], has_output=True)
    return Example(item["input"])


def _parallel(data: Mapping[str, Any]) -> list[Example]:
    inputs, outputs = data["inputs"], data.get("outputs", data.get("expected"))
    if not isinstance(inputs, list) or not inputs:
        raise ValueError('"inputs" is not a list of rows')
    if outputs is None:
        return [Example(row) for row in inputs]
    if not isinstance(outputs, list) or len(outputs) != len(inputs):
        raise ValueError(f'"outputs" is not a list of {len(inputs)}, one for each of "inputs"')
    pairs = zip(inputs, outputs, strict=True)
    return [Example(row, output, has_output=True) for row, output in pairs]


def _invalid(path: Path, what: str) -> BuildFailed:
    return BuildFailed("EXAMPLES_INVALID", f"{path.name}: {what}", _FORMS)

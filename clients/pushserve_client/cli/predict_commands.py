"""Predict command: rows in, outputs out."""

import csv
import json
import os
import sys
from typing import Annotated, Any, Optional

import typer

from pushserve_client.cli import screen
from pushserve_client.cli.connection import (
    CommitOption,
    ModelArgument,
    RefOption,
    ServerOption,
    TimeoutOption,
    VersionOption,
    connected,
    only_one,
)
from pushserve_client.cli.row_files import (
    CsvForm,
    inputs_from_csv,
    inputs_from_json,
    looks_like_json,
)
from pushserve_client.cli.text_files import read_bytes, read_file, text_of
from pushserve_client.prediction import Prediction
from pushserve_client.types import TextEnum


class Format(TextEnum):
    """How `predict` prints."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def predict(
    context: typer.Context,
    model: ModelArgument,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="CSV or JSON; - is standard input.")
    ] = "-",
    *,
    data: Annotated[
        Optional[str], typer.Option("--data", "-d", metavar="TEXT", help="The rows themselves.")
    ] = None,
    is_json: Annotated[bool, typer.Option("--json", help="The input is JSON.")] = False,
    is_csv: Annotated[bool, typer.Option("--csv", help="The input is CSV.")] = False,
    separator: Annotated[
        str, typer.Option("--separator", metavar="CHAR", help="Of the CSV's cells; else found out.")
    ] = "",
    decimal: Annotated[
        str, typer.Option("--decimal", metavar="CHAR", help="The CSV's decimal mark.")
    ] = ".",
    encoding: Annotated[
        str, typer.Option("--encoding", metavar="NAME", help="Of the input; else found out.")
    ] = "",
    ref: RefOption = None,
    version: VersionOption = None,
    commit: CommitOption = None,
    output: Annotated[
        Optional[list[str]], typer.Option("--output", help="An output to compute; repeatable.")
    ] = None,
    format: Annotated[  # noqa: A002 -- it is the option's name
        Format, typer.Option("--format", help="How to print.")
    ] = Format.TABLE,
    server: ServerOption = None,
    timeout: TimeoutOption = None,
) -> None:
    """Run a model on rows from a CSV or JSON file."""
    only_one(ref=ref, version=version, commit=commit)
    only_one(json=is_json or None, csv=is_csv or None)
    target: dict[str, Any] = {"ref": ref, "version": version, "commit": commit}
    with connected(context, server, timeout) as client:
        text, remark = text_of(_read(file, data), encoding)
        screen.remark(remark)
        as_json = is_json or (not is_csv and (file.endswith(".json") or looks_like_json(text)))
        signature = client.get(model, **target).version.signature
        if as_json:
            inputs = inputs_from_json(text, signature)
        else:
            inputs = inputs_from_csv(text, signature, CsvForm(separator, decimal), screen.remark)
        prediction = client.predict(model, inputs, outputs=output or (), **target)
    _print(prediction, format)


def _read(file: str, data: Optional[str]) -> bytes:
    if data is not None:
        return os.fsencode(data)
    if file == "-":
        if sys.stdin.isatty():
            screen.remark("reading rows from standard input; end with Ctrl-D")
        return read_bytes(sys.stdin.buffer)
    try:
        return read_file(file)
    except OSError as error:
        raise typer.BadParameter(f"{file} cannot be read: {error.strerror}") from None


def _print(prediction: Prediction, form: Format) -> None:
    columns = prediction.columns()
    rows = zip(*columns.values())
    if form is Format.JSON:
        screen.print_json(_as_json(prediction))
    elif form is Format.CSV:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([_csv_cell(value) for value in row] for row in rows)
    else:
        screen.table(list(columns), [[_cell(value) for value in row] for row in rows])
        screen.remark(
            f"{prediction.model} version {prediction.version} "
            f"(commit {prediction.commit[:10]}, {prediction.engine})"
        )


def _csv_cell(value: object) -> object:
    """Lists and objects, as a predict.py may give them, as JSON."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else value


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _as_json(prediction: Prediction) -> dict[str, Any]:
    return {
        "model": prediction.model,
        "version": prediction.version,
        "commit": prediction.commit,
        "engine": prediction.engine,
        "outputs": prediction.to_lists(),
        "classes": prediction.output_classes,
        "rows": prediction.rows,
    }

"""`pushserve predict` on CSV as people have it: separators, encodings, line ends, odd cells."""

import csv
import io
import json
import os
import subprocess
import sys

import pandas as pd
import pytest
from typer.testing import CliRunner

from pushserve.v1 import model_service_pb2 as pb
from pushserve_client.cli import text_files
from pushserve_client.cli.app import app


@pytest.fixture
def run(fake_server, monkeypatch):
    """Predict with iris from a file's bytes; gives the command's result."""
    monkeypatch.setenv("PUSHSERVE_SERVER", fake_server.address)
    return lambda data, *more, model="iris": CliRunner().invoke(
        app, ["predict", model, *more], input=data if isinstance(data, bytes) else data.encode()
    )


def sent(fake_server) -> dict[str, list]:
    """What arrived, by column; None for null."""
    table = fake_server.service.requests[-1].table
    found = {}
    for column in table.columns:
        values = list(getattr(column, column.WhichOneof("values")).values)
        found[column.name] = [None if i in column.null_rows else v for i, v in enumerate(values)]
    return found


@pytest.mark.parametrize(
    ("separator", "said"), [(",", ""), (";", "semicolons"), ("\t", "tabs"), ("|", "bars")]
)
def test_separators_are_found_out_and_said(run, fake_server, separator, said):
    result = run(f"length{separator}code\n5{separator}a,b;c\n".replace("a,b;c", '"a,b;c\td|e"'))

    assert {"length": [5.0], "code": ["a,b;c\td|e"]} == sent(fake_server)
    assert (f"separated by {said}" in result.stderr) is bool(said)


@pytest.mark.parametrize("separator", [";", "semicolon", "tab", "\\t", "^"])
def test_a_separator_can_be_named(run, fake_server, separator):
    character = {"semicolon": ";", "tab": "\t", "\\t": "\t"}.get(separator, separator)

    result = run(f"length{character}code\n5{character}x\n", "--separator", separator)

    assert {"length": [5.0], "code": ["x"]} == sent(fake_server)
    assert "separated" not in result.stderr


def test_excel_s_own_line(run, fake_server):
    run("sep=;\r\nlength;code\r\n5;x\r\n")

    assert {"length": [5.0], "code": ["x"]} == sent(fake_server)


def test_a_header_of_other_names_is_parted_by_its_shape(run, fake_server):
    """The server's refusal then names each column."""
    run("laenge;kode\n5;x\n")

    assert {"laenge": [5], "kode": ["x"]} == sent(fake_server)


def test_a_separator_of_several_characters_is_refused(run):
    assert "a separator is one character" in run("a\n1\n", "--separator", ";;").stderr


TEXT = "length,code\n5,Größe\n"


@pytest.mark.parametrize(
    ("encoding", "said"),
    [
        ("utf-8", ""), ("utf-8-sig", ""), ("cp1252", "read as cp1252"), ("latin-1", "cp1252"),
        ("utf-16", "read as UTF-16"), ("utf-16-le", "UTF-16-LE"), ("utf-16-be", "UTF-16-BE"),
        ("utf-32", "UTF-32"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("where", ["stdin", "file"])
def test_encodings(run, fake_server, tmp_path, encoding, said, where):  # noqa: PLR0917
    data = TEXT.encode(encoding)
    file = tmp_path / "rows.csv"
    file.write_bytes(data)

    result = run(data) if where == "stdin" else run(b"", str(file))

    assert {"length": [5.0], "code": ["Größe"]} == sent(fake_server)
    assert said in result.stderr
    assert ("read as" in result.stderr) is bool(said)


def test_an_encoding_can_be_named(run, fake_server):
    result = run("length,code\n5,Ω\n".encode("iso8859-7"), "--encoding", "iso8859-7")

    assert ["Ω"] == sent(fake_server)["code"]
    assert "read as" not in result.stderr


@pytest.mark.parametrize(
    ("encoding", "message"),
    [("utf-8", "line 2 is not utf-8 text"), ("no-such", "no encoding 'no-such'")],
)
def test_an_encoding_that_does_not_fit(run, encoding, message):
    result = run(TEXT.encode("latin-1"), "--encoding", encoding)

    assert (1, True) == (result.exit_code, message in result.stderr)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"PK\x03\x04\x14\x00", "zip archive, as Excel's .xlsx is; save it as CSV"),
        (b"PAR1\x15\x04", "Parquet"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"length\n\x00\x01\x02\x03\n", "bytes that are 0"),
    ],
)
def test_what_is_no_text(run, data, message):
    result = run(data)

    assert (1, True) == (result.exit_code, message in result.stderr)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends(run, fake_server, end):
    """A quoted cell keeps its own."""
    run(f'length,code{end}5,"one\ntwo"{end}6,three{end}{end}')

    assert {"length": [5.0, 6.0], "code": ["one\ntwo", "three"]} == sent(fake_server)


def test_lines_are_counted_as_an_editor_does(run):
    """A quoted newline is a line, too."""
    result = run('length,code\n5,"one\ntwo"\nx,three\n')

    assert "line 4, column 'length': 'x' is not a number" in result.stderr


def test_a_long_cell(run, fake_server):
    """Over the csv module's own limit."""
    run(f"length,code\n5,{'x' * 200_000}\n")

    assert ["x" * 200_000] == sent(fake_server)["code"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('length,code\n5,"never closed\n6,x\n', "line 2: a quote is not closed"),
        ('length,code\n5,"a"b\n', "line 2: "),
    ],
)
def test_quotes_that_do_not_fit(run, text, message):
    result = run(text)

    assert (1, True) == (result.exit_code, message in result.stderr)


NUMBERS = [
    "1_000",
    "\u0661",
    "\u0662.\u0665",
    "0x10",
    "1,5",
    "1 000",
    "1e",
    "--1",
    "5%",
    "infinit",
    "½",
]


@pytest.mark.parametrize("cell", NUMBERS)
def test_what_is_no_number(run, fake_server, cell):
    """Python's float() takes the first three."""
    result = run(f'length,code\n"{cell}",x\n')

    assert 1 == result.exit_code
    assert f"line 2, column 'length': {cell!r} is not a number" in result.stderr
    assert 1 == len(fake_server.service.requests)


@pytest.mark.parametrize(
    "cell", ["5", "+5", "-5", "5.", ".5", "5e3", "5E-3", "1e400", "inf", "007"]
)
def test_what_is_a_number(run, fake_server, cell):
    run(f"length,code\n{cell},x\n")

    assert [float(cell)] == sent(fake_server)["length"]


def test_a_decimal_comma(run, fake_server):
    """A guess could be wrong by a factor of 1,000: it is asked for."""
    hint = run("length;code\n5,25;x\n").stderr
    run("length;code\n5,25;x,y\n", "--decimal", ",")

    assert "where a comma is the decimal mark, say --decimal ," in hint
    assert {"length": [5.25], "code": ["x,y"]} == sent(fake_server)


TYPES = {
    "double": pb.DATA_TYPE_FLOAT64,
    "whole": pb.DATA_TYPE_INT64,
    "text": pb.DATA_TYPE_STRING,
    "flag": pb.DATA_TYPE_BOOL,
}


@pytest.fixture
def typed(fake_server):
    """A model with a column of each type."""
    service = fake_server.service
    service.models["typed"] = service.models["echo"]
    service.features["typed"] = [
        pb.Feature(name=name, dtype=dtype, nullable=True) for name, dtype in TYPES.items()
    ]
    return fake_server


@pytest.mark.parametrize("null", ["", "NaN", "nan", "NA", "N/A", "null", "None", "<NA>"])
def test_cells_that_hold_nothing(run, typed, null):
    """Of one row: each column has the type that the signature gives it. Text may read NA."""
    run(f"double,whole,text,flag\n{null},{null},{null},{null}\n", model="typed")

    columns = typed.service.requests[-1].table.columns
    kinds = {column.name: column.WhichOneof("values") for column in columns}
    assert {"double": "doubles", "whole": "ints", "text": "strings", "flag": "bools"} == kinds
    assert {"double": [None], "whole": [None], "text": [null or None], "flag": [None]} == sent(
        typed
    )


@pytest.mark.parametrize(
    ("cell", "number", "flag"),
    [
        ("true", 1, True), ("False", 0, False), ("TRUE", 1, True), ("1", 1, True),
        ("0", 0, False), ("1.0", 1, True), ("0.0", 0, False),
    ],
)  # fmt: skip
def test_truth_values_and_numbers(run, typed, cell, number, flag):
    """As pandas and scikit-learn take the one for the other."""
    run(f"double,whole,text,flag\n{cell},{cell},{cell},{cell}\n", model="typed")

    found = sent(typed)
    assert ([number], [number], [cell], [flag]) == tuple(found[name] for name in TYPES)


def test_what_is_no_truth(run, typed):
    result = run("double,whole,text,flag\n1,1,x,2\n", model="typed")

    assert "column 'flag': '2' is not true or false" in result.stderr


def test_the_index_that_pandas_writes_is_left_out(run, fake_server):
    frame = pd.DataFrame({"length": [5.0], "code": ["x"]})

    result = run(frame.to_csv())

    assert {"length": [5.0], "code": ["x"]} == sent(fake_server)
    assert "the column without a name is left out" in result.stderr


@pytest.mark.parametrize("index", [True, False])
def test_columns_that_are_numbered(run, fake_server, index):
    """As pandas writes a frame without names; a row of such numbers is no header."""
    result = run(pd.DataFrame([[5.0, "x"]]).to_csv(index=index))

    assert {"length": [5.0], "code": ["x"]} == sent(fake_server)
    assert "taken by their position" in result.stderr
    assert "the first line must name the columns" in run("1,0\n5,x\n").stderr


def test_what_pandas_writes_is_what_pandas_sends(run, typed):
    frame = pd.DataFrame(
        {"double": [1.5, None], "whole": pd.array([2**53 + 1, None], "Int64"),
         "text": ['a "quoted", text\r\n', None], "flag": pd.array([True, None], "boolean")}
    )  # fmt: skip
    for separator in ",;\t":
        run(frame.to_csv(index=False, sep=separator), model="typed")
        assert {
            "double": [1.5, None], "whole": [2**53 + 1, None],
            "text": ['a "quoted", text\r\n', None], "flag": [True, None],
        } == sent(typed)  # fmt: skip


def test_an_input_that_is_too_long(run, monkeypatch):
    monkeypatch.setattr(text_files, "MOST", 1024**2)

    result = run("length,code\n" + "5,x\n" * 300_000)

    assert (1, "error: the input has over 1 MiB; send it in parts\n") == (
        result.exit_code,
        result.stderr,
    )


def test_spaces_of_a_text_are_its_own(run, fake_server):
    """The categories of some well-known data begin with one; numbers are not hurt."""
    run("length, code\n 5 , Private\n")

    assert {"length": [5.0], "code": [" Private"]} == sent(fake_server)


def test_texts_as_json(run, fake_server):
    """Of a model that takes one text."""
    fake_server.service.models["texts"] = fake_server.service.models["echo"]
    fake_server.service.features["texts"] = [pb.Feature(name="t", dtype=pb.DATA_TYPE_STRING)]

    run('["one", "two"]', model="texts")

    assert {"t": ["one", "two"]} == sent(fake_server)


@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_a_screen_of_ascii_alone(fake_server, form):
    """No traceback, and JSON stays what it is."""
    command = [sys.executable, "-m", "pushserve_client.main", "predict", "echo", "--format", form]
    environment = os.environ | {
        "PUSHSERVE_SERVER": fake_server.address,
        "PYTHONIOENCODING": "ascii",
        "PYTHONUTF8": "0",
    }
    data = json.dumps([{"a": "Größe"}])
    done = subprocess.run(
        [*command, "--data", data],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert "Traceback" not in done.stderr
    if form == "json":
        assert [{"a": "Größe"}] == json.loads(done.stdout)["rows"]
    else:
        assert "Gr\\xf6\\xdfe" in done.stdout


def test_lists_in_csv_are_json(run):
    result = run('[{"a": [1, {"b": null}], "c": "x"}]', "--format", "csv", model="echo")

    (row,) = csv.DictReader(io.StringIO(result.stdout))
    assert ([1, {"b": None}], "x") == (json.loads(row["a"]), row["c"])

"""Messages have one style, and names are the field's words: what HOUSE and docs say of both."""

import ast
import re
from collections.abc import Iterator

import pytest

from pushserve_runtime.build_error import BuildFailed
from tests.fixtures.import_rules import ROOT, our_sources

SOURCES = our_sources()
ERRORS = {
    "BuildFailed": 1, "DeploymentFailed": 1,
    "BadInput": 0, "NotFound": 2, "AlreadyExists": 0, "NotPossibleNow": 0, "SourceRefused": 0,
    "Overloaded": 0, "Unavailable": 0, "DeadlineExceeded": 0, "ModelFailed": 0,
}  # fmt: skip
"""Which argument is the message."""
PROPER = ("ONNX", "MLflow", "XGBoost", "LightGBM", "Git")


def literal(node: ast.expr) -> str | None:
    """Give a text as far as it is known; "{}" for what is put in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(p.value if isinstance(p, ast.Constant) else "{}" for p in node.values)
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "did_you_mean":
        return literal(node.args[0])
    return None


def raised() -> Iterator[tuple[str, str, str | None]]:
    """Give module, message and fix of every error that is made with literal texts."""
    for module, source in SOURCES.items():
        if not module.startswith(("pushserve_server", "pushserve_sandbox", "pushserve_runtime")):
            continue
        for node in ast.walk(ast.parse(source)):
            name = getattr(getattr(node, "func", None), "id", "")
            at = ERRORS.get(name)
            if at is None or len(node.args) <= at:
                continue
            message = literal(node.args[at])
            fix = literal(node.args[2]) if name.endswith("Failed") and len(node.args) > 2 else None
            if message:
                yield module, message, fix if name == "DeploymentFailed" else None


def test_messages_are_phrases():
    wrong = [
        (module, text)
        for module, text, _ in raised()
        if (text[0].isupper() and not text.startswith(PROPER)) or text.endswith(".")
    ]
    assert [] == wrong


def test_fixes_are_sentences():
    fixes = [(module, fix) for module, _, fix in raised() if fix]
    assert len(fixes) > 25
    assert [] == [pair for pair in fixes if not (pair[1][0].isupper() or pair[1][0] == "{")]


@pytest.mark.parametrize(
    ("given", "fix"),
    [
        ("commit it", "Commit it."),
        ("call predict(input)", "Call predict(input)."),
        ('set engine = "auto"', 'Set engine = "auto"'),
        ("Already one.", "Already one."),
        ("", ""),
    ],
)
def test_a_build_s_fix_becomes_a_sentence(given, fix):
    assert fix == BuildFailed("REASON", "what", given).fix


OLD = re.compile(
    r"(Asked|Live|Shelf|Catalogue|Pace|Answering|Desk|Leased|Place|Product|Built|Following|GoingLive"
    r"|lane|asked|live|shelf|catalogue|together|pace|answering|desk|leased|following|walk|walking"
    r"|declaration|golive|going_live|comparing|category_boosting|ensembles"
    r"|take_up|answer_together|bury)"
)


def test_no_name_of_before_remains():
    """The words that a newcomer did not know, as names of files, classes and functions."""
    found = [name for name in SOURCES if OLD.fullmatch(name.rpartition(".")[2])]
    for module, source in SOURCES.items():
        for node in ast.walk(ast.parse(source)):
            named = isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            if named and OLD.fullmatch(node.name.lstrip("_")):
                found.append(f"{module}.{node.name}")
    assert [] == found


RIDDLES = re.compile(
    r"\b(the lane|lanes|shelf|bury|buries|buried|rooms?|served no more"
    r"|answers no more|frontend swaps|leads to version|victims?|catalogue)\b"
)


def test_no_riddle_of_before_remains():
    """In code, comments, docstrings and pages; a decision may tell how things were called."""
    paths = [
        path for root in ("server", "webhook", "clients") for path in (ROOT / root).rglob("*.py")
    ]
    paths += [*(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "pyproject.toml"]
    found = {
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in paths
        for match in RIDDLES.finditer(path.read_text())
    }
    assert set() == found


VERBS = re.compile(
    r"(How|What|Which|Why|Where|When|Whether|From|Makes|Runs|Checks|Reads|Takes|Turns|Finds|Gives"
    r"|Holds|Says|Puts|Writes|Builds|Starts|Opens|Keeps|Cuts|Chooses|Compares|Joins|Loads|Prepares"
    r"|Remembers|Refuses|Wakes|Hears|Answers|Compiles|The|A|An|One|Every|Doing|Giving|Putting)\b"
)


def test_a_module_s_docstring_begins_with_what_it_is_about():
    """With the noun that a reader would search for: "Lease: a deployment that this process…"."""
    first = {
        module: (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]
        for module, source in SOURCES.items()
        if not module.startswith("pushserve.") and ".migrations.0" not in module
    }
    assert {} == {module: line for module, line in first.items() if VERBS.match(line)}

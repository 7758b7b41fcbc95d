"""Imports point one way, as the tables of docs/architecture.md say; and names that say whose."""

import sys
from collections import Counter

import pytest

from tests.fixtures.import_rules import (
    PAGE,
    ROOT,
    Checker,
    Rules,
    imports_of,
    our_sources,
    read_rules,
)

RECURRING = {"__init__.py", "main.py"}
"""What several folders may have: a folder's face, and what runs where it is started."""

MADE_UP = Rules(
    may_import={
        "runtime": (),
        "app": ("runtime",),
        "app.alone": ("runtime.signature",),
        "box": ("runtime",),
    },
    layers={
        "app": (("top",), ("left", "right"), ("…",)),
        "app.left": (("run",), ("*",), ("helper",)),
    },
    only_in={"numpy": ("runtime",), "grpc": ("app",), "grpc._cython": ("app.top",), "pickle": ()},
)
CLEAN = {
    "runtime": "",
    "runtime.signature": "",
    "runtime.frames": "import numpy\nimport json",
    "app": "from app import top",
    "app.top": "from grpc._cython import cygrpc\nfrom app.left import run",
    "app.left": "",
    "app.left.run": "from app.left import one, two\nfrom runtime.frames import Array",
    "app.left.one": "from app.left.helper import help",
    "app.left.two": "import app.left.helper",
    "app.left.helper": "import grpc",
    "app.right": "from app.alone import plain",
    "app.alone": "from runtime.signature import Signature",
    "app.deep": "from app import alone",
    "box": "",
    "box.job": "from runtime import frames",
}


def test_every_import_keeps_the_rules_of_the_page():
    assert [] == Checker(our_sources(), read_rules(PAGE.read_text())).problems()


def test_what_keeps_the_rules_passes():
    assert [] == Checker(CLEAN, MADE_UP).problems()


@pytest.mark.parametrize(
    ("module", "source", "problem"),
    [
        ("box.job", "import app.top", "imports app.top, which box may not"),
        ("runtime.frames", "from box import job", "which runtime may not"),
        ("app.alone", "from runtime.frames import Array", "which app.alone may not"),
        ("other", "", "other is in no package"),
        ("app.right", "from app import top", "above it in app"),
        ("app.right", "def f():\n    from app.top import g", "above it in app"),
        ("app.right", "import importlib\nimportlib.import_module('app.top')", "above it in app"),
        ("app.left.helper", "from app import left", "above it in app.left"),
        ("app.right", "from app.left.one import f", "beside it in app"),
        ("app.left.one", "from app.left import two", "beside it in app.left"),
        ("app.left.helper", "from grpc._cython import cygrpc", "imports grpc._cython, which"),
        ("box.job", "import grpc", "imports grpc, which is not for it"),
        (
            "runtime.signature",
            "if False:\n    import pickle",
            "imports pickle, which is not for it",
        ),
        ("app.left.one", "from torch import nn", "imports torch, which has no row"),
        ("app.deep", "from runtime.frames import _CODES", "which is private"),
        ("app.right", "from .top import f", "write the full name"),
        ("app.deep", "from app import wide", "a circle in app: "),
        ("runtime", "import app.top", "a circle in the packages: "),
    ],
)
def test_a_broken_import_of_each_kind_is_caught(module, source, problem):
    sources = {**CLEAN, "app.wide": "from app.deep import f", module: source}
    found = Checker(sources, MADE_UP).problems()
    assert any(problem in text for text in found), found


@pytest.mark.parametrize(
    ("layers", "problem"),
    [
        ((("top",), ("left", "right"), ("alone",)), "app.deep is in no layer"),
        ((("top",), ("left", "right", "middle"), ("…",)), "app.middle is in a layer, but not"),
    ],
)
def test_a_folder_s_layers_are_what_is_in_it(layers, problem):
    rules = Rules(MADE_UP.may_import, {"app": layers}, MADE_UP.only_in)
    assert problem in "\n".join(Checker(CLEAN, rules).problems())


def test_no_row_of_the_page_is_for_what_is_gone():
    rules, sources = read_rules(PAGE.read_text()), our_sources()
    ours = {*sources} | {name.rpartition(".")[0] for name in sources}
    named = {*rules.may_import, *rules.layers}
    for allowed in (*rules.may_import.values(), *rules.only_in.values()):
        named.update(allowed)
    assert set() == named - ours


def test_a_module_s_name_says_whose_it_is():
    """Two modules of one name make a reader open both."""
    counts = Counter(path.name for path in (ROOT / "server").rglob("*.py"))
    assert {name for name, count in counts.items() if count > 1} <= RECURRING


def test_the_client_imports_little_that_it_does_not_bring():
    """It is installed where other things are; NumPy and pandas only where they are there."""
    third_party = {"google", "grpc", "numpy", "pandas", "rich", "typer", "typing_extensions"}
    known = third_party | {"pushserve", "pushserve_client"} | sys.stdlib_module_names
    for path in (ROOT / "clients").rglob("*.py"):
        names = set(imports_of(path.read_text()))
        assert set() == {name.split(".")[0] for name in names} - known, path
        google = {name for name in names if name.startswith("google.")}
        assert all(name.startswith("google.protobuf") for name in google), path

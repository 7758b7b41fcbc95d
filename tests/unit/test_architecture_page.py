"""docs/architecture.md is the map: it names every folder once, and only what is there."""

import re

from tests.fixtures.import_rules import PAGE, ROOT, SOURCE_ROOTS, table

_FILE = re.compile(r"`([\w./-]+\.(?:py|proto|toml))`")
_WHERE = (*SOURCE_ROOTS, "tests", "benchmarks", "examples")
_BY_REPOSITORIES = {"predict.py", "pushserve.toml"}
"""Names of files in repositories of models."""


def test_every_folder_has_one_line():
    folders = {
        f"{path.relative_to(ROOT)}/"
        for root in SOURCE_ROOTS
        for path in (ROOT / root).rglob("*")
        if any(one.suffix in (".py", ".proto") for one in path.rglob("*"))
    }
    listed = [folder for folder, _ in table(PAGE.read_text(), "Folders")]
    assert sorted(folders) == sorted(listed)


def test_every_line_says_something():
    assert all(says for _, says in table(PAGE.read_text(), "Folders"))


def test_every_file_named_is_there():
    named = set(_FILE.findall(PAGE.read_text())) - _BY_REPOSITORIES
    places = [ROOT, *(ROOT / root for root in SOURCE_ROOTS)]
    assert set() == {
        name for name in named if not any((place / name).is_file() for place in places)
    }


def test_every_module_that_a_page_names_is_there():
    """By the end of its path, as pages and decisions name it: `deploy/lease.py`."""
    there = [str(p.relative_to(ROOT)) for root in _WHERE for p in (ROOT / root).rglob("*.py")]
    for page in (*(ROOT / "docs").rglob("*.md"), ROOT / "README.md"):
        named = {name for name in _FILE.findall(page.read_text()) if name.endswith(".py")}
        gone = {name for name in named if not any(f"/{p}".endswith(f"/{name}") for p in there)}
        assert set() == gone - _BY_REPOSITORIES, page


def test_a_way_meets_each_file_once():
    page = PAGE.read_text()
    for heading in ("The way of a push", "The way of a Predict"):
        section = re.split(r"(?m)^## ", page.partition(f"## {heading}\n")[2])[0]
        steps = re.split(r"(?m)^\d+\. ", section.partition("\n\n|")[0])[1:]
        named = [name for step in steps for name in _FILE.findall(step)]
        met = [name for name in named if name not in _BY_REPOSITORIES]
        assert len(met) > 15
        assert len(set(met)) == len(met)

"""What is said of a database that cannot be used, and how often."""

import io
import logging
from pathlib import Path

import psycopg
import pytest

from pushserve_server.errors import RegistryUnavailable, Unavailable
from pushserve_server.processes.outage_lines import OutageLines
from pushserve_server.registry.database import RegistryDatabase


def said(url: str) -> str:
    with pytest.raises(RegistryUnavailable) as caught:
        RegistryDatabase.open(url)
    assert "REGISTRY_UNAVAILABLE" == caught.value.code_reason
    return caught.value.message


def garbage(folder: Path) -> Path:
    path = folder / "garbage.sqlite3"
    path.write_bytes(b"This is no database. " * 400)
    return path


def a_folder(folder: Path) -> Path:
    return folder


def below_a_file(folder: Path) -> Path:
    (folder / "file").touch()
    return folder / "file" / "registry.sqlite3"


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (garbage, "its file is no SQLite database"),
        (a_folder, "its file cannot be opened"),
        (below_a_file, "Not a directory|File exists"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path, made, why):
    path = made(tmp_path)
    message = said(f"sqlite:///{path}")
    assert str(tmp_path) not in message, "it is for callers, too"
    assert any(each in message for each in why.split("|")), message


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("postgresql://u:pass-word@127.0.0.1:1/x", "nothing answers at its address"),
        ("postgresql://u:pass-word@no.such.invalid/x", "its host name is not known"),
    ],
)
def test_a_host_that_is_not_there(url, why):
    message = said(url)
    assert message.endswith(why)
    assert "pass-word" not in message


@pytest.mark.postgres
def test_user_password_name_and_rights_are_told_apart(postgres):
    url = postgres()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE ROLE reader LOGIN")
        connection.execute("CREATE ROLE locked NOLOGIN")
        connection.execute("ALTER ROLE reader SET default_transaction_read_only = on")
        connection.execute("GRANT CREATE ON SCHEMA public TO reader")
    as_user = url.replace("user=postgres", "user={}").format
    assert "there is no database of that name" in said(url.replace("/test", "/nosuch"))
    assert "it refuses the user or the password" in said(as_user("nobody"))
    assert "it refuses the user or the password" in said(as_user("locked"))
    assert "it only takes reads" in said(as_user("reader"))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ALTER ROLE reader RESET default_transaction_read_only")
        connection.execute("REVOKE CREATE ON SCHEMA public FROM reader, PUBLIC")
    assert "its user may not do that" in said(as_user("reader"))


class Log:
    """A logger with the filter; `time` is its clock's."""

    def __init__(self) -> None:
        self.time = 0.0
        self._text = io.StringIO()
        handler = logging.StreamHandler(self._text)
        handler.addFilter(OutageLines(lambda: self.time))
        self.logger = logging.getLogger("tests.outage")
        self.logger.setLevel("INFO")
        self.logger.handlers = [handler]

    def fail(self, error: Exception) -> None:
        self.logger.error("%s failed", "looking", exc_info=error)

    def lines(self) -> list[str]:
        return self._text.getvalue().splitlines()


def test_an_outage_is_one_line_a_minute():
    log = Log()
    for _ in range(100):
        log.fail(RegistryUnavailable("the database is away"))
        log.logger.warning("not now: %s", RegistryUnavailable("the database is away"))
    assert ["looking failed: the database is away"] == log.lines()
    log.time = 60.0
    log.logger.warning("not now: %s", RegistryUnavailable("the database is away"))
    log.fail(RegistryUnavailable("the database is away"))
    assert ["not now: the database is away"] == log.lines()[1:]


def test_all_else_is_written_as_it_is():
    log = Log()
    log.fail(RegistryUnavailable("away"))
    for _ in range(2):
        log.fail(Unavailable("another part"))
        log.logger.info("%d things", 3)
    assert 2 == log.lines().count("3 things")
    assert 2 == sum("Unavailable: another part" in line for line in log.lines())

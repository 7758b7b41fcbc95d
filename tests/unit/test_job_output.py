"""What jobs print comes into the server's log: whose it is, cleaned, and not too much."""

import contextlib
import logging
import os
from collections.abc import Iterator

import pytest

from pushserve_server.job_output import LINE_LIMIT, LINES_AT_ONCE, JobOutput
from pushserve_server.sandbox_client import JobPolicy, SandboxClient
from tests.fixtures.served import until

DEADLINE = 20.0
IRIS = {"model": "iris", "version": 3, "deployment": "d-1"}


@pytest.fixture(autouse=True)
def _everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "pushserve_server.job_output")


def lines(caplog: pytest.LogCaptureFixture, who: str = "") -> list[tuple[str, str]]:
    """Give (level, text) of the lines that were logged, without whose they are."""
    found = []
    for record in caplog.records:
        before, colon, text = record.getMessage().partition(": ")
        assert before.startswith(who), record.getMessage()
        assert colon
        found.append((record.levelname, text))
    return found


@pytest.mark.parametrize("crash", [False, True])
def test_what_a_job_prints_and_logs(zygote: SandboxClient, caplog, crash):
    """Also what it says while it crashes, which the kernel keeps for who reads it later."""
    with zygote.start("jailed:say", {"crash": crash}, JobPolicy(), log_as=IRIS) as job:
        assert (None if crash else {"said": True}) == job.receive(DEADLINE)
        job.wait(DEADLINE)
    who = f"model=iris version=3 deployment=d-1 pid={job.pid}"
    found = lines(caplog, who)
    assert [
        ("INFO", "printed in parts, and more"),
        ("INFO", "to stderr"),
        ("INFO", "as bytes"),
        ("INFO", "by the descriptor"),
        ("WARNING", "model: logged"),
        ("WARNING", "in two lines"),
        ("ERROR", "model: an error"),
    ] == found[:7]
    assert {**IRIS, "pid": job.pid} == caplog.records[0].job
    trace = [text for _, text in found[7:]]
    assert (["Fatal Python error: Segmentation fault"] if crash else []) == trace[:1]
    assert crash is any("in say" in text for text in trace)


def test_a_job_that_prints_much_waits_for_nobody(zygote: SandboxClient, caplog):
    with zygote.start("jailed:say_much", {"lines": 20_000}, JobPolicy()) as job:
        assert {"said": True} == job.receive(DEADLINE)  # nobody has read a line
        assert [] == caplog.records

        def all_is_read() -> bool:
            before = len(caplog.records)
            job.output.log()
            return len(caplog.records) == before

        until(all_is_read)
        job.send({})
        job.wait(DEADLINE)
    found = [text for _, text in lines(caplog)]
    assert "line 0 " + "x" * 100 == found[0]
    said = " ".join(found)
    assert "lines were dropped: too many at once" in said or "more lines were left out" in said
    assert LINES_AT_ONCE <= len(found) < 2 * LINES_AT_ONCE


@contextlib.contextmanager
def printing(caplog: pytest.LogCaptureFixture) -> Iterator[tuple[JobOutput, int]]:
    reader, writer = os.pipe()
    output = JobOutput(reader, {"model": "iris"})
    try:
        yield output, writer
    finally:
        output.close()
        output.close()


def test_lines_are_put_together_and_cleaned(caplog):
    with printing(caplog) as (output, writer):
        for part in (
            b"one li",
            b"ne\n\x1b[31mred\x00\n",
            b"\xff\n\n<3>bad\n<9>odd\n<3",
            b">torn\n",
        ):
            os.write(writer, part)
            output.log()
        os.write(writer, b"no end")
        os.close(writer)
    assert [
        ("INFO", "one line"),
        ("INFO", "?[31mred?"),
        ("INFO", "\N{REPLACEMENT CHARACTER}"),
        ("ERROR", "bad"),
        ("INFO", "<9>odd"),
        ("ERROR", "torn"),
        ("INFO", "no end"),
    ] == lines(caplog, "model=iris")


def test_a_line_without_end_is_cut(caplog):
    with printing(caplog) as (output, writer):
        for _ in range(10):
            os.write(writer, b"y" * 30_000)
            output.log()
        os.close(writer)
    found = [text for _, text in lines(caplog)]
    assert ["y" * (LINE_LIMIT - 1) + "…"] * 10 == found


def test_too_many_lines_are_counted(caplog):
    with printing(caplog) as (output, writer):
        for _ in range(10):
            os.write(writer, b"z\n" * 1000)
            output.log()
        os.close(writer)
    found = [text for _, text in lines(caplog)]
    shown = found.count("z")
    left_out = [int(text[1:].split()[0]) for text in found if text != "z"]
    assert LINES_AT_ONCE <= shown < 2 * LINES_AT_ONCE
    assert 10_000 == shown + sum(left_out)

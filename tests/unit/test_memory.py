"""Whom to unload, what to load first, and which workers to start, by tables."""

import os
import subprocess
import sys

import pytest

from pushserve_server.domain.loading_rules import PreloadRule, Use, evictions, preloads
from pushserve_server.domain.records import ModelRoutes, Route
from pushserve_server.workers.planner import within
from pushserve_server.workers.pool import SlotChanges
from pushserve_server.workers.process_memory import Footprints

OLD, MIDDLE, NEW = Use(1, 40, 1.0), Use(2, 40, 2.0), Use(3, 40, 3.0)


@pytest.mark.parametrize(
    ("uses", "limit", "gone"),
    [
        ([], 0, []),
        ([NEW, OLD, MIDDLE], 120, []),
        ([NEW, OLD, MIDDLE], 119, [1]),
        ([NEW, OLD, MIDDLE], 79, [1, 2]),
        # The one that was called last stays, although it does not fit.
        ([NEW, OLD, MIDDLE], 10, [1, 2]),
        ([Use(1, 40, 1.0, fixed=True), MIDDLE, NEW], 119, [2]),
        ([Use(1, 40, 1.0, busy=True), MIDDLE, NEW], 119, [2]),
        # Calls in flight keep a version only while others can go.
        ([Use(1, 40, 1.0, busy=True), MIDDLE, NEW], 79, [2, 1]),
        ([Use(1, 1, 1.0), Use(2, 99, 2.0), NEW], 130, [1, 2]),
    ],
)
def test_those_not_called_for_longest_make_room(uses, limit, gone):
    assert gone == evictions(uses, limit)


MAIN = "refs/heads/main"


def model(name, version_id, ref=MAIN):
    """A model with one ref besides its default one."""
    return ModelRoutes(name, ref, (Route("refs/heads/dev", 900), Route(MAIN, version_id)))


@pytest.mark.parametrize(
    ("patterns", "limit", "first"),
    [
        (("*",), 9, [1, 2, 3]),
        (("*",), 2, [1, 2]),
        (("*",), 0, []),
        ((), 9, []),
        (("c*",), 9, [3]),
        (("c", "*"), 2, [3, 1]),
        (("C", "?b", "nothing"), 9, []),
    ],
)
def test_the_first_models_of_the_first_pattern_are_loaded_first(patterns, limit, first):
    models = [model("a", 1), model("b", 2), model("c", 3), model("d", 4, "refs/heads/gone")]
    assert first == preloads(models, PreloadRule(patterns, limit))


@pytest.mark.parametrize(
    ("wanted", "fixed", "taken", "opened"),
    [
        ((1, 2), (), 0, (1, 2)),
        ((1, 2, 3), (), 0, (1, 2)),
        ((1, 2), (), 60, (1,)),
        ((1, 2), (2,), 60, (2,)),
        ((1, 2), (), 90, ()),
        ((1,), (1,), 90, (1,)),
    ],
)
def test_workers_wait_for_room_but_for_those_being_deployed(wanted, fixed, taken, opened):
    """Each takes 40 of 100."""
    planned = within(SlotChanges(wanted, (7,)), fixed, taken, 100, lambda _: 40)
    assert SlotChanges(opened, (7,)) == planned


def test_one_that_is_larger_than_all_memory_runs_alone():
    assert (1,) == within(SlotChanges((1, 2), ()), (), 0, 100, lambda _: 400).open


def test_a_worker_that_was_measured_is_remembered_and_others_are_guessed_by_it():
    footprints = Footprints()
    first = footprints.size(1)
    assert footprints.measure({1: [os.getpid()], 2: [2**22 + 1]}, 0.0)
    measured = footprints.size(1)
    assert 0 < measured != first
    assert measured == footprints.size(2)
    assert not footprints.measure({}, 1.0)
    footprints.forget_others([2])
    assert first == footprints.size(1)


# Chunks below malloc's threshold for mappings of their own, so that trimming is what frees them.
# A process of its own has no chunks of other tests between them.
HOLD_AND_GIVE_BACK = """
import os
import numpy as np
from pushserve_server.serve.malloc import allocated, give_back

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")

before = allocated()
held = [np.ones(10_000) for _ in range(500)]
assert 40_000_000 <= allocated() - before
full = resident()
held.clear()
give_back()
assert 30_000_000 <= full - resident(), full - resident()
"""


def test_what_malloc_holds_is_seen_and_given_back():
    command = [sys.executable, "-c", HOLD_AND_GIVE_BACK]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert 0 == done.returncode, done.stderr

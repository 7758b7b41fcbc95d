"""Hints wake those who listen, and a lost one does no harm."""

import shutil
import socket

import pytest

from pushserve_server.wakeups import SELDOM, Looks, Wakeups, wait


def test_everyone_who_listens_is_woken(tmp_path):
    wakeups = Wakeups(tmp_path)
    with wakeups.listening("a") as first, wakeups.listening("b") as second:
        wakeups.wake()
        assert (True, True) == (wait(first, 5), wait(second, 5))


def test_hints_that_came_together_count_once(tmp_path):
    wakeups = Wakeups(tmp_path)
    with wakeups.listening("a") as listener:
        for _ in range(5):
            wakeups.wake()
        assert (True, False) == (wait(listener, 5), wait(listener, 0))


def test_waking_before_anyone_listened_does_nothing(tmp_path):
    Wakeups(tmp_path).wake()
    assert [] == list(tmp_path.iterdir())


def test_a_dead_listener_is_removed_and_disturbs_nobody(tmp_path):
    wakeups = Wakeups(tmp_path)
    wakeups.listen("dead").close()
    with wakeups.listening("alive") as listener:
        wakeups.wake()
        assert wait(listener, 5)
        assert ["alive.wakeup"] == [p.name for p in (tmp_path / "wakeups").iterdir()]


def test_a_name_can_be_taken_again_after_a_crash(tmp_path):
    wakeups = Wakeups(tmp_path)
    wakeups.listen("a").close()
    with wakeups.listening("a") as listener:
        wakeups.wake()
        assert wait(listener, 5)


def test_a_full_queue_does_not_block(tmp_path):
    wakeups = Wakeups(tmp_path)
    with wakeups.listening("a") as listener:
        for _ in range(2000):
            wakeups.wake()
        assert wait(listener, 0)


def test_files_that_are_no_sockets_are_left_alone(tmp_path):
    wakeups = Wakeups(tmp_path)
    with wakeups.listening("a"):
        other = tmp_path / "wakeups" / "x.wakeup"
        other.write_text("")
        wakeups.wake()
        assert other.exists()


def test_a_path_that_no_socket_can_have_is_refused(tmp_path):
    with pytest.raises(ValueError, match="too long for a socket"):
        Wakeups(tmp_path / ("x" * 100)).listen("a")


def test_the_socket_does_not_block(tmp_path):
    with Wakeups(tmp_path).listening("a") as listener:
        hints = listener.current()
        with pytest.raises(BlockingIOError):
            hints.recv(1)
    with pytest.raises(OSError, match="Bad file descriptor"):
        hints.recv(1)
    assert socket.AF_UNIX == hints.family


@pytest.mark.parametrize("removed", ["wakeups/a.wakeup", "wakeups", "."])
def test_a_listener_whose_file_was_removed_hears_again(tmp_path, removed):
    run_dir = tmp_path / "run"
    wakeups = Wakeups(run_dir)
    with wakeups.listening("a") as listener:
        path = run_dir / removed
        path.unlink() if path.is_socket() else shutil.rmtree(path)
        assert not wait(listener, 0)
        run_dir.mkdir(exist_ok=True)  # which only the supervisor does
        assert not wait(listener, 0)
        wakeups.wake()
        assert wait(listener, 5)


def test_who_polls_looks_at_every_turn_unless_every_change_is_told(tmp_path):
    """A server on PostgreSQL asked it ten times a second from each process, with LISTEN up."""
    wakeups = Wakeups(tmp_path)
    looks = Looks(wakeups)
    assert [True] * 3 == [looks.due(now, woken=False) for now in (0.0, 0.5, 1.0)]
    wakeups.note_heard(True)
    turns = [number / 2 for number in range(3, 23)]
    assert 10 / SELDOM == sum(looks.due(now, woken=False) for now in turns)
    assert looks.due(11.5, woken=True)
    assert not looks.due(12.0, woken=False)
    wakeups.note_heard(False)
    wakeups.note_heard(False)
    assert looks.due(12.5, woken=False)


def test_the_mark_is_no_listener(tmp_path):
    wakeups = Wakeups(tmp_path)
    wakeups.note_heard(True)
    with wakeups.listening("a") as listener:
        wakeups.wake()
        assert wait(listener, 5)
    assert wakeups.all_heard()

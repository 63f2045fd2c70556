"""A folder that a training writes into is refused to a second one; what a dead one left is taken over."""

import errno
import json
import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import launch
import pytest
from bundle_runtime.engine.lock import NAME, in_use
from custom_components.errors import InputError

HOLDS = """
import os, signal, sys, time
from pathlib import Path
from bundle_runtime.engine.lock import in_use

with in_use(Path(sys.argv[1])):
    {what}
"""
WAITS = HOLDS.format(what='Path(sys.argv[1], "held").touch(); signal.pause()')
# As after a kill for lack of memory, which gives a process no time to end those that load for it.
LEAVES = HOLDS.format(
    what="""
    started, start = os.pipe()
    if os.fork() == 0:
        os.write(start, b"x")
        time.sleep(20)
        os._exit(0)
    os.read(started, 1)
    os.kill(os.getpid(), signal.SIGKILL)
"""
)


def test_a_folder_in_use_is_refused_until_the_other_ends(tmp_path: Path) -> None:
    (tmp_path / "waits.py").write_text(WAITS)
    other = launch.start(tmp_path / "waits.py", tmp_path / "out", cwd=tmp_path)
    while not (tmp_path / "out" / "held").exists():
        assert other.is_alive()
        time.sleep(0.005)
    (tmp_path / "link").symlink_to(tmp_path / "out")
    with (
        pytest.raises(InputError, match=rf"in use by a run since .*process {other.pid}"),
        in_use(tmp_path / "weights", tmp_path / "link"),  # the same folder by another name
    ):
        raise AssertionError
    assert not (tmp_path / "weights" / NAME).exists()  # what was held on the way is free again
    other.kill()
    other.join()
    assert (tmp_path / "out" / NAME).exists()
    with in_use(tmp_path / "out"):
        pass
    assert not (tmp_path / "out" / NAME).exists()


def test_output_and_weights_may_be_one_folder(tmp_path: Path) -> None:
    with in_use(tmp_path, tmp_path), pytest.raises(InputError, match="in use"), in_use(tmp_path):
        raise AssertionError


def test_it_is_free_after_a_failure(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="x"), in_use(tmp_path):
        raise RuntimeError("x")
    assert not list(tmp_path.iterdir())


def test_of_several_that_find_a_left_lock_one_wins(tmp_path: Path) -> None:
    """And the process number of the dead one, that another has got since, keeps nobody out."""
    left = {"pid": os.getpid(), "host": socket.gethostname(), "since": "2026-01-01"}
    for _ in range(20):
        (tmp_path / NAME).write_text(json.dumps(left))
        with ThreadPoolExecutor(4) as pool:
            barrier = Barrier(4)
            won = list(pool.map(lambda _, barrier=barrier: take(tmp_path, barrier), range(4)))
        assert sorted(won) == [False, False, False, True]
        assert not list(tmp_path.iterdir())


def take(folder: Path, barrier: Barrier) -> bool:
    """Whether the folder was got; it is held until all have tried."""
    barrier.wait()
    try:
        with in_use(folder):
            barrier.wait()
            return True
    except InputError:
        barrier.wait()
        return False


def test_a_loader_process_that_outlives_its_parent_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / "leaves.py").write_text(LEAVES)
    assert launch.run(tmp_path / "leaves.py", tmp_path / "out").returncode == -signal.SIGKILL
    assert (tmp_path / "out" / NAME).exists()
    with in_use(tmp_path / "out"):
        pass


def test_the_lock_of_another_machine_is_believed(tmp_path: Path) -> None:
    with in_use(tmp_path):
        held = json.loads((tmp_path / NAME).read_text())
    assert (held["host"], held["pid"]) == (socket.gethostname(), os.getpid())
    (tmp_path / NAME).write_text(json.dumps(held | {"host": "a container"}))  # each start gives it another name
    with in_use(tmp_path):
        pass
    (tmp_path / NAME).write_text(json.dumps(held | {"host": "elsewhere", "boot": "another"}))
    with (
        pytest.raises(InputError, match=r"in use by a run on elsewhere since .*; if that run has ended, remove .*\."),
        in_use(tmp_path),
    ):
        raise AssertionError


def test_where_the_file_system_has_no_locks_the_file_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with in_use(tmp_path), pytest.raises(InputError, match=r"in use.*if that run has ended, remove"), in_use(tmp_path):
        raise AssertionError


@pytest.mark.parametrize("content", ["", '{"pid": 1', "5"])
def test_a_lock_that_was_cut_off_by_a_full_disk_is_taken_over(tmp_path: Path, content: str) -> None:
    (tmp_path / NAME).write_text(content)
    with in_use(tmp_path):
        assert json.loads((tmp_path / NAME).read_text())["pid"] == os.getpid()

"""A folder that a training writes into is refused to a second one; what a dead one left is taken over."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from bundle_runtime.engine.lock import NAME, in_use
from custom_components.errors import InputError

WAITS = "import sys; from pathlib import Path; from bundle_runtime.engine.lock import in_use\n" + (
    "with in_use(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
)


def test_a_folder_in_use_is_refused_until_the_other_ends(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[3]
    other = subprocess.Popen(
        [sys.executable, "-c", WAITS, str(tmp_path / "out")], cwd=root, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    with (
        pytest.raises(InputError, match=rf"in use by a training that runs since .*process {other.pid}"),
        in_use(tmp_path / "weights", tmp_path / "out"),
    ):
        raise AssertionError
    assert not (tmp_path / "weights" / NAME).exists()  # what was held on the way is free again
    other.kill()
    other.wait()
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


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"host": "elsewhere"}, "in use by a training on elsewhere"),
        ({"pid": 2**22 + 1}, None),
        ({"born": "0"}, None),  # the number of a dead process that another one has got since
    ],
)
def test_locks_of_others(tmp_path: Path, changes: dict[str, object], said: str | None) -> None:
    with in_use(tmp_path):
        held = json.loads((tmp_path / NAME).read_text())
    assert held["host"] == socket.gethostname()
    (tmp_path / NAME).write_text(json.dumps(held | changes))
    if said is None:
        with in_use(tmp_path):
            assert json.loads((tmp_path / NAME).read_text())["pid"] == held["pid"]
        return
    with pytest.raises(InputError, match=said), in_use(tmp_path):
        raise AssertionError


def test_a_damaged_lock_names_itself(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text("")
    with pytest.raises(InputError, match=r"training-in-progress: another training is starting"), in_use(tmp_path):
        raise AssertionError

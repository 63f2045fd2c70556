import os
import subprocess
import sys

import pytest

from bundle_runtime.files import temporary_folder, write_atomically


def test_writes_text_and_bytes_and_makes_folders(tmp_path):
    path = tmp_path / "new" / "a.txt"
    assert write_atomically(path, "größe\n") == path
    assert path.read_bytes() == "größe\n".encode()
    write_atomically(path, b"\x00\x01")
    assert path.read_bytes() == b"\x00\x01"
    assert [entry.name for entry in path.parent.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, step):
    path = write_atomically(tmp_path / "a.txt", "old")

    def no_space(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, step, no_space)
        with pytest.raises(OSError, match="No space left"):
            write_atomically(path, "new")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("end", ["pass", "raise ValueError"])
def test_a_temporary_folder_ends_with_its_process(tmp_path, end):
    code = (
        "import os\nfrom bundle_runtime.files import temporary_folder\n"
        f"folder = temporary_folder({str(tmp_path / 'new')!r}, '.cache-')\n"
        "open(os.path.join(folder, 'block'), 'w').close()\n"
        "if os.fork() == 0:\n    raise SystemExit\nos.wait()\nprint(os.path.exists(folder), folder)\n" + end
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    alive, folder = done.stdout.split(maxsplit=1)  # a forked worker that ended has left it alone
    assert alive == "True"
    assert folder.startswith(str(tmp_path / "new" / ".cache-"))
    assert done.returncode == (end != "pass")
    assert list((tmp_path / "new").iterdir()) == []


def test_temporary_folders_are_different(tmp_path):
    assert temporary_folder(tmp_path) != temporary_folder(tmp_path)

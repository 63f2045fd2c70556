import os
import time
from pathlib import Path

import numpy as np
import pytest
from custom_components.errors import InputError
from mae_tools.sources.unpack import Unpacked
from PIL import Image


def never() -> np.ndarray:
    raise AssertionError("made twice")


def test_each_picture_is_made_once(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.touch()
    old = time.time() - 100
    os.utime(source, (old, old))
    folder = Unpacked(tmp_path, "made", "tiles")
    pixels = np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000
    assert folder.add("a/b.png", lambda: pixels, source) == "made/a/b.png"
    assert folder.add("a/b.png", never, source) == "made/a/b.png"
    assert folder.written == 1
    assert np.array_equal(np.asarray(Image.open(tmp_path / "made/a/b.png")), pixels)
    os.utime(source)
    os.utime(tmp_path / "made/a/b.png", (old, old))  # the source changed since
    folder.add("a/b.png", lambda: pixels + 1, source)
    assert folder.written == 2


def test_an_interrupted_picture_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(old: object, new: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Unpacked(tmp_path, "made", "tiles").add("a.png", lambda: np.zeros((4, 4), np.uint8), tmp_path)
    assert not list((tmp_path / "made").iterdir())


def test_a_folder_elsewhere_is_listed_by_its_whole_path(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    made = Unpacked(tmp_path / "data", tmp_path / "other", "tiles")
    assert made.add("a.png", lambda: np.zeros((4, 4), np.uint8), tmp_path) == (tmp_path / "other/a.png").as_posix()


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "made").touch()
    with pytest.raises(InputError, match=r"a\.png: cannot be written .*; give another folder with tiles\."):
        Unpacked(tmp_path, "made", "tiles").add("a.png", lambda: np.zeros((4, 4), np.uint8), tmp_path)


def test_a_picture_with_the_longest_name_that_a_file_can_have(tmp_path: Path) -> None:
    name = "ü" * 125 + "x.png"
    Unpacked(tmp_path, "made", "masks").add(name, lambda: np.zeros((4, 4), np.uint8), tmp_path)
    assert [path.name for path in (tmp_path / "made").iterdir()] == [name]

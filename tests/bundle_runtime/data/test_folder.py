"""The folder of images of an inference run."""

from pathlib import Path

import pytest

from bundle_runtime.data.folder import image_folder
from custom_components.errors import InputError


def test_a_folder_and_what_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    assert image_folder("in") == tmp_path / "in"
    Path("a.png").touch()
    with pytest.raises(InputError, match=r"dataset_dir a\.png is a file, expected a folder; .* or give a datalist"):
        image_folder("a.png")
    with pytest.raises(InputError, match=r"dataset_dir none does not exist; give the folder that holds the images"):
        image_folder("none")

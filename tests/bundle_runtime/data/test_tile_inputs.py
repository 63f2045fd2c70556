"""Pictures of a segmentation run."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bundle_runtime.data.tile_inputs import TileInputs
from custom_components.errors import InputError


def picture(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8)).save(path)


def test_cases_are_names_that_files_can_have(tmp_path: Path) -> None:
    for name in ("s1/a b.png", "s2/a b.png", "s2/c.png"):
        picture(tmp_path / name)
    inputs = TileInputs(str(tmp_path), output_dir=str(tmp_path / "out"))
    assert [item["case"] for item in inputs.items] == ["s1_a_b.png", "s2_a_b.png", "c"]


def test_equal_names_are_numbered(tmp_path: Path) -> None:
    for name in ("a b.png", "a+b.png"):
        picture(tmp_path / name)
    assert {item["case"] for item in TileInputs(str(tmp_path)).items} == {"a_b", "a_b_2"}


def test_a_failure_is_listed_and_the_run_goes_on(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.png")
    inputs = TileInputs(str(tmp_path), output_dir=str(tmp_path / "out"))

    class Broken:
        state = type("State", (), {"batch": None})()

        def _iteration(self, engine: object, batch: dict) -> None:
            raise InputError("no memory")

    batch = {"case": ["a"], "file": [str(tmp_path / "a.png")]}
    assert inputs.iteration(Broken(), batch) == []
    with pytest.raises(InputError, match=r"1 of 2 images could not be used: .*a.*no memory"):
        inputs.finish()
    assert (tmp_path / "out" / "failures.json").exists()

"""Two evaluations of the same pictures."""

from pathlib import Path

import numpy as np
import pytest
from bundle_runtime.figures.arms import Maps
from bundle_runtime.scores.instance_report import InstanceReport
from bundle_runtime.scores.instances import Counts
from custom_components.errors import InputError
from mae_tools.compare.command import compare

NAMES = ["background", "nucleus"]


def write(folder: Path, gains: list[int], names: list[str] = NAMES, **settings: object) -> Path:
    report = InstanceReport(names, **settings)
    for number, gain in enumerate(gains):
        report.add(f"c{number}", f"p{number}", [Counts(40 + gain, 60, 60, 4 + gain, 2, 6 - gain, 3.0, 50, 90)])
    report.write(folder)
    return folder


def test_differences_are_paired(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    a = write(tmp_path / "a", [0] * 12)
    b = write(tmp_path / "b", rng.integers(1, 4, 12).tolist())
    text, result = compare(a, b, "scratch", "MAE", write=tmp_path)
    dice = result["classes"]["nucleus"]["dice"]
    for kind in ("per_image", "pooled"):
        difference = dice[kind]["difference"]
        assert difference["mean"] == pytest.approx(dice[kind]["b"]["mean"] - dice[kind]["a"]["mean"])
        assert 0 < difference["low"] <= difference["mean"] <= difference["high"]
    assert "scratch" in text
    assert "AJI, pooled" in text
    assert (tmp_path / "comparison.json").exists()


def test_the_same_evaluation_differs_by_nothing(tmp_path: Path) -> None:
    a = write(tmp_path / "a", [0, 1, 2])
    _, result = compare(a, a, "A", "B")
    assert result["classes"]["nucleus"]["pq"]["pooled"]["difference"]["mean"] == 0


def test_one_that_rightly_finds_nothing_is_perfect_beside_one_that_invents(tmp_path: Path) -> None:
    for name, counts in (("a", Counts()), ("b", Counts(0, 0, 9, 0, 1, 0, 0.0, 0, 9))):
        report = InstanceReport(NAMES)
        report.add("c", "p", [counts])
        report.add("d", "q", [Counts(5, 6, 7, 1, 0, 0, 0.9, 5, 6)])
        report.write(tmp_path / name)
    _, result = compare(tmp_path / "a", tmp_path / "b", "A", "B")
    assert result["classes"]["nucleus"]["dice"]["per_image"]["difference"]["mean"] == pytest.approx(-0.5)


def test_pictures_of_one_side_are_left_out_with_a_note(tmp_path: Path) -> None:
    text, result = compare(write(tmp_path / "a", [0, 1, 2]), write(tmp_path / "b", [0, 1]), "A", "B")
    assert result["cases"] == 2
    assert "Left out" in text


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    a = write(tmp_path / "a", [0, 1])
    with pytest.raises(InputError, match="class_names"):
        compare(a, write(tmp_path / "b", [0, 1], ["background", "gland"]), "A", "B")
    with pytest.raises(InputError, match="policy"):
        compare(a, write(tmp_path / "c", [0, 1], split="otherwise"), "A", "B")


@pytest.mark.parametrize("colours", [(), (3,)])
def test_pictures_of_three_cases(tmp_path: Path, colours: tuple[int, ...]) -> None:
    label = np.zeros((40, 30), np.uint8)
    label[5:20, 5:15] = 1
    for side, gains in (("a", [0, 0, 0, 0]), ("b", [3, -3, 1, 0])):
        write(tmp_path / side, gains)
        for number in range(4):
            maps = Maps(np.full((40, 30, *colours), 90, np.uint8), label, np.roll(label, 3), np.ones(2))
            maps.write(tmp_path / side / "pictures" / "maps", f"c{number}")
    compare(tmp_path / "a", tmp_path / "b", "MAE", "SD-MAE", write=tmp_path / "out", pictures=True)
    assert (tmp_path / "out" / "comparison.png").is_file()
    (tmp_path / "b" / "pictures" / "maps" / "c1.npz").unlink()
    with pytest.raises(InputError, match=r"c1\.npz is not there; evaluate with --keep_maps true"):
        compare(tmp_path / "a", tmp_path / "b", "MAE", "SD-MAE", write=tmp_path / "out", pictures=True)

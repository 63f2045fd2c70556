from pathlib import Path

import numpy as np
import pytest
from bundle_runtime.data.datalist import parse
from custom_components.errors import InputError
from hypothesis import given
from hypothesis import strategies as st
from mae_tools.demo_data.shapes import blend, ellipse, grid, need, noise, shuffled, soft, to_bytes, visits, write_lists


def test_the_grid_is_centred_and_in_the_unit_of_the_spacing() -> None:
    rows, columns = grid((3, 5), (2.0, 1.0))
    assert rows[:, 0].tolist() == [-2, 0, 2]
    assert columns[0].tolist() == [-2, -1, 0, 1, 2]


@pytest.mark.parametrize("shape", [(40, 60), (20, 24, 28)])
def test_noise_is_normalised_and_the_coarser_the_smoother(shape: tuple[int, ...]) -> None:
    fine, coarse = (noise(np.random.default_rng(0), shape, grain) for grain in (2, 10))
    for field in (fine, coarse):
        assert field.shape == shape
        assert (field.mean(), field.std()) == (pytest.approx(0, abs=1e-9), pytest.approx(1))
    assert np.abs(np.diff(coarse, axis=0)).mean() < 0.4 * np.abs(np.diff(fine, axis=0)).mean()


def test_an_ellipse_has_its_radii_and_turns() -> None:
    points = grid((81, 81))
    lying = ellipse(points, (5, 0), (10, 20)) > 0
    assert lying.sum() == pytest.approx(np.pi * 200, rel=0.03)
    rows, columns = np.nonzero(lying)
    assert (np.ptp(rows), np.ptp(columns), rows.mean()) == (pytest.approx(19, abs=1), pytest.approx(39, abs=1), 45)
    standing = ellipse(points, (5, 0), (10, 20), np.pi / 2) > 0
    assert np.ptp(np.nonzero(standing)[0]) > 1.8 * np.ptp(np.nonzero(standing)[1])
    cylinder = ellipse(grid((9, 9, 4)), (0, 0, 0), (3, 3, np.inf))
    assert np.array_equal(cylinder[..., 0], cylinder[..., -1])


def test_borders_are_soft_and_colours_are_blended_in_place() -> None:
    assert soft(np.array([-1.0, 0, 1]), 2).tolist() == [0, 0.5, 1]
    below = np.zeros((1, 2, 3))
    blend(below, np.array([[0.5, 1]]), np.array([10.0, 20, 30]))
    assert below.tolist() == [[[5, 10, 15], [10, 20, 30]]]
    assert to_bytes(np.array([-3, 1.6, 999])).tolist() == [0, 2, 255]


def test_too_little_is_refused() -> None:
    need(3, 3)
    with pytest.raises(InputError, match="size is 5, expected at least 6"):
        need(5, 6, "size")


@given(st.integers(0, 2**20), st.integers(15, 120))
def test_lists_hold_whole_patients_of_about_the_right_number(seed: int, count: int) -> None:
    made = visits(seed, count)
    assert len(set(made)) == len(made) == count
    assert visits(seed, count + 5)[:count] == made
    entries = [{"image": f"{p}_{v}.png", "label": 0, "patient_id": str(p)} for p, v in made]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mae_tools.demo_data.shapes.write", lambda path, datalist: None)
        lists = write_lists(Path("x"), entries, seed)
    parts = [lists[part] for part in ("training", "validation", "test")]
    owners = [{item["patient_id"] for item in part} for part in parts]
    assert [item for part in parts for item in part] == entries
    assert not owners[0] & owners[1] | owners[1] & owners[2]
    for part, share in zip(parts, (0.5, 0.2, 0.3), strict=True):
        assert len(part) > 0
        assert abs(len(part) - share * count) <= 3


def test_a_datalist_says_what_it_is(tmp_path: Path) -> None:
    entries = [{"image": f"{n}.nii.gz", "patient_id": str(n)} for n in range(3)]
    write_lists(tmp_path / "datalist.json", entries, 7, modality="CT")
    read = parse(tmp_path / "datalist.json")
    assert "seed 7" in read["description"]
    assert [len(read[part]) for part in ("training", "validation", "test")] == [1, 1, 1]


def test_each_round_shows_each_class_once() -> None:
    classes = [shuffled(3, index, 5) for index in range(50)]
    assert all(set(classes[start : start + 5]) == set(range(5)) for start in range(0, 50, 5))
    assert len({tuple(classes[start : start + 5]) for start in range(0, 50, 5)}) > 3

from pathlib import Path

import numpy as np
import pytest
from bundle_runtime.slides.grid import tissue_grid
from bundle_runtime.slides.slide import Slide
from custom_components.errors import InputError
from slide_files import pyramid, with_tissue


@pytest.fixture(scope="module")
def slide_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pyramid(tmp_path_factory.mktemp("grid") / "a.tif", with_tissue(512), mpp=4.0)


def test_tiles_lie_on_tissue(slide_file: Path) -> None:
    with Slide(slide_file) as slide:
        grid, _, _ = tissue_grid(slide, 4.0, 32)
    corners = sorted(grid.corner(number) for number in range(len(grid)))
    assert corners == [(float(row), float(column)) for row in range(128, 384, 32) for column in range(128, 384, 32)]
    assert grid.shape == (16, 16)
    assert (grid.tissue > 0.9).all()


def test_every_place_once_and_neighbours_together(slide_file: Path) -> None:
    with Slide(slide_file) as slide:
        grid, _, _ = tissue_grid(slide, 4.0, 32, stride=16, tissue_fraction=0)
    assert len({tuple(place) for place in grid.places.tolist()}) == len(grid) == 31 * 31
    assert np.abs(np.diff(grid.places[:64], axis=0)).max() < 8


@pytest.mark.parametrize(("whole_only", "expected"), [(True, 5), (False, 6)])
def test_the_border(slide_file: Path, whole_only: bool, expected: int) -> None:
    with Slide(slide_file) as slide:
        grid, _, _ = tissue_grid(slide, 4.0, 96, tissue_fraction=0, whole_only=whole_only)
    assert grid.shape == (expected, expected)


def test_a_coarser_resolution_makes_larger_tiles(slide_file: Path) -> None:
    with Slide(slide_file) as slide:
        grid, _, _ = tissue_grid(slide, 8.0, 32)
    assert (grid.side, grid.stride) == (64, 64)


def test_a_tile_larger_than_the_slide(slide_file: Path) -> None:
    with Slide(slide_file) as slide:
        assert len(tissue_grid(slide, 4.0, 1024, tissue_fraction=0)[0]) == 0
        assert len(tissue_grid(slide, 4.0, 1024, tissue_fraction=0, whole_only=False)[0]) == 1


@pytest.mark.parametrize("wrong", [{"tile_size": 0}, {"tile_size": 1.5}, {"stride": 0}, {"tissue_fraction": 1.5}])
def test_values_out_of_range(slide_file: Path, wrong: dict[str, float]) -> None:
    with Slide(slide_file) as slide, pytest.raises(InputError, match=next(iter(wrong))):
        tissue_grid(slide, 4.0, **{"tile_size": 32, **wrong})  # type: ignore[arg-type]

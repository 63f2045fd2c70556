"""Files of real scanners, where they are given; what is expected of them was read with other programs."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from bundle_runtime.data.inference import CaseLoader
from bundle_runtime.slides.find import find_slides
from bundle_runtime.slides.grid import tissue_grid
from bundle_runtime.slides.slide import Slide
from bundle_runtime.slides.stream import SlideInputs, SlideTiles
from custom_components.errors import InputError
from PIL import Image
from tifffile import TiffFile


class Expected(NamedTuple):
    sizes: list[tuple[int, int]]
    mpp: float | None
    tissue: tuple[float, float]  # share of the tiles, at least and at most


SLIDES = {
    "CMU-1-Small-Region.svs": Expected([(2967, 2220)], 0.499, (0.3, 0.9)),
    "tcga-cr-7395-01a-01-ts1.svs": Expected([(3567, 4443), (1783, 2221)], None, (0.5, 1.0)),
    # Fluorescence: no stain, so no tissue.
    "test3-TRITC 2 (560).ndpi": Expected([(4864 >> level, 3968 >> level) for level in range(7)], 0.22818, (0.0, 0.0)),
}


@pytest.mark.parametrize("name", SLIDES)
def test_levels_resolution_and_tissue(real_data: Path, name: str) -> None:
    expected = SLIDES[name]
    with Slide(real_data / "slides" / name, assume_mpp=0.5) as slide:
        assert [(level.height, level.width) for level in slide.levels] == expected.sizes  # no thumbnail, label or macro
        assert not slide.problems
        assert slide.stated_mpp == (None if expected.mpp is None else pytest.approx(expected.mpp, rel=1e-4))
        grid, _, overview = tissue_grid(slide, 1.0, 112)
        low, high = expected.tissue
        assert low <= len(grid) / np.prod(grid.shape) <= high
        if len(grid):
            row, column = grid.corner(len(grid) // 2)
            tile = slide.read_at(1.0, row, column, 112)
            assert 20 < tile.mean() < 240
            place = overview[int(row * len(overview) / slide.height), int(column * overview.shape[1] / slide.width)]
            assert np.abs(tile[:4, :4].mean((0, 1)) - place).max() < 90  # the same place of the overview


@pytest.mark.parametrize("name", [name for name in SLIDES if name.endswith(".svs")])
def test_a_region_is_what_another_program_decodes(real_data: Path, name: str) -> None:
    path = real_data / "slides" / name
    with TiffFile(path) as file, Slide(path) as slide:
        other = file.pages.first.asarray()[1000:1300, 800:1200].astype(int)
        ours = slide.read(slide.levels[0], 1000, 800, 300, 400)
    assert np.abs(ours - other).mean() < 2
    assert np.asarray(Image.fromarray(ours).convert("L")).std() > 10  # tissue, not glass


def test_a_slide_that_does_not_say_its_resolution(real_data: Path) -> None:
    with (
        Slide(real_data / "slides" / "tcga-cr-7395-01a-01-ts1.svs") as slide,
        pytest.raises(InputError, match=r"neither micrometres a pixel nor magnification; .*--assume_mpp"),
    ):
        slide.level_for(0.5)


def test_a_dicom_slide_without_an_image_type(real_data: Path) -> None:
    """The standard demands it: it says whether a file is a level, the label or a photograph."""
    with pytest.raises(InputError, match=r"small_dicom\.dcm: OpenSlide cannot read it \(.*image flavor\)"):
        Slide(real_data / "slides" / "small_dicom.dcm")


def test_a_folder_of_them(real_data: Path, tmp_path: Path) -> None:
    names = {entry.slide: entry.patient for entry in find_slides(real_data / "slides")}
    assert names["test3-TRITC 2 (560)"] == "test3-TRITC 2 (560)"
    assert names["tcga-cr-7395-01a-01-ts1"] == "TCGA-CR-7395"
    assert len(names) == 4
    inputs = SlideInputs(str(real_data / "slides"), str(tmp_path), tile_size=112, mpp=1.0, assume_mpp=0.5)
    assert [problem.case for problem in inputs.problems] == ["small_dicom"]
    tiles = {plan.entry.slide: len(plan.grid) for plan in inputs.plans}
    assert tiles.pop("test3-TRITC 2 (560)") == 0
    dataset = SlideTiles(inputs, 32)
    seen = [
        index
        for batch in CaseLoader(dataset, num_workers=2, batched=True)
        for index in batch["index"].tolist()
        if not batch["problem"]
    ]
    assert len(seen) == sum(tiles.values()) + 1  # one white tile for the slide without tissue
    with pytest.raises(InputError, match="1 of 4 slides could not be used"):
        inputs.finish()

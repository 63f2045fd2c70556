from pathlib import Path

import numpy as np
import pytest
from bundle_runtime.slides.annotations import Annotation
from bundle_runtime.slides.grid import tissue_grid
from bundle_runtime.slides.slide import Slide
from custom_components.errors import InputError
from mae_tools.demo_data.slide import make_slides


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    make_slides(folder, slides=1, size=1024)
    return folder


def test_a_pyramid_with_resolution(folder: Path) -> None:
    with Slide(folder / "synthetic_000.tif") as slide:
        assert [(level.height, level.downsample) for level in slide.levels] == [(1024, 1), (256, 4), (64, 16)]
        assert slide.mpp == pytest.approx(0.8)
        fine = slide.read(slide.levels[0], 0, 0, 1024, 1024)
        coarse = slide.read(slide.levels[1], 0, 0, 256, 256).astype(int)
    shrunk = fine.reshape(256, 4, 256, 4, 3).mean(axis=(1, 3))
    assert np.abs(coarse - shrunk).mean() < 4  # JPEG


def test_tissue_is_neither_all_nor_nothing_and_holds_the_foci(folder: Path) -> None:
    with Slide(folder / "synthetic_000.tif") as slide:
        grid, tissue, _ = tissue_grid(slide, 0.8, 64)
        annotation = Annotation(folder / "synthetic_000.geojson", slide)
        tumour = annotation.class_map(["rest", "tumour"], 1.0)
    assert 0.1 < tissue.mask.mean() < 0.8
    assert len(grid) > 20
    assert 0.005 < tumour.mean() < 0.2
    assert tissue.mask[tumour > 0].mean() > 0.9


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_slides(tmp_path / name, slides=1, size=512)
    assert (tmp_path / "a" / "synthetic_000.tif").read_bytes() == (tmp_path / "b" / "synthetic_000.tif").read_bytes()
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["synthetic_000.geojson", "synthetic_000.tif"]


def test_every_fourth_slide_is_healthy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[int, bool]] = []

    def without_painting(path: Path, seed: int, number: int, size: int, with_foci: bool) -> list[np.ndarray]:
        drawn.append((number, with_foci))
        return [np.array([[0.0, 0], [9, 0], [9, 9]])] if with_foci else []

    monkeypatch.setattr("mae_tools.demo_data.slide.draw_slide", without_painting)
    make_slides(tmp_path, slides=4, size=512)
    assert drawn == [(0, True), (1, True), (2, True), (3, False)]
    assert (tmp_path / "synthetic_003.geojson").read_text() == '{"type": "FeatureCollection", "features": []}\n'
    assert "tumour" in (tmp_path / "synthetic_002.geojson").read_text()


@pytest.mark.parametrize("wrong", [{"slides": 0}, {"size": 300}, {"size": 256}])
def test_values_out_of_range(tmp_path: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        make_slides(tmp_path, **wrong)

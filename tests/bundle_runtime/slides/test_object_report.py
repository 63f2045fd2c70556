import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import shapely
import torch
from bundle_runtime.slides import object_report
from bundle_runtime.slides.object_report import ObjectReport
from bundle_runtime.slides.stream import SlideInputs
from custom_components.errors import InputError
from rfc7946 import check_rfc7946
from skimage.draw import disk
from slide_files import damage, pyramid, with_tissue
from slide_runs import evaluate, rows

NAMES = ["background", "nucleus", "mitosis"]
PURPLE, DARK = (90, 40, 130), (20, 20, 60)
NUCLEI = [(150, 150), (192, 200), (224, 224), (255, 300), (330, 256), (372, 372)]  # some on borders of windows
RADIUS = 6


class Colours(torch.nn.Module):
    """Logits of three classes by the red of each pixel."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        red = 255 * image[:, :1]
        return torch.cat([red - 140, 20 - (red - 90).abs(), 30 - (red - 20).abs()], dim=1)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A slide with nuclei, of which the last is a mitosis, and one of glass."""
    folder, pixels = tmp_path_factory.mktemp("drawn"), with_tissue(512)
    for place in NUCLEI:
        pixels[disk(place, RADIUS)] = DARK if place == NUCLEI[-1] else PURPLE
    pyramid(folder / "cells.tif", pixels, mpp=2.0)
    pyramid(folder / "glass.tif", with_tissue(512, []), mpp=2.0)
    return folder


@pytest.fixture
def folder(drawn: Path, tmp_path: Path) -> Path:
    """The slides of `drawn`, for this test alone."""
    return shutil.copytree(drawn, tmp_path / "in")


@pytest.fixture(scope="module")
def found(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[SlideInputs, Path]:
    """What `run` gives."""
    return run(shutil.copytree(drawn, tmp_path_factory.mktemp("found") / "in"))


def run(folder: Path, classes: list[str] = NAMES, record: Any = None, **settings: Any) -> tuple[SlideInputs, Path]:
    out = folder.parent / "out"
    values: dict[str, Any] = {"tile_size": 64, "stride": 32, "mpp": 2.0, "tissue_fraction": 0.01, **settings}
    slides = SlideInputs(str(folder), str(out), **values)
    report = ObjectReport(slides, classes, out, split="components", min_size=4, record=record)
    evaluate(slides, Colours(), report)
    return slides, out


def test_every_nucleus_once_in_pixels_of_level_0(found: tuple[SlideInputs, Path]) -> None:
    slides, out = found
    slides.finish()  # nothing failed
    content = json.loads((out / "cells" / "objects.geojson").read_text())
    check_rfc7946(content)
    shapes = [shapely.geometry.shape(feature["geometry"]) for feature in content["features"]]
    assert all(shape.is_valid and shape.geom_type == "Polygon" for shape in shapes)
    centres = sorted((round(shape.centroid.y), round(shape.centroid.x)) for shape in shapes)
    assert np.abs(np.array(centres) - sorted(NUCLEI)).max() <= 1
    area = np.count_nonzero(disk((20, 20), RADIUS, shape=(40, 40))[0] >= 0)
    assert all(abs(shape.area / area - 1) < 0.1 for shape in shapes)  # outlines are straightened a little
    kinds = [feature["properties"]["classification"]["name"] for feature in content["features"]]
    assert sorted(kinds) == ["mitosis", *["nucleus"] * 5]
    assert {feature["properties"]["objectType"] for feature in content["features"]} == {"detection"}
    assert content["features"][0]["properties"]["measurements"]["Area µm^2"] == area * 4
    table = rows(out / "cells" / "objects.csv")
    assert [float(row["area_um2"]) for row in table] == [area * 4.0] * 6  # before they are straightened
    assert (out / "cells" / "overlay.png").read_bytes().startswith(b"\x89PNG")


def test_counts_and_densities(found: tuple[SlideInputs, Path]) -> None:
    _, out = found
    table = {row["slide"]: row for row in rows(out / "slides.csv")}
    assert (table["cells"]["nucleus_count"], table["cells"]["mitosis_count"]) == ("5", "1")
    tissue = float(table["cells"]["tissue_mm2"])
    assert tissue == pytest.approx(256**2 * 4e-6, rel=0.03)
    assert float(table["cells"]["nucleus_per_mm2"]) == pytest.approx(5 / tissue, rel=1e-3)
    assert (table["glass"]["nucleus_count"], table["glass"]["nucleus_per_mm2"]) == ("0", "")
    assert "no tissue" in table["glass"]["warning"]
    assert json.loads((out / "glass" / "objects.geojson").read_text())["features"] == []


def test_classes_that_were_not_learnt_are_not_counted(folder: Path) -> None:
    _, out = run(folder, record=SimpleNamespace(unlearnt={"mitosis": "it occurs in none of the labels"}))
    (row,) = [row for row in rows(out / "slides.csv") if row["slide"] == "cells"]
    assert row["nucleus_count"] == "5"
    assert [row[f"mitosis_{what}"] for what in ("count", "per_mm2", "area_um2")] == ["", "", ""]


def test_windows_between_two_levels_give_the_same(folder: Path) -> None:
    _, out = run(folder, mpp=4.0)
    shapes = json.loads((out / "cells" / "objects.geojson").read_text())["features"]
    centres = [shapely.geometry.shape(feature["geometry"]).centroid for feature in shapes]
    found = sorted((centre.y, centre.x) for centre in centres)
    assert len(found) == len(NUCLEI)
    assert np.abs(np.array(found) - sorted(NUCLEI)).max() < 2.5


def test_a_slide_that_fails_is_listed_and_another_network_is_refused(folder: Path) -> None:
    damage(folder / "cells.tif", 0, 27)
    slides, out = run(folder)
    with pytest.raises(InputError, match="1 of 2 slides could not be used"):
        slides.finish()
    assert [row["slide"] for row in rows(out / "slides.csv")] == ["glass"]
    with pytest.raises(InputError, match="split"):
        ObjectReport(slides, NAMES, out, split="nearest")


def test_a_slide_whose_objects_cannot_be_parted_costs_itself_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise ValueError("a ring of two points")

    monkeypatch.setattr(object_report, "objects_in", fail)
    slides, out = run(folder)
    with pytest.raises(InputError, match=r"1 of 2 slides could not be used: .*cells.tif.*a ring of two points"):
        slides.finish()
    assert [row["slide"] for row in rows(out / "slides.csv")] == ["glass"]
    assert capsys.readouterr().out.count("WARNING") == 2  # of cells, and of the glass


def test_other_classes_than_the_network_has_are_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="tells 3 classes and there are 2 class_names"):
        run(folder, NAMES[:2])

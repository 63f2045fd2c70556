import contextlib
import errno
import io
import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import tifffile
import torch
from bundle_runtime.slides import detect
from bundle_runtime.slides.detect import DetectionReport
from bundle_runtime.slides.geojson import polygon_feature, write_features
from bundle_runtime.slides.heatmap import HeatMap
from bundle_runtime.slides.stream import Plan, SlideInputs
from custom_components.errors import InputError
from rfc7946 import check_rfc7946
from slide_files import damage, pyramid, with_tissue
from slide_runs import evaluate, rows

NAMES = ["rest", "tumour"]
PURPLE = (90, 40, 130)
FOCUS = (192, 256)  # row and column of its corner; 96 pixels along each side


class Darkness(torch.nn.Module):
    """A classifier whose probability of tumour grows as the mean brightness falls."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        dark = 20 * (0.5 - image.mean(dim=(1, 2, 3)))
        return torch.stack([-dark, dark], dim=1)


def box(top: int, left: int, size: int = 96) -> np.ndarray:
    corners = [[left, top], [left + size, top], [left + size, top + size], [left, top + size]]
    return np.array(corners, float)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A slide with a focus, one without, one of glass."""
    folder, pixels = tmp_path_factory.mktemp("drawn"), with_tissue(512)
    pyramid(folder / "well.tif", pixels, mpp=4.0)
    pixels[192:288, 256:352] = PURPLE
    pyramid(folder / "ill.tif", pixels, mpp=4.0)
    pyramid(folder / "glass.tif", with_tissue(512, []), mpp=4.0)
    write_features(folder / "ill.geojson", [polygon_feature([box(*FOCUS)], "tumour", (1, 2, 3), {})])
    return folder


@pytest.fixture
def folder(drawn: Path, tmp_path: Path) -> Path:
    """The slides of `drawn`, for this test alone."""
    return shutil.copytree(drawn, tmp_path / "in")


class Found(NamedTuple):
    """What a run gave: its inputs, its folder, and what it printed."""

    slides: SlideInputs
    out: Path
    said: str


@pytest.fixture(scope="module")
def found(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Found:
    """A run with the settings of `run`."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        slides, out = run(shutil.copytree(drawn, tmp_path_factory.mktemp("found") / "in"))
    return Found(slides, out, printed.getvalue())


def run(
    folder: Path, annotations: bool = True, inputs: dict[str, Any] | None = None, **settings: Any
) -> tuple[Any, Path]:
    out = folder.parent / "out"
    values = {"tile_size": 32, "stride": 16, "mpp": 4.0, "annotations": str(folder) if annotations else None}
    slides = SlideInputs(str(folder), str(out), **{**values, **(inputs or {})})  # type: ignore[arg-type]
    report = DetectionReport(
        slides,
        NAMES,
        **{"target": "tumour", "task": "multi_class", "output_dir": out, "nms_distance": 400.0, **settings},
    )
    evaluate(slides, Darkness(), report)
    return slides, out


def test_a_focus_is_found_where_it_is(found: Found) -> None:
    found.slides.finish()  # nothing failed
    out = found.out
    content = json.loads((out / "ill" / "detections.geojson").read_text())
    check_rfc7946(content)
    (polygon,) = [feature for feature in content["features"] if feature["geometry"]["type"] == "Polygon"]
    ring = np.array(polygon["geometry"]["coordinates"][0])
    assert np.abs(ring.min(axis=0) - (256, 192)).max() <= 16  # x, y; to a stride
    assert np.abs(ring.max(axis=0) - (352, 288)).max() <= 16
    assert polygon["properties"]["classification"]["name"] == "tumour"
    assert polygon["properties"]["measurements"]["Max probability"] > 0.9
    (point,) = [feature for feature in content["features"] if feature["geometry"]["type"] == "Point"]
    x, y = point["geometry"]["coordinates"]
    assert 256 <= x <= 352
    assert 192 <= y <= 288
    table = rows(out / "ill" / "detections.csv")
    assert [row["kind"] for row in table] == ["region", "point"]
    assert "tiles/s" in found.said


def test_maps_and_tables(found: Found) -> None:
    out = found.out
    with tifffile.TiffFile(out / "ill" / "probability.tif") as file:
        heat, about = file.asarray(), json.loads(file.pages[0].description)
    assert about["cell_in_level_0_pixels"] == 16
    assert heat.shape == (31, 31)
    row, column = np.unravel_index(np.nanargmax(heat), heat.shape)
    assert 192 <= about["top_left_in_level_0_pixels"][0] + 16 * (row + 0.5) <= 288
    assert 256 <= about["top_left_in_level_0_pixels"][1] + 16 * (column + 0.5) <= 352
    assert np.isnan(heat[0, 0])
    classes = tifffile.imread(out / "ill" / "classes.tif")
    assert set(np.unique(classes)) == {0, 1, 255}
    assert np.array_equal(classes == 255, np.isnan(heat))
    assert np.array_equal(classes == 1, np.nan_to_num(heat) > 0.5)
    assert (out / "ill" / "overlay.png").read_bytes().startswith(b"\x89PNG")
    table = {row["slide"]: row for row in rows(out / "slides.csv")}
    counts = [table["ill"][key] for key in ("points", "regions", "lesions", "found", "false")]
    assert counts == ["1", "1", "1", "1", "0"]
    assert table["well"]["points"] == "0"
    assert float(table["well"]["highest"]) < 0.5


def test_a_slide_of_glass_has_a_valid_empty_result(found: Found) -> None:
    out = found.out
    assert json.loads((out / "glass" / "detections.geojson").read_text()) == {
        "type": "FeatureCollection",
        "features": [],
    }
    assert rows(out / "glass" / "detections.csv") == []
    assert np.isnan(tifffile.imread(out / "glass" / "probability.tif")).all()
    assert {row["slide"]: row["tiles"] for row in rows(out / "slides.csv")}["glass"] == "0"


def test_froc(found: Found, folder: Path) -> None:
    note = "Note: The score counts only on slides of patients that the model has neither been trained nor"
    assert note in found.said
    assert "Note: Only one patient: no interval can be given." in found.said
    content = json.loads((found.out / "froc.json").read_text())
    assert (content["score"], content["lesions"], content["slides"]) == (1.0, 1, 1)
    assert content["header"]["settings"]["grow_distance_um"] == 75
    assert (found.out / "froc.png").exists()
    _, out = run(folder, unannotated="background")
    assert json.loads((out / "froc.json").read_text())["slides"] == 3


def test_no_annotations_no_froc(folder: Path) -> None:
    _, out = run(folder, annotations=False)
    assert not (out / "froc.json").exists()
    assert rows(out / "slides.csv")[1]["lesions"] == ""


def test_annotations_without_a_lesion_that_counts(folder: Path, capsys: pytest.CaptureFixture) -> None:
    _, out = run(folder, itc_diameter=2000.0)
    content = json.loads((out / "froc.json").read_text())
    assert (content["score"], content["excluded_lesions"]) == (None, 1)
    assert "no lesion of the target that counts" in capsys.readouterr().out
    assert not (out / "froc.png").exists()


def test_a_slide_that_breaks_off_is_left_out_and_the_others_are_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bundle_runtime.slides.grid.OVERVIEW", 128)  # from the coarse level, which is whole
    damage(folder / "ill.tif", 0, 3 * 8 + 3)
    slides, out = run(folder)
    assert [plan.entry.slide for plan in slides.plans] == ["glass", "ill", "well"]
    assert not (out / "ill" / "detections.geojson").exists()
    assert {row["slide"] for row in rows(out / "slides.csv")} == {"well", "glass"}
    with pytest.raises(InputError, match=r"1 of 3 slides could not be used: .*ill\.tif: level 0 is damaged"):
        slides.finish()


@pytest.mark.parametrize("place", ["network", "writer", "nan", "beginning"])
def test_a_slide_that_fails_on_the_way_is_left_out_and_the_others_are_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    forward, write = Darkness.forward, detect.write_atomically

    def too_much(self: Darkness, image: torch.Tensor) -> torch.Tensor:
        if image.mean(dim=(1, 2, 3)).min() < 0.4:  # the focus of "ill"
            if place == "nan":
                return forward(self, image * torch.nan)
            raise MemoryError
        return forward(self, image)

    def begin(self: DetectionReport, plan: Plan) -> HeatMap:
        if plan.entry.slide == "ill":
            raise MemoryError
        return HeatMap(plan.grid, 1, plan.mpp)

    def full(path: Path, content: bytes) -> Path:
        if path.parts[-2:] == ("ill", "classes.tif"):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return write(path, content)

    if place in ("network", "nan"):
        monkeypatch.setattr(Darkness, "forward", too_much)
    elif place == "beginning":
        monkeypatch.setattr(DetectionReport, "begin_slide", begin)
    else:
        monkeypatch.setattr(detect, "write_atomically", full)
    slides, out = run(folder)
    assert {row["slide"] for row in rows(out / "slides.csv")} == {"well", "glass"}
    said = {
        "nan": "the network's output is not finite",
        "writer": r".*classes\.tif cannot be used \(No space left on device\)",
    }.get(place, "Memory ran out")
    with pytest.raises(InputError, match=rf"1 of 3 slides could not be used: .*ill\.tif: {said}"):
        slides.finish()
    (listed,) = json.loads((out / "failures.json").read_text())
    assert Path(listed["file"]).name == "ill.tif"


def test_slides_csv_says_what_speaks_against_a_result(found: Found) -> None:
    warnings = {row["slide"]: row["warning"] for row in rows(found.out / "slides.csv")}
    assert warnings == {"ill": "", "well": "", "glass": "no tissue was found; its result is empty"}


def test_small_regions_and_their_points_are_dropped(folder: Path) -> None:
    _, out = run(folder, min_area=1e7)
    assert json.loads((out / "ill" / "detections.geojson").read_text())["features"] == []


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"target": ["TUM"]}, "target 'TUM' is not a class"),
        ({"task": "segmentation"}, "task is"),
        ({"threshold": 1.5}, "threshold is 1.5"),
        ({"nms_distance": -1}, "nms_distance is -1"),
        ({"unannotated": "ignore"}, "unannotated is 'ignore'"),
    ],
)
def test_settings_out_of_range(folder: Path, wrong: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        run(folder, **wrong)


def test_a_network_of_other_classes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Darkness, "forward", lambda self, image: torch.zeros(len(image), 5))
    with pytest.raises(InputError, match=r"gives \[5\] numbers a tile and there are 2 class_names"):
        run(folder)


def test_an_error_of_one_slide_behind_the_first_ends_no_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take = DetectionReport.take

    def odd(self: DetectionReport, engine: Any, plan: Plan, held: HeatMap, tiles: np.ndarray) -> None:
        if plan.entry.slide == "well":
            raise TypeError("a number is none")
        take(self, engine, plan, held, tiles)

    monkeypatch.setattr(DetectionReport, "take", odd)
    slides, out = run(folder)
    assert {row["slide"] for row in rows(out / "slides.csv")} == {"glass", "ill"}
    with pytest.raises(InputError, match=r"1 of 3 slides could not be used: .*well\.tif: TypeError: a number is none"):
        slides.finish()

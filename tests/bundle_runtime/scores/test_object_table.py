"""Objects and counts as tables, and the outlines."""

import csv
from pathlib import Path

import pytest
import torch
from bundle_runtime.figures.outlines import OutlinePictures
from bundle_runtime.scores.object_table import ObjectTable
from custom_components.errors import InputError
from ignite.engine import Engine

NAMES = ["background", "nucleus", "gland"]


def run(handler: object, items: list[tuple[dict, dict]]) -> None:
    def step(engine: Engine, pair: tuple[dict, dict]) -> list[dict]:
        engine.state.batch = [pair[0]]
        return [pair[1]]

    engine = Engine(step)
    handler.attach(engine)
    engine.run(items)


def item(case: str) -> tuple[dict, dict]:
    classes, objects = torch.zeros(1, 10, 20), torch.zeros(1, 10, 20, dtype=torch.int32)
    classes[:, 2:6, 2:6], objects[:, 2:6, 2:6] = 1, 1
    classes[:, 2:4, 10:20], objects[:, 2:4, 10:20] = 2, 3
    image = torch.zeros(3, 10, 20, dtype=torch.uint8)
    return {"case": case, "patient_id": "p", "image": image}, {"pred": classes, "pred_instances": objects}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as stream:
        return list(csv.DictReader(stream))


def test_each_object_has_a_line_with_its_place_and_area(tmp_path: Path) -> None:
    run(ObjectTable(NAMES, tmp_path, microns_per_pixel=0.5), [item("b"), item("a")])
    first, second = rows(tmp_path / "objects.csv")[:2]
    assert first == {
        "case": "b", "object": "1", "class": "nucleus", "row": "3.5", "column": "3.5", "area_px": "16",
        "area_um2": "4.00",
    }  # fmt: skip
    assert (second["object"], second["class"], second["area_px"]) == ("3", "gland", "20")
    counts = rows(tmp_path / "counts.csv")
    assert [line["case"] for line in counts] == ["a", "b"]
    assert (counts[0]["nucleus_count"], counts[0]["gland_area_px"], counts[0]["gland_area_um2"]) == ("1", "20", "5.00")


def test_a_picture_without_objects_has_a_line_of_zeros(tmp_path: Path) -> None:
    batch, output = item("a")
    batch |= {"warning": "is grey", "file": "a.png"}
    run(ObjectTable(NAMES, tmp_path), [(batch, {key: value * 0 for key, value in output.items()})])
    assert rows(tmp_path / "objects.csv") == []
    assert rows(tmp_path / "counts.csv")[0] == {
        "case": "a", "patient_id": "p", "nucleus_count": "0", "gland_count": "0", "nucleus_area_px": "0",
        "gland_area_px": "0", "file": "a.png", "warning": "is grey",
    }  # fmt: skip


def test_areas_alone_and_no_table_of_an_earlier_run(tmp_path: Path) -> None:
    (tmp_path / "objects.csv").write_text("old")
    run(ObjectTable(NAMES, tmp_path, objects=False), [item("a")])
    assert not (tmp_path / "objects.csv").exists()
    assert rows(tmp_path / "counts.csv")[0]["nucleus_area_px"] == "16"


def test_a_pixel_has_a_size_above_0(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="microns_per_pixel is 0"):
        ObjectTable(NAMES, tmp_path, microns_per_pixel=0)


def test_outlines_are_drawn_for_the_first_pictures(tmp_path: Path) -> None:
    labelled = item("c")
    labelled[0]["label"] = labelled[1]["pred"].to(torch.uint8)
    run(OutlinePictures(tmp_path, NAMES, cases=2, epochs=False), [labelled, item("a"), item("b")])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "c.png"]

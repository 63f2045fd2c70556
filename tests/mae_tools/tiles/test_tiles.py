import csv
import inspect
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundle_runtime.data.datalist import parse
from bundle_runtime.slides.geojson import polygon_feature, write_features
from custom_components.errors import InputError
from mae_tools.tiles.tiles import tiles
from PIL import Image
from slide_files import damage, pyramid, with_tissue


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(3):
        pyramid(tmp_path / "in" / f"p{number}_a.tif", with_tissue(512, [(128, 128, 256, 64 * (number + 2))]), mpp=4.0)
    return tmp_path / "in"


def cut(folder: Path, **settings: Any) -> dict[str, Any]:
    values = {"mpp": 4.0, "tile_size": 64, "val_fraction": 0.34, "test_fraction": 0.33, **settings}
    return tiles(str(folder), str(folder.parent / "out"), **values)


def index(folder: Path) -> list[dict[str, str]]:
    with (folder.parent / "out" / "index.csv").open() as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("num_workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_tiles_index_and_datalist(folder: Path, num_workers: int, capsys: pytest.CaptureFixture) -> None:
    out = folder.parent / "out"
    datalist = cut(folder, patient_pattern=r"^(p\d)_", num_workers=num_workers)
    rows = index(folder)
    assert [row["slide"] for row in rows] == ["p0_a"] * 8 + ["p1_a"] * 12 + ["p2_a"] * 16
    for row in rows:
        number = int(row["slide"][1])
        place = int(row["row"]), int(row["column"])
        expected = with_tissue(512, [(128, 128, 256, 64 * (number + 2))])
        pixels = np.asarray(Image.open(out / row["file"]))
        assert np.array_equal(pixels, expected[place[0] : place[0] + 64, place[1] : place[1] + 64])
        assert row["patient_id"] == f"p{number}"
        assert float(row["tissue_fraction"]) > 0.5
    assert parse(out / "datalist.json") == datalist
    assert {len({item["patient_id"] for item in datalist[name]}) for name in ("training", "validation", "test")} == {1}
    assert "36 tiles of 3 slide(s)" in capsys.readouterr().out
    for number in range(3):
        with Image.open(out / "pictures" / f"p{number}_a.jpg") as picture:
            shown = np.asarray(picture)
        assert shown.shape == (512, 512, 3)
        assert shown[10:100, 10:100].mean() < 150 < shown[140:180, 140:180].mean()  # glass is darkened, tissue is not
        assert shown[128, 140:180].mean() < 100  # the frame of a tile


def test_lists_are_dealt_by_tiles_and_lopsided_ones_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    from mae_tools.tiles import lists as command

    for number in range(3, 8):
        pyramid(folder / f"p{number}_a.tif", with_tissue(512, [(128, 128, 64, 64)]), mpp=4.0)
    for seed in range(4):  # 8, 12, 16 and five times 1 tile
        datalist = cut(folder, val_fraction=0.2, test_fraction=0.2, seed=seed)
        sizes = [len(datalist[part]) for part in ("training", "validation", "test")]
        assert sizes[0] >= 16
        assert min(sizes[1:]) >= 3
        assert max(sizes[1:]) <= 12
    shares = {"val_fraction": 0.15, "test_fraction": 0.15}
    lists = lambda items, *_: {"training": items[:8], "validation": [], "test": items[8:]}  # noqa: E731
    monkeypatch.setattr(command, "split_by_size", lists)
    with pytest.raises(InputError, match=r"lopsided: training 8 tiles of 1 patient\(s\), .*--allow_lopsided true"):
        cut(folder, **shares)
    assert len(cut(folder, **shares, allow_lopsided=True)["training"]) == 8
    capsys.readouterr()
    lists = lambda items, *_: {"training": items[:-1], "validation": [], "test": items[-1:]}  # noqa: E731
    monkeypatch.setattr(command, "split_by_size", lists)
    cut(folder, val_fraction=0, test_fraction=0.2)
    assert "WARNING: test hold(s) far fewer tiles than asked for: training 40" in capsys.readouterr().out


def test_a_stopped_run_goes_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Finished slides are not opened again, unfinished ones keep their tiles, and the result is the same."""
    from mae_tools.tiles import cutting

    out, save = folder.parent / "out", cutting._save
    count = 0

    def stop_after_ten(*given: Any) -> None:
        nonlocal count
        count += 1
        if count > 10:
            raise KeyboardInterrupt
        save(*given)

    monkeypatch.setattr(cutting, "_save", stop_after_ten)
    with pytest.raises(KeyboardInterrupt):
        cut(folder)
    assert [path.name for path in (out / "tiles").iterdir() if not path.name.startswith(".")] == ["p0_a"]
    saved: list[str] = []
    monkeypatch.setattr(cutting, "_save", lambda path, *rest: (saved.append(path.name), save(path, *rest)))
    cut(folder)
    assert len(saved) == 36 - 10
    assert len(index(folder)) == 36
    assert not list((out / "tiles").glob(".*"))
    assert all((out / row["file"]).exists() for row in index(folder))
    saved.clear()
    cut(folder)
    assert saved == []


def test_a_slide_that_changed_is_cut_again(folder: Path) -> None:
    cut(folder)
    pyramid(folder / "p0_a.tif", with_tissue(512, [(128, 128, 64, 64)]), mpp=4.0)
    cut(folder)
    assert [row["slide"] for row in index(folder)].count("p0_a") == 1


def test_tiles_of_other_settings_are_not_mixed(folder: Path) -> None:
    cut(folder)
    with pytest.raises(InputError, match=r"cut with tile_size 64, now it is 32; give another folder"):
        cut(folder, tile_size=32)


def test_a_resolution_may_be_assumed_later_but_not_changed(folder: Path) -> None:
    """Tiles of slides that say their resolution do not depend on what is assumed of the others."""
    pyramid(folder / "nameless.tif", with_tissue(512), mpp=None)
    with pytest.raises(InputError, match=r"1 of 4 slides could not be used: .*--assume_mpp"):
        cut(folder)
    cut(folder, assume_mpp=4.0)
    assert {row["slide"] for row in index(folder)} == {"p0_a", "p1_a", "p2_a", "nameless"}
    for other in (2.0, None):
        with pytest.raises(
            InputError, match=f"cut with assume_mpp 4.0, now it is {other}; give another folder with --"
        ):
            cut(folder, assume_mpp=other)


def test_the_datalist_says_the_resolution(folder: Path) -> None:
    cut(folder)
    assert parse(folder.parent / "out" / "datalist.json")["mpp"] == 4.0


def test_overlap_and_jpeg(folder: Path) -> None:
    cut(folder, overlap=32, format="jpg")
    places = {(int(row["row"]), int(row["column"])) for row in index(folder) if row["slide"] == "p2_a"}
    assert (160, 160) in places
    assert len(places) > 16
    first = folder.parent / "out" / index(folder)[0]["file"]
    assert Image.open(first).format == "JPEG"


def annotate(folder: Path, slide: str, left: int, right: int, name: str = "tumour") -> None:
    ring = np.array([[left, 128], [right, 128], [right, 384], [left, 384]], float)
    write_features(folder / f"{slide}.geojson", [polygon_feature([ring], name, (1, 2, 3), {})])


def test_labels_from_annotations(folder: Path) -> None:
    """A column of tiles is all tumour, the next a quarter: neither class; without a mark: background."""
    for number in range(3):
        annotate(folder, f"p{number}_a", 128, 192 + 16)
    datalist = cut(folder, annotations=str(folder))
    assert datalist["class_names"] == ["background", "tumour"]
    found = {int(row["column"]): row["label"] for row in index(folder)}
    assert found == {128: "1", 192: "", 256: "0", 320: "0"}
    listed = [item["label"] for name in ("training", "validation", "test") for item in datalist[name]]
    assert (listed.count(1), listed.count(0)) == (12, 12)


def test_a_slide_with_the_longest_name_that_a_file_can_have(folder: Path) -> None:
    slide = "ü" * 125 + "x"
    (folder / "p0_a.tif").rename(folder / f"{slide}.tif")
    annotate(folder, "p1_a", 128, 192)
    made = cut(folder, annotations=str(folder), unannotated="background")
    rows = [row for row in index(folder) if row["slide"] == slide]
    listed = [
        folder.parent / "out" / item["image"] for part in ("training", "validation", "test") for item in made[part]
    ]
    assert len(rows) == 8
    assert {folder.parent / "out" / row["file"] for row in rows} <= set(listed)
    before = [file.stat().st_mtime_ns for file in listed]
    cut(folder, annotations=str(folder), unannotated="background")
    assert [file.stat().st_mtime_ns for file in listed] == before, "what is cut is found again"


def test_a_changed_annotation_changes_the_labels(folder: Path) -> None:
    for number in range(3):
        annotate(folder, f"p{number}_a", 128, 192)
    cut(folder, annotations=str(folder))
    annotate(folder, "p0_a", 192, 256)
    cut(folder, annotations=str(folder))
    assert {int(row["column"]): row["label"] for row in index(folder) if row["slide"] == "p0_a"} == {128: "0", 192: "1"}


def test_slides_without_annotation(folder: Path) -> None:
    annotate(folder, "p0_a", 128, 192)
    with pytest.raises(InputError, match=r"no annotation .* for p1_a, p2_a"):
        cut(folder, annotations=str(folder))
    datalist = cut(folder, annotations=str(folder), unannotated="background")
    assert {row["label"] for row in index(folder) if row["slide"] == "p1_a"} == {"0"}
    assert datalist["task"] == "multi_class"


def test_sections_from_a_table(folder: Path, capsys: pytest.CaptureFixture) -> None:
    table = folder.parent / "t.csv"
    table.write_text("slide,section\np0_a,test\np1_a,training\np2_a,training\n")
    datalist = cut(folder, sections=str(table))
    assert {item["patient_id"] for item in datalist["test"]} == {"p0_a"}
    assert datalist["validation"] == []
    assert "WARNING" not in capsys.readouterr().out
    table.write_text("slide,section\np0_a,training\np1_a,test\np2_a,test\n")
    assert len(cut(folder, sections=str(table), val_fraction=0.15, test_fraction=0.15)["test"]) == 28
    assert "lopsided: training 8 tiles of 1 patient(s), validation 0" in capsys.readouterr().out
    table.write_text("slide,section\np0_a,test\np0_a,training\n")
    with pytest.raises(InputError, match="slide p0_a has the section test in line 2 and training in line 3"):
        cut(folder, sections=str(table))


def test_what_fails_is_listed_and_the_rest_is_cut(folder: Path, capsys: pytest.CaptureFixture) -> None:
    pyramid(folder / "nameless.tif", with_tissue(512), mpp=None)
    pyramid(folder / "glass.tif", with_tissue(512, []), mpp=4.0)
    (folder / "short.tif").write_bytes((folder / "p0_a.tif").read_bytes()[:300])
    damage(folder / "p1_a.tif", 0, 2 * 8 + 3)
    with pytest.raises(InputError, match=r"3 of 6 slides could not be used: .*nameless\.tif.*assume_mpp"):
        cut(folder)
    failed = json.loads((folder.parent / "out" / "failures.json").read_text())
    assert [os.path.basename(row["file"]) for row in failed] == ["nameless.tif", "p1_a.tif", "short.tif"]
    assert {row["slide"] for row in index(folder)} == {"p0_a", "p2_a"}
    assert "glass.tif: no tile has enough tissue" in capsys.readouterr().out
    for name in ("nameless.tif", "short.tif", "p1_a.tif"):
        (folder / name).unlink()
    cut(folder)
    assert not (folder.parent / "out" / "failures.json").exists()


def test_an_error_that_nobody_foresaw_costs_its_slide_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mae_tools.tiles import cutting

    def save(path: Path, *rest: Any) -> None:
        raise MemoryError("p1") if path.name.startswith("p1_a") else OSError(5, "Input/output error", str(path))

    monkeypatch.setattr(cutting, "_save", lambda path, *rest: save(path) if "p2" not in path.name else path.touch())
    with pytest.raises(InputError, match=r"2 of 3 slides could not be used: .*Input/output error.*; Memory ran out"):
        cut(folder)
    assert {row["slide"] for row in index(folder)} == {"p2_a"}


def test_nothing_but_glass_is_an_empty_index(tmp_path: Path) -> None:
    pyramid(tmp_path / "in" / "glass.tif", with_tissue(512, []), mpp=4.0)
    datalist = cut(tmp_path / "in")
    assert index(tmp_path / "in") == []
    assert datalist["training"] == []


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"mpp": None}, "either --magnification"),
        ({"format": "gif"}, "format is 'gif'"),
        ({"overlap": 64}, "overlap 64"),
        ({"annotated_fraction": 0.0, "tile_size": 64}, "annotated_fraction"),
        ({"class_names": ["a", "b"]}, "class_names were given without annotations"),
        ({"val_fraction": 1.0}, "val_fraction"),
        ({"unannotated": "skip"}, "unannotated is 'skip'"),
    ],
)
def test_settings_that_are_wrong(folder: Path, wrong: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        cut(folder, **wrong)


def test_slides_may_be_excluded(folder: Path, capsys: pytest.CaptureFixture) -> None:
    cut(folder, exclude="p1*,none*", allow_lopsided=True)
    assert {row["slide"] for row in index(folder)} == {"p0_a", "p2_a"}
    assert f"exclude: no file or folder of {folder} fits none*." in capsys.readouterr().out


def test_lists_are_those_of_an_earlier_datalist(folder: Path, capsys: pytest.CaptureFixture) -> None:
    """Of the patients, as tiles of another resolution are others; one that it does not name trains."""
    parts = {"training": ["p2"], "validation": [], "test": ["p0"]}
    earlier = {
        part: [{"image": f"x/{name}.png", "patient_id": name} for name in names] for part, names in parts.items()
    }
    (folder.parent / "earlier.json").write_text(json.dumps(earlier))
    settings = {"patient_pattern": r"^(p\d)_", "split_from": str(folder.parent / "earlier.json")}
    datalist = cut(folder, **settings)
    owners = {part: {item["patient_id"] for item in datalist[part]} for part in parts}
    assert owners == {"training": {"p1", "p2"}, "validation": set(), "test": {"p0"}}
    said = capsys.readouterr().out
    assert "24 of 36 images come into the lists where" in said
    assert "lopsided" not in said
    assert parse(folder.parent / "out" / "datalist.json") == datalist
    with pytest.raises(InputError, match="split_from would be overwritten"):
        cut(folder, split_from=str(folder.parent / "out" / "datalist.json"))
    with pytest.raises(InputError, match="split_from and sections are both given"):
        cut(folder, **settings, sections="t.csv")


def test_equal_tiles_are_found(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """A slide that is there twice under two names."""
    for name in ("p0", "p1", "p2"):
        pixels = with_tissue(512, [(128, 128, 256, 192 if name == "p2" else 128)])
        pyramid(tmp_path / "in" / f"{name}.tif", pixels, mpp=4.0)
    plain = cut(tmp_path / "in", allow_lopsided=True)
    sizes = {part: len(plain[part]) for part in ("training", "validation", "test")}
    with pytest.raises(InputError, match="images are there under several names"):
        cut(tmp_path / "in", copies="refuse", allow_lopsided=True)
    together = cut(tmp_path / "in", copies="together", allow_lopsided=True)
    lists = [part for part in sizes if {"p0", "p1"} & {item["patient_id"] for item in together[part]}]
    assert len(lists) == 1
    assert "Copies: " in capsys.readouterr().out
    dropped = cut(tmp_path / "in", copies="drop", allow_lopsided=True)
    assert sum(len(dropped[part]) for part in sizes) < sum(sizes.values())


def test_the_command_has_the_settings_of_tiles_and_of_every_source() -> None:
    offered, text = inspect.signature(tiles).parameters, tiles.__doc__ or ""
    for name in ("tile_size", "unannotated", "exclude", "split_from", "sections", "copies", "seed", "allow_lopsided"):
        assert f"\n    {name}: " in text
        assert name in offered
    assert offered["tile_size"].default == 224
    assert "settings" not in offered
    assert [name for name in offered if f"\n    {name}: " not in text] == []
    with pytest.raises(TypeError, match="tile_sizes"):
        tiles("in", "out", mpp=1.0, tile_sizes=3)

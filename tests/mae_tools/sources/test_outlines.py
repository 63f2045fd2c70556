import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from bundle_runtime.slides.geojson import pieces, polygon_feature, rings_of, write_features
from custom_components.errors import InputError
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays
from mae_tools.sources.outlines import Outline, draw, read_sheets
from mae_tools.sources.tiles_masks import tiles_masks
from PIL import Image

SQUARE = [[4, 6], [12, 6], [12, 14], [4, 14]]  # x and y; not closed
HOLE = [[6, 8], [6, 10], [9, 10], [9, 8], [6, 8]]
TRIANGLE = [[20, 20], [30, 20], [30, 29]]


def mask_of(made: dict[str, Any], root: Path, image: str) -> np.ndarray:
    items = [item for part in ("training", "validation", "test") for item in made[part]]
    (label,) = [item["label"] for item in items if item["image"] == image]
    return np.asarray(Image.open(root / label))


def pictures(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(root / name)
    return root


def feature(kind: str, coordinates: Any, name: str | None = "nucleus") -> dict[str, Any]:
    properties = {} if name is None else {"classification": {"name": name}}
    return {"type": "Feature", "geometry": {"type": kind, "coordinates": coordinates}, "properties": properties}


def geojson(path: Path, *features: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"type": "FeatureCollection", "features": list(features)}))


def coco(path: Path, annotations: list[dict[str, Any]], **image: Any) -> None:
    content = {
        "images": [
            {"id": 7, "file_name": "images/a.png", "height": 30, "width": 40, **image},
            {"id": 8, "file_name": "b.png"},
        ],
        "categories": [{"id": 3, "name": "gland"}, {"id": 5, "name": "nucleus"}],
        "annotations": [{"id": n, "image_id": 7, "category_id": 5, **entry} for n, entry in enumerate(annotations)],
    }
    path.write_text(json.dumps(content))


def labelme(path: Path, *shapes: dict[str, Any], **head: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"shapes": list(shapes), "imagePath": f"{path.stem}.png", **head}))


SQUARE_MASK = np.zeros((30, 40), bool)
SQUARE_MASK[6:14, 4:12] = True
HOLED = SQUARE_MASK.copy()
HOLED[8:10, 6:9] = False


def test_qupath_holes_and_several_parts(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    pictures(tmp_path, "images/a.png", "images/b.png")
    geojson(
        tmp_path / "qupath" / "a.geojson",
        {**feature("Polygon", [[*SQUARE, SQUARE[0]], HOLE]), "nucleusGeometry": {"type": "Polygon"}},
        feature("MultiPolygon", [[[[20, 2], [22, 2], [22, 4], [20, 4]]], [[[30, 2], [32, 2], [32, 4], [30, 4]]]]),
        feature("Point", [1, 1]),
    )
    geojson(tmp_path / "qupath" / "b.geojson")
    made = tiles_masks(tmp_path, outlines="qupath")
    assert (made["class_names"], made["mask_kind"]) == (["background", "nucleus"], "instance")
    assert "1 cell(s) of QuPath are drawn by the outline of the cell" in capsys.readouterr().out
    mask = mask_of(made, tmp_path, "images/a.png")
    assert np.array_equal(mask == 1, HOLED)
    assert np.argwhere(mask == 2).tolist() == [[r, c] for r in (2, 3) for c in (20, 21, 30, 31)]
    assert mask.max() == 2
    assert not mask_of(made, tmp_path, "images/b.png").any()
    assert tiles_masks(tmp_path, outlines="qupath") == made  # the drawn masks are no pictures


def test_coco_with_classes(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    pictures(tmp_path, "images/a.png", "images/b.png")
    flat = [[value for point in SQUARE for value in point]]
    coco(
        tmp_path / "coco.json",
        [
            {"segmentation": flat},
            {"segmentation": [[0, 0, 40, 0, 40, 30, 0, 30]], "category_id": 3},
            {"segmentation": [[1, 1, 2, 2]]},
        ],
    )
    made = tiles_masks(tmp_path, outlines="coco.json")
    assert (made["class_names"], made["mask_kind"]) == (["background", "gland", "nucleus"], "classes")
    mask = mask_of(made, tmp_path, "images/a.png")
    assert np.array_equal(mask, np.where(SQUARE_MASK, 2, 1))  # the smaller one lies over the larger one
    assert not mask_of(made, tmp_path, "images/b.png").any()
    assert "1 outline(s) have no area" in capsys.readouterr().out


def test_labelme_beside_its_pictures(tmp_path: Path) -> None:
    pictures(tmp_path, "train/a.png", "train/b.png", "test/a.png")
    labelme(
        tmp_path / "train" / "a.json",
        {"label": "cell", "points": SQUARE, "shape_type": "polygon", "group_id": None},
        {"label": "cell", "points": [[22, 24], [20, 20]], "shape_type": "rectangle", "group_id": 4},
        {"label": "cell", "points": [[30, 20], [32, 24]], "shape_type": "rectangle", "group_id": 4},
        imageHeight=30,
        imageWidth=40,
    )
    labelme(tmp_path / "train" / "b.json", {"label": "cell", "points": [[20, 15], [20, 19]], "shape_type": "circle"})
    labelme(tmp_path / "test" / "a.json")
    made = tiles_masks(tmp_path, outlines=".", val_fraction=0)
    assert [len(made[part]) for part in ("training", "validation", "test")] == [2, 0, 1]
    assert made["class_names"] == ["background", "cell"]
    mask = mask_of(made, tmp_path, "train/a.png")
    assert np.array_equal(mask == 1, SQUARE_MASK)
    assert np.count_nonzero(mask == 2) == 16  # both parts of the group
    assert np.count_nonzero(mask_of(made, tmp_path, "train/b.png")) == pytest.approx(np.pi * 16, rel=0.1)
    assert not mask_of(made, tmp_path, "test/a.png").any()


def test_what_lies_outside_is_cut_off_or_left_out(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    pictures(tmp_path, "a.png")
    geojson(
        tmp_path / "a.geojson",
        feature("Polygon", [[[-5, -5], [3, -5], [3, 3], [-5, 3]]], None),
        feature("Polygon", [[[50, 50], [60, 50], [60, 60]]], None),
    )
    names = "[background, cell]"
    made = tiles_masks(tmp_path, outlines="a.geojson", class_names=names, val_fraction=0, test_fraction=0)
    mask = mask_of(made, tmp_path, "a.png")
    assert np.array_equal(np.argwhere(mask), [[r, c] for r in range(3) for c in range(3)])
    assert "1 outline(s) lie outside" in capsys.readouterr().out


def test_a_line_that_crosses_itself_covers_both_loops() -> None:
    bow = shapely.Polygon([[0, 0], [10, 10], [10, 0], [0, 10]])
    geometry = shapely.make_valid(bow)
    mask = draw([Outline("x", geometry)], 10, 10)
    assert np.count_nonzero(mask) == pytest.approx(50, abs=10)


@settings(max_examples=40, deadline=None)
@given(arrays(bool, (7, 9)))
def test_a_mask_comes_back_from_its_own_outlines(mask: np.ndarray) -> None:
    drawn = draw([Outline("x", part) for part in pieces(mask)], *mask.shape)
    assert np.array_equal(drawn > 0, mask)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda root: (root / "o/b.geojson").unlink(), r"1 pictures have no outlines: images/b\.png"),
        (lambda root: geojson(root / "o/c.geojson"), r"1 pictures that are outlined are not there: c"),
        (lambda root: geojson(root / "o/sub/a.geojson"), "every picture needs one set of outlines"),
        (lambda root: (root / "o/a.geojson").write_text("{"), "cannot be read as JSON"),
        (lambda root: (root / "o/a.geojson").write_text('{"x": 1}'), "holds x, which is neither GeoJSON nor COCO"),
        (lambda root: geojson(root / "o/a.geojson", feature("Polygon", [SQUARE], None)), "some outlines have no class"),
        (lambda root: geojson(root / "o/a.geojson", feature("LineString", SQUARE)), "feature 0 is no point or polygon"),
        (
            lambda root: geojson(root / "o/a.geojson", feature("Polygon", [[[99, 99], [120, 99], [120, 120]]])),
            "all 1 outlines lie outside the 30 x 40 pixels",
        ),
        (lambda root: labelme(root / "o/b.geojson", imageHeight=30, imageWidth=41), "30 x 41 pixels, and it has 30"),
        (
            lambda root: labelme(root / "o/b.geojson", {"label": "x", "points": SQUARE, "shape_type": "mask"}),
            "shape 0 is a mask",
        ),
        (lambda root: labelme(root / "o/b.geojson", {"points": SQUARE}), "is damaged"),
    ],
)
def test_refusals(tmp_path: Path, change: Any, sentence: str) -> None:
    pictures(tmp_path, "images/a.png", "images/b.png")
    for name in "ab":
        geojson(tmp_path / "o" / f"{name}.geojson", feature("Polygon", [SQUARE]))
    change(tmp_path)
    with pytest.raises(InputError, match=sentence):
        tiles_masks(tmp_path, outlines="o")


def test_refusals_of_coco_and_of_classes(tmp_path: Path) -> None:
    pictures(tmp_path, "images/a.png", "images/b.png")
    place = tmp_path / "coco.json"
    for annotation, sentence in (
        ({"segmentation": {"counts": [1, 2], "size": [3, 4]}}, "annotation 0 holds run lengths"),
        ({"segmentation": [], "image_id": 99}, "of an image or category that the file lacks"),
    ):
        coco(place, [annotation])
        with pytest.raises(InputError, match=sentence) as caught:
            tiles_masks(tmp_path, outlines=place)
        assert "damaged" not in str(caught.value)
    coco(place, [{"segmentation": [], "bbox": [1, 1, 4, 4]}, {"segmentation": [[1, 1, 2, 2]]}])
    with pytest.raises(InputError, match="none of its 2 outlines has an area"):
        tiles_masks(tmp_path, outlines=place)
    coco(place, [{"segmentation": [[1, 1, 5, 1, 5, 5]]}, {"segmentation": [[9, 9, 12, 9, 12, 12]], "category_id": 3}])
    with pytest.raises(InputError, match="are of class gland, and class_names are background, nucleus"):
        tiles_masks(tmp_path, outlines=place, class_names="background,nucleus")


@pytest.mark.parametrize("tool", ["coco", "qupath", "labelme"])
def test_one_drawn_class_of_several_takes_no_other_name(
    tmp_path: Path, tool: str, capsys: pytest.CaptureFixture
) -> None:
    pictures(tmp_path, "images/a.png", "images/b.png")
    place = tmp_path / ("coco.json" if tool == "coco" else "o")

    def drawn(*, beside: bool) -> None:
        """A gland, and with `beside` a nucleus that has no area."""
        for name in "ab":
            if tool == "qupath":
                nucleus = [feature("Point", [1, 1], "nucleus")] * beside
                geojson(place / f"{name}.geojson", feature("Polygon", [SQUARE], "gland"), *nucleus)
            elif tool == "labelme":
                nucleus = [{"label": "nucleus", "points": [[1, 1]], "shape_type": "point"}] * beside
                labelme(place / f"{name}.json", {"label": "gland", "points": SQUARE}, *nucleus)
        if tool == "coco":
            coco(place, [{"segmentation": [[4, 6, 12, 6, 12, 14, 4, 14]], "category_id": 3}])
            content = json.loads(place.read_text())
            content["categories"] = content["categories"][: 1 + beside]
            place.write_text(json.dumps(content))

    drawn(beside=True)
    with pytest.raises(InputError, match="are of class gland, and class_names are background, nucleus"):
        tiles_masks(tmp_path, outlines=place, class_names="background,nucleus")
    made = tiles_masks(tmp_path, outlines=place, class_names="background,gland")
    assert (made["class_names"], made["mask_kind"]) == (["background", "gland"], "instance")
    assert tiles_masks(tmp_path, outlines=place)["class_names"] == ["background", "gland"]
    assert "are taken for" not in capsys.readouterr().out
    drawn(beside=False)
    made = tiles_masks(tmp_path, outlines=place, class_names="background,nucleus")
    assert (made["class_names"], made["mask_kind"]) == (["background", "nucleus"], "instance")
    assert np.array_equal(mask_of(made, tmp_path, "images/a.png") == 1, SQUARE_MASK)
    assert "Outlines of class gland are taken for nucleus, the only class there is." in capsys.readouterr().out


def test_outlines_of_excluded_pictures_go_with_them(tmp_path: Path) -> None:
    pictures(tmp_path, "images/a.png", "train/images/b.png", "test/images/b.png")
    coco(tmp_path / "coco.json", [{"segmentation": [[1, 1, 5, 1, 5, 5]]}])
    made = tiles_masks(tmp_path, outlines="coco.json", exclude="b.png")
    assert [item["image"] for part in ("training", "validation", "test") for item in made[part]] == ["images/a.png"]
    for place in ("train/images/b.png", "test/images/b.png"):  # of two of a name that which is left out
        geojson(tmp_path / "o" / place.replace(".png", ".geojson"), feature("Polygon", [SQUARE]))
    made = tiles_masks(tmp_path, outlines="o", exclude="images/a.png,test/*", val_fraction=0, test_fraction=0)
    assert [item["image"] for item in made["training"]] == ["train/images/b.png"]


def test_our_own_detections_are_read_again(tmp_path: Path) -> None:
    write_features(tmp_path / "a.geojson", [polygon_feature([np.array(SQUARE)], "nucleus", (1, 2, 3), {}, "detection")])
    (sheet,) = read_sheets(tmp_path)
    (outline,) = sheet.outlines
    assert outline.name == "nucleus"
    assert rings_of(outline.shape.geoms[0])[0].shape == (5, 2)

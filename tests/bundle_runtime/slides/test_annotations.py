from pathlib import Path

import numpy as np
import pytest
import tifffile
from bundle_runtime.slides.annotations import Annotation, find_annotation
from bundle_runtime.slides.geojson import point_feature, polygon_feature, write_features
from bundle_runtime.slides.slide import Slide
from custom_components.errors import InputError
from monai.apps.pathology.utils import compute_multi_instance_mask
from slide_files import pyramid, with_tissue


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Slide:
    return Slide(pyramid(tmp_path_factory.mktemp("marked") / "s.tif", with_tissue(512), mpp=4.0))


def box(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])


def marked(folder: Path, *features: dict) -> Path:
    return write_features(folder / "s.geojson", features)


def area(rings: list[np.ndarray], name: str = "tumour") -> dict:
    return polygon_feature(rings, name, (1, 2, 3), {})


def test_a_class_map_of_polygons_with_holes(tmp_path: Path, slide: Slide) -> None:
    path = marked(
        tmp_path, area([box(100, 40, 200, 120), box(140, 60, 160, 80)]), area([box(300, 300, 340, 340)], "necrosis")
    )
    classes = Annotation(path, slide).class_map(["rest", "necrosis", "tumour"], 1.0)
    expected = np.zeros((512, 512), int)
    expected[40:120, 100:200] = 2
    expected[60:80, 140:160] = 0
    expected[300:340, 300:340] = 1
    assert (classes != expected).sum() < 400  # a pixel along the borders at most
    assert (classes[45:55, 105:195] == 2).all()
    assert (classes[62:78, 142:158] == 0).all()
    small = Annotation(path, slide).class_map(["rest", "necrosis", "tumour"], 8.0)
    assert small.shape == (64, 64)
    assert small[6, 15] == 2


def test_an_unknown_class_is_named(tmp_path: Path, slide: Slide) -> None:
    with pytest.raises(InputError, match="the class 'tumour', which is not among"):
        Annotation(marked(tmp_path, area([box(0, 0, 9, 9)])), slide).class_map(["rest", "stroma"], 1.0)


def test_an_annotation_outside_the_slide(tmp_path: Path, slide: Slide) -> None:
    with pytest.raises(InputError, match=r"annotation 2 \(tumour\) spans x 600 to 700.*outside the slide of 512 x 512"):
        Annotation(marked(tmp_path, area([box(0, 0, 9, 9)]), area([box(600, 0, 700, 90)])), slide)


def test_one_that_only_sticks_out_is_cut(tmp_path: Path, slide: Slide) -> None:
    classes = Annotation(marked(tmp_path, area([box(-50, -50, 20, 700)])), slide).class_map(["rest", "tumour"], 1.0)
    assert classes[:, :19].all()
    assert not classes[:, 22:].any()


@pytest.mark.parametrize("levels", [1, 2])
def test_a_mask(tmp_path: Path, slide: Slide, levels: int) -> None:
    mask = np.zeros((512, 512), np.uint8)
    mask[100:200, 100:200] = 1
    path = tmp_path / "s_mask.tif"
    with tifffile.TiffWriter(path) as writer:
        for step in (1, 4)[:levels]:
            writer.write(mask[::step, ::step], tile=(64, 64), compression="zlib", metadata=None)
    annotation = Annotation(path, slide)
    classes = annotation.class_map(["rest", "tumour"], 4.0)
    assert classes.shape == (128, 128)
    assert np.array_equal(classes, mask[2::4, 2::4])
    with pytest.raises(InputError, match="holds the value 1"):
        annotation.class_map(["rest"], 4.0)


@pytest.mark.parametrize(
    ("pixels", "match"),
    [(np.zeros((512, 300), np.uint8), "other proportions"), (np.zeros((64, 64, 3), np.uint8), "one channel")],
)
def test_masks_that_do_not_fit(tmp_path: Path, slide: Slide, pixels: np.ndarray, match: str) -> None:
    tifffile.imwrite(tmp_path / "s_mask.tif", pixels)
    with pytest.raises(InputError, match=match):
        Annotation(tmp_path / "s_mask.tif", slide)
    (tmp_path / "s_mask.tif").write_bytes(b"no tiff")
    with pytest.raises(InputError, match="cannot be read as a TIFF"):
        Annotation(tmp_path / "s_mask.tif", slide)


def test_lesions_are_those_of_monai(tmp_path: Path, slide: Slide) -> None:
    """Two regions 60 micrometres apart are one lesion, one far away is another; a small one is excluded."""
    shapes = [box(100, 100, 180, 180), box(195, 100, 280, 180), box(350, 350, 440, 440), box(50, 400, 60, 410)]
    annotation = Annotation(marked(tmp_path, *(area([shape]) for shape in shapes)), slide)
    found = annotation.lesions(["tumour"], mpp=4.0)
    region = annotation.class_map(["rest", "tumour"], 1.0)
    expected = compute_multi_instance_mask(region, 75 / 8)
    assert np.array_equal(found.labels, expected)
    assert found.labels.max() == 3
    assert found.labels[140, 140] == found.labels[140, 240]
    assert found.excluded == [int(found.labels[405, 55])]
    assert annotation.lesions(["tumour"], mpp=4.0, itc=0).excluded == []
    assert annotation.lesions(["necrosis"]).labels.max() == 0


def test_points_are_lesions_of_their_own(tmp_path: Path, slide: Slide) -> None:
    path = marked(
        tmp_path, point_feature(100, 200, "tumour", (0, 0, 0), {}), point_feature(300, 200, "tumour", (0, 0, 0), {})
    )
    found = Annotation(path, slide).lesions(["tumour"], mpp=8.0, reach=80)
    assert found.scale == (2.0, 2.0)
    assert {found.labels[100, 50], found.labels[100, 150]} == {1, 2}
    assert (found.labels == 1).sum() == pytest.approx(np.pi * 10**2, rel=0.1)


def test_shapes_without_any_class_count_as_the_target(tmp_path: Path, slide: Slide) -> None:
    feature = area([box(100, 100, 180, 180)])
    feature["properties"].pop("classification")
    assert Annotation(marked(tmp_path, feature), slide).lesions(["tumour"]).labels.max() == 1


def test_files_of_a_slide(tmp_path: Path) -> None:
    (tmp_path / "a.geojson").write_text("{}")
    assert find_annotation(tmp_path, "a") == tmp_path / "a.geojson"
    assert find_annotation(tmp_path, "b") is None
    assert find_annotation(tmp_path, "x" * 251) is None  # whose annotation no file could be
    assert find_annotation(None, "a") is None
    assert find_annotation(tmp_path / "a.geojson", "a") == tmp_path / "a.geojson"
    (tmp_path / "a_mask.tif").write_bytes(b"")
    with pytest.raises(InputError, match="both annotate slide a"):
        find_annotation(tmp_path, "a")
    with pytest.raises(InputError, match="does not exist"):
        find_annotation(tmp_path / "none", "a")

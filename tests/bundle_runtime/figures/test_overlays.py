"""Segmentations over planes of a volume."""

import nibabel as nib
import numpy as np
import pytest
from bundle_runtime.figures import panels as figures
from bundle_runtime.figures.overlays import overlay_figure
from matplotlib.image import imread
from shown_panels import shown

NAMES = ["background", "liver", "spleen"]
SPACING = (1.0, 2.0, 4.0)
RNG = np.random.default_rng(0)
IMAGE = RNG.normal(size=(24, 20, 16))
LABEL = np.zeros(IMAGE.shape, dtype=np.int16)
LABEL[16:22, 8:14, 4:9] = 1  # high x: the patient's right
LABEL[3:7, 6:10, 10:14] = 2


def read_png(path):
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    picture = imread(path)
    assert picture.shape[0] > 200
    assert picture.shape[1] > 300
    return picture


def test_overlay_keeps_proportions(tmp_path):
    figure = overlay_figure(IMAGE, LABEL, tmp_path / "a.png", NAMES, spacing=SPACING)
    read_png(tmp_path / "a.png")
    sizes = np.array([panel.box.size for panel in shown(figure)])
    millimetres = [(24, 40), (24, 64), (40, 64)]  # axial x y, coronal x z, sagittal y z
    np.testing.assert_allclose(sizes * 24 / sizes[0, 0], millimetres)


def test_overlay_is_drawn_as_radiologists_look_at_it(tmp_path):
    image = np.zeros(IMAGE.shape)
    image[20, 15, 12] = 1.0  # right, front, head
    label = np.zeros(IMAGE.shape, dtype=int)
    label[20, 15, 12] = 1
    figure = overlay_figure(image, label, tmp_path / "a.png", NAMES)
    panels = shown(figure)
    assert [panel.letters for panel in panels] == ["RLAP", "RLSI", "APSI"]
    for array in (panel.pixels() for panel in panels):
        row, column = np.argwhere(np.asarray(array) == 1.0)[0]
        assert row < array.shape[0] / 2  # front or head: in the upper half
        assert column < array.shape[1] / 2  # right or front: in the left half


def test_overlay_names_present_classes_in_stable_colours(tmp_path):
    both = overlay_figure(IMAGE, LABEL, tmp_path / "both.png", NAMES)
    only = np.where(LABEL == 2, 2, 0)
    alone = overlay_figure(IMAGE, only, tmp_path / "alone.png", NAMES, prediction=np.zeros_like(LABEL))
    colours = [
        {
            text.get_text(): patch.get_facecolor()
            for text, patch in zip(legend.get_texts(), legend.get_patches(), strict=True)
        }
        for legend in (both.legends[0], alone.legends[0])
    ]
    assert list(colours[1]) == ["spleen"]
    assert "liver" in colours[0]
    assert len(shown(both)) == 3
    assert [panel.name for panel in shown(alone)] == ["label", "", "", "prediction", "", ""]
    assert colours[1]["spleen"] == figures.COLOURS[1]
    assert not np.array_equal(read_png(tmp_path / "both.png"), read_png(tmp_path / "alone.png"))


def test_overlay_follows_the_prediction_where_the_label_is_empty_and_copes_with_neither(tmp_path):
    empty = np.zeros_like(LABEL)
    figure = overlay_figure(IMAGE, empty, tmp_path / "a.png", NAMES, prediction=LABEL)
    assert shown(figure)[0].title.endswith("z = 4")
    assert not overlay_figure(IMAGE, empty, tmp_path / "b.png", NAMES).legends
    overlay_figure(IMAGE[:, :, 5], LABEL[:, :, 5], tmp_path / "c.png", NAMES, spacing=SPACING)
    read_png(tmp_path / "c.png")


def test_shapes_must_agree(tmp_path):
    with pytest.raises(ValueError, match=r"'label': \(24, 20, 15\)"):
        overlay_figure(IMAGE, LABEL[:, :, 1:], tmp_path / "a.png", NAMES)
    assert not list(tmp_path.iterdir())


def test_liver_of_a_real_ct_is_on_the_side_marked_right(tmp_path, real_data):
    image, label = (
        nib.as_closest_canonical(nib.load(real_data / "abdomen_ct" / f"ts_example_ct_{part}.nii.gz"))
        for part in ("image", "label")
    )
    classes = np.asarray(label.dataobj).astype(int)
    names = ["background", *(f"organ {i}" for i in range(1, 14))]
    spacing = image.header.get_zooms()
    figure = overlay_figure(image.get_fdata(), classes, tmp_path / "ct.png", names, spacing=spacing)
    axial = shown(figure)[0]
    assert axial.letters[0] == "R"
    tint = axial.pixels(1)
    liver = np.isclose(tint[..., :3], figures.COLOURS[5][:3]).all(axis=-1) & (tint[..., 3] > 0)
    assert np.argwhere(liver)[:, 1].mean() < liver.shape[1] / 2

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import shapely
from bundle_runtime.data.datalist import items
from custom_components.errors import InputError
from hypothesis import given, settings
from hypothesis import strategies as st
from mae_tools.sources.monuseg import monuseg, read_outlines
from mae_tools.sources.outlines import Outline, draw
from PIL import Image
from skimage.measure import points_in_poly

PATIENTS = ["TCGA-18-5592", "TCGA-38-6178", "TCGA-49-4488", "TCGA-50-5931", "TCGA-A7-A13E"]


def outline(*corners: tuple[float, float]) -> Outline:
    """Of rows and columns."""
    return Outline("nucleus", shapely.Polygon([(x, y) for y, x in corners]))


def xml(*outlines: list[tuple[float, float]]) -> str:
    regions = "".join(
        f'<Region Id="{i}"><Vertices>'
        + "".join(f'<Vertex X="{x}" Y="{y}" Z="0" />' for y, x in outline)
        + "</Vertices></Region>"
        for i, outline in enumerate(outlines)
    )
    return f'<Annotations MicronsPerPixel="0.25"><Annotation><Regions>{regions}</Regions></Annotation></Annotations>'


SQUARE = [(4.0, 6.0), (4.0, 12.0), (9.0, 12.0), (9.0, 6.0)]
NEIGHBOUR = [(4.0, 10.0), (4.0, 20.0), (9.0, 20.0), (9.0, 10.0)]


def release(root: Path) -> Path:
    for index, patient in enumerate(PATIENTS):
        folder = root / ("MoNuSegTestData" if index == 4 else "Training/Tissue Images")
        outlines = folder if index == 4 else root / "Training/Annotations"
        for place in (folder, outlines):
            place.mkdir(parents=True, exist_ok=True)
        name = f"{patient}-01Z-00-DX1"
        Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(folder / f"{name}.tif")
        (outlines / f"{name}.xml").write_text(xml(SQUARE, NEIGHBOUR))
    return root


def test_masks_and_lists(tmp_path: Path) -> None:
    made = monuseg(release(tmp_path))
    assert [len(made[part]) for part in ("training", "validation", "test")] == [3, 1, 1]
    assert made["mask_kind"] == "instance"
    item = items(tmp_path / "datalist.json", "test")[0]
    assert item["patient_id"] == "TCGA-A7-A13E"
    mask = np.asarray(Image.open(item["label"]))
    assert mask.dtype == np.uint16
    assert (mask.shape, mask.max()) == ((30, 40), 2)
    stamp = Path(item["label"]).stat().st_mtime_ns
    assert monuseg(tmp_path) == made
    assert Path(item["label"]).stat().st_mtime_ns == stamp


def test_what_an_outline_covers() -> None:
    mask = draw([outline(*SQUARE), outline(*NEIGHBOUR), outline((-9, -9), (-9, -5), (-5, -5))], 30, 40)
    assert (mask[4:9, 6:12] == 1).all()
    assert (mask[4:9, 12:20] == 2).all()  # what both claim goes to the first
    assert (mask > 0).sum() == 5 * 14


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(1, 29), st.floats(1, 39)), min_size=3, max_size=6))
def test_outlines_against_scikit_image(nucleus: list[tuple[float, float]]) -> None:
    """Another algorithm of scikit-image, asked for the middle of each pixel; borders may differ."""
    corners = np.array(nucleus)
    mask = draw([outline(*nucleus)], 30, 40) > 0
    middles = np.stack(np.mgrid[:30, :40], -1).reshape(-1, 2) + 0.5
    expected = points_in_poly(middles, corners).reshape(30, 40)
    near = np.zeros(len(middles), bool)
    for start, end in pairwise([*corners, corners[0]]):
        along = ((middles - start) @ (end - start) / max(np.sum((end - start) ** 2), 1e-9)).clip(0, 1)
        near |= np.linalg.norm(middles - start - along[:, None] * (end - start), axis=1) < 0.15
    near = near.reshape(30, 40)
    assert np.array_equal(mask[~near], expected[~near])


def test_more_than_255_nuclei_keep_their_numbers() -> None:
    outlines = [
        outline((r, c), (r, c + 3), (r + 3, c + 3), (r + 3, c)) for r in range(0, 80, 4) for c in range(0, 80, 4)
    ]
    assert draw(outlines, 80, 80).max() == 400


def test_refusals(tmp_path: Path) -> None:
    release(tmp_path)
    bad = tmp_path / "Training/Annotations" / f"{PATIENTS[0]}-01Z-00-DX1.xml"
    bad.write_text(xml([(400.0, 400.0), (400.0, 450.0), (450.0, 450.0)]))
    with pytest.raises(InputError, match=r"all 1 outlines lie outside the 30 x 40 pixels"):
        monuseg(tmp_path)
    bad.write_text("<Annotations><Region><Vertex X='a' Y='1'/></Region></Annotations>")
    with pytest.raises(InputError, match=r"the outlines cannot be read .*; expected an XML file of Aperio"):
        read_outlines(bad)
    bad.write_text(xml([(1, 1), (1, float("nan")), (4, 4)]))
    with pytest.raises(InputError, match=r"the outlines cannot be read .*a corner is no number"):
        read_outlines(bad)
    bad.write_text("<ASAP_Annotations><Annotations><Coordinate X='1'/></Annotations></ASAP_Annotations>")
    with pytest.raises(InputError, match=r"xml: its elements are ASAP_[^()]*, expected Regions[^()]*\.$"):
        monuseg(tmp_path)
    bad.write_text(xml([(1, 1), (1, 5), (1, 1)], [(1, 1), (2, 2)], [(0, 0), (9, 9), (9, 0), (0, 9)]))
    there_and_back, crossing = read_outlines(bad)
    assert not draw([there_and_back], 9, 9).any()
    assert 0 < np.count_nonzero(draw([crossing], 9, 9)) < 50, "both halves of a bow, and no more"
    bad.write_text(xml())
    assert read_outlines(bad) == [], "a tile without nuclei"
    bad.unlink()
    with pytest.raises(InputError, match="1 files have no XML file of the same name: TCGA-18"):
        monuseg(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds 0 pictures and 0 XML files \\(no file\\)"):
        monuseg(tmp_path / "empty")

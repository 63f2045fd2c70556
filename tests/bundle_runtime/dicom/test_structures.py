"""Structures drawn on a series: RTSTRUCT against masks, SEG of all kinds, and everything that does not fit said."""

import copy
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
from bundle_runtime.data.volume import UnusableError, read_volume
from bundle_runtime.dicom.series import scan
from bundle_runtime.dicom.structures import Painted, drawn_on, paint, read_structures, references
from custom_components.errors import InputError
from dicom_files import AXIAL, slices, volume, write
from drawn_structures import AFFINE, SHAPE, contours, square
from picture_files import encoded
from pydicom.dataset import Dataset
from pydicom.pixels import pack_bits

RAS = np.diag([-1.0, -1, 1, 1]) @ AFFINE


def painted(file: str, names: list[str], **aliases: list[str]) -> Painted:
    return paint(read_structures(file, RAS, SHAPE), ["background", *names], SHAPE, aliases)


def test_holes_and_overlaps(tmp_path: Path) -> None:
    ring = [square(4.5, 20.5, k) for k in (1, 2)] + [square(8.5, 12.5, k) for k in (1, 2)]
    file = contours(tmp_path, {"Liver": ring, "GTV 1": [square(17.5, 30.5, 2)], "couch": []})
    label, lacking, notes, strangers = painted(file, ["liver", "tumour", "spleen"], tumour=["gtv*"])
    assert [np.count_nonzero(label[..., k] == 1) for k in range(6)] == [0, 240, 231, 0, 0, 0]
    assert np.count_nonzero(label == 2) == 13 * 13
    assert label[10, 10, 1] == 0
    assert lacking == ["spleen"]
    assert notes == ["9 voxels of liver lie in tumour, which counts"]
    assert strangers == ["couch"]
    turned, *_ = painted(file, ["tumour", "liver"], tumour=["gtv*"])
    assert np.count_nonzero(turned == 2) == 480  # now the liver is the later class
    assert references(pydicom.dcmread(file)) == {str(slices(volume())[0].SeriesInstanceUID)}


def test_contours_of_one_slice(tmp_path: Path) -> None:
    """Twice the same, begun elsewhere; overlapping; an island in a hole in another; and what XOR alone means."""
    outer, turned = square(0.5, 20.5, 1), square(0.5, 20.5, 1)
    drawn = {
        "liver": [square(9.5, 11.5, 1), square(4.5, 16.5, 1), outer, turned[3:] + turned[:3], square(18.5, 24.5, 1)]
    }
    label, *_ = painted(contours(tmp_path, drawn), ["liver"])
    expected = np.zeros(SHAPE[:2], bool)
    expected[1:21, 1:21] = True
    expected[19:25, 19:25] = True
    expected[5:17, 5:17] = False
    expected[10:12, 10:12] = True
    np.testing.assert_array_equal(label[..., 1], expected)
    label, *_ = painted(contours(tmp_path, {"liver": [outer, square(18.5, 24.5, 1)]}, "CLOSEDPLANAR_XOR"), ["liver"])
    assert np.count_nonzero(label) == 400 + 36 - 2 * 4


@pytest.mark.parametrize(
    ("drawn", "text"),
    [
        ({"liver": [square(2, 9, 1.45)]}, r"a contour of liver that lies 0\.45 slices off"),
        ({"liver": [square(2, 9, 8)]}, "or outside"),
        ({"liver": [square(2, 9, 0), square(2, 9, 2), square(2, 9, 4)]}, "no contour of liver on 2 slices between"),
        ({"liver": [], "spleen": []}, "is empty: no voxel"),
        ({"heart": [square(2, 9, 1)]}, "no structure that is a class; found heart"),
        ({"liver": [square(2, 9, 1)], "LIVER": [square(2, 9, 1)]}, r"drawn twice as liver \(liver, LIVER\)"),
        ({}, "holds no structure: it is empty"),
    ],
)
def test_what_does_not_fit_is_said(tmp_path: Path, drawn: Any, text: str) -> None:
    with pytest.raises(UnusableError, match=text):
        painted(contours(tmp_path, drawn), ["liver", "spleen"])


def test_slices_that_nobody_drew_on_are_counted(tmp_path: Path) -> None:
    """Up to 40 % of them; a slice between two parts that are empty says nothing of another structure."""
    drawn = {"liver": [square(2, 9, k) for k in (0, 1, 3, 4)], "spleen": [square(20, 25, k) for k in (2, 3)]}
    label, _, notes, _ = painted(contours(tmp_path, drawn), ["liver", "spleen"])
    assert notes == ["liver is not drawn on 1 of the 5 slices between its ends, where it counts as absent"]
    assert not (label[..., 2] == 1).any()
    assert painted(contours(tmp_path, drawn), ["spleen"]).notes == []


@pytest.mark.parametrize("kept", [[], [square(2.1, 2.9, 3)]])
def test_a_structure_without_a_contour_is_not_drawn(tmp_path: Path, kept: list[list[float]]) -> None:
    """Templates keep places for structures; what nobody drew is not taken for background."""
    drawn = {"spleen": kept, "liver": [square(2, 9, k) for k in range(4)]}
    _, lacking, notes, _ = painted(contours(tmp_path, drawn), ["liver", "spleen"])
    assert lacking == ["spleen"]
    assert notes == ["spleen has no contour around a voxel and counts as not drawn"]


def _image_item(number: int) -> Dataset:
    item = Dataset()
    item.ReferencedSOPInstanceUID = slices(volume())[number].SOPInstanceUID
    return item


def test_what_names_images_and_no_series_is_of_their_series(tmp_path: Path) -> None:
    """As some writers leave the reference to the series out: of contours, of segments, and of nothing that is here."""
    write(tmp_path / "ct", slices(volume()))
    write(tmp_path / "other", slices(volume(), "b"))
    file = Path(contours(tmp_path, {"liver": [square(2, 9, 1)]}))
    data = pydicom.dcmread(file)
    del data.ReferencedFrameOfReferenceSequence
    file.write_bytes(encoded(data))
    data.ROIContourSequence[0].ContourSequence[0].ContourImageSequence = [_image_item(1)]
    (tmp_path / "named.dcm").write_bytes(encoded(data))
    drawn = pydicom.dcmread(segments(tmp_path, "FRACTIONAL", np.full((2, 34, 40), 200)))
    derived = Dataset()
    derived.SourceImageSequence = [_image_item(0), _image_item(2)]
    drawn.PerFrameFunctionalGroupsSequence[1].DerivationImageSequence = [derived]
    (tmp_path / "seg.dcm").write_bytes(encoded(drawn))
    export = scan(str(path) for path in sorted(tmp_path.rglob("*.dcm")))
    key = str(slices(volume())[0].SeriesInstanceUID)
    found = {Path(object_file).name: on for object_file, on in drawn_on(export).items()}
    assert found == {"RS.dcm": set(), "named.dcm": {key}, "seg.dcm": {key}}
    (tmp_path / "named.dcm").unlink()  # since it was found
    assert drawn_on(export)[str(tmp_path / "named.dcm")] == set()
    assert export.refused == {str(tmp_path / "named.dcm"): "cannot be read (No such file or directory)"}


@pytest.mark.parametrize("patient", ["STS_002", "STS_003", "STS_008"])
@pytest.mark.parametrize("kind", ["CT", "MR_T1"])
def test_real_contours_are_the_masks_beside_them(real_data: Path, patient: str, kind: str) -> None:
    place = real_data / "dicom_rtstruct" / "dicom" / patient / kind
    image, _ = read_volume(str(place / "image"))
    structures = read_structures(str(place / "mask" / "RS.dcm"), image.affine, image.shape)
    label, *_ = paint(structures, ["background", "tumour"], image.shape, {"tumour": ["GTV_Mass*"]})
    mask = np.asarray(nib.load(real_data / "dicom_rtstruct" / "nifti" / patient / f"{kind}_mask.nii.gz").dataobj) > 0
    dice = 2 * np.count_nonzero(mask & (label > 0)) / (np.count_nonzero(mask) + np.count_nonzero(label))
    assert dice >= 0.99


def segments(folder: Path, kind: str, values: np.ndarray, **changes: Any) -> str:
    """A SEG by hand, with frames in an odd order: values (frames, rows, columns), frame k on slice 5 - k."""
    data = copy.deepcopy(slices(volume())[0])
    data.Modality, data.SegmentationType, data.NumberOfFrames = "SEG", kind, len(values)
    data.BitsAllocated, data.BitsStored, data.HighBit, data.MaximumFractionalValue = 8, 8, 7, 200
    data.PixelData = values.astype(np.uint8).tobytes()
    data["PixelData"].VR = "OB"
    data.SegmentSequence, groups = [], []
    for number, name in ((1, "Liver"), (2, "Spleen, whole")):
        segment, code = Dataset(), Dataset()
        segment.SegmentNumber, segment.SegmentLabel = number, name
        code.CodeValue = {1: "10200004", 2: "78961009"}[number]
        segment.SegmentedPropertyTypeCodeSequence = [code]
        data.SegmentSequence.append(segment)
    for number in range(len(values)):
        group, place, owner = Dataset(), Dataset(), Dataset()
        start = AFFINE @ [0, 0, 5 - number, 1] + changes.get("shift", 0)
        place.ImagePositionPatient, owner.ReferencedSegmentNumber = list(start[:3]), 1 + number % 2
        group.PlanePositionSequence, group.SegmentIdentificationSequence = [place], [owner]
        groups.append(group)
    shared, direction, measures = Dataset(), Dataset(), Dataset()
    direction.ImageOrientationPatient, measures.PixelSpacing = list(AXIAL), [0.9, 0.8]
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [direction], [measures]
    data.SharedFunctionalGroupsSequence, data.PerFrameFunctionalGroupsSequence = [shared], groups
    (folder / "seg.dcm").write_bytes(encoded(data))
    return str(folder / "seg.dcm")


def test_fractions_labels_and_codes(tmp_path: Path) -> None:
    values = np.zeros((2, 34, 40))
    values[0, 3, 7], values[0, 4, 7], values[1, 5, 9] = 120, 90, 100
    label, lacking, notes, _ = painted(segments(tmp_path, "FRACTIONAL", values), ["liver", "spleen"])
    assert {tuple(map(int, place)): int(label[tuple(place)]) for place in np.argwhere(label)} == {
        (7, 3, 5): 1,
        (9, 5, 4): 2,
    }
    assert (lacking, notes) == ([], [])
    values[0, 3, 7], values[0, 4, 7], values[1, 5, 9] = 2, 1, 2
    label, *_ = painted(segments(tmp_path, "LABELMAP", values), ["liver", "spleen"])
    assert [label[7, 3, 5], label[7, 4, 5], label[9, 5, 4]] == [2, 1, 2]


def test_bits_that_fill_no_whole_bytes(tmp_path: Path) -> None:
    """Frames of 33 x 37 bits follow one another in the middle of a byte."""
    rng = np.random.default_rng(0)
    drawn = rng.random((5, 33, 37)) < 0.3
    file = Path(segments(tmp_path, "BINARY", np.zeros((5, 33, 37))))
    data = pydicom.dcmread(file)
    data.Rows, data.Columns, data.BitsAllocated, data.BitsStored, data.HighBit = 33, 37, 1, 1, 0
    data.PixelData = pack_bits(drawn)
    file.write_bytes(encoded(data))
    for number, structure in enumerate(read_structures(str(file), RAS, (37, 33, 6))):
        expected = np.zeros((37, 33, 6), bool)
        for frame in range(number, 5, 2):
            expected[..., 5 - frame] = drawn[frame].T
        np.testing.assert_array_equal(structure.draw(), expected)


def test_a_seg_of_another_grid_or_without_anything(tmp_path: Path) -> None:
    values = np.full((2, 34, 40), 200)
    with pytest.raises(UnusableError, match="lies off the grid of its series"):
        painted(segments(tmp_path, "FRACTIONAL", values, shift=0.4), ["liver", "spleen"])
    file = Path(segments(tmp_path, "FRACTIONAL", values))
    for lacking in ("PlaneOrientationSequence", "PixelMeasuresSequence"):
        data = pydicom.dcmread(file)
        del data.SharedFunctionalGroupsSequence[0][lacking]
        (tmp_path / "lacking.dcm").write_bytes(encoded(data))
        with pytest.raises(InputError, match=rf"lacking\.dcm: is truncated or damaged \(.*{lacking}.*\); export"):
            painted(str(tmp_path / "lacking.dcm"), ["liver", "spleen"])
    with pytest.raises(UnusableError, match="is empty: no voxel of any class"):
        painted(segments(tmp_path, "FRACTIONAL", 0 * values), ["liver", "spleen"])

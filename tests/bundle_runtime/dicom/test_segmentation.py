"""DICOM SEG out: read back voxel by voxel through highdicom and through this project's own reader."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dicom_rules
import highdicom as hd
import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch
from bundle_runtime.data.load_volumes import LoadVolumesd
from bundle_runtime.data.saving import SaveImageLabelMapd
from bundle_runtime.data.volume import read_volume
from bundle_runtime.dicom.segmentation import SaveImageSegmentationd
from bundle_runtime.dicom.structures import paint, read_structures
from bundle_runtime.weights.io import sha256_of
from custom_components.errors import InputError
from dicom_files import enhanced, slices, uid, volume, write
from nibabel.orientations import io_orientation, ornt_transform
from pydicom.uid import CTImageStorage

NAMES = ["background", "liver", "right kidney", "oddity"]
# Those of BTCV in their order, as the labels of the real CT have them.
ORGANS = (
    "spleen", "right kidney", "left kidney", "gallbladder", "esophagus", "liver", "stomach", "aorta",
    "inferior vena cava", "portal and splenic vein", "pancreas", "right adrenal gland", "left adrenal gland",
)  # fmt: skip
SAGITTAL = (0.0, 1, 0, 0, 0, -1)


def drawn(shape: tuple[int, int, int] = (40, 34, 6)) -> np.ndarray:
    labels = np.random.default_rng(5).integers(0, 4, shape).astype(np.uint8)
    labels[..., 2] = 0  # a slice without anything
    return labels


def saved(
    folder: Path,
    image: Path | str,
    labels: np.ndarray,
    case: str = "P 1",
    names: Sequence[str] = NAMES,
    **settings: Any,
) -> Path:
    (folder / "metadata.json").write_text(json.dumps({"name": "Abdomen", "version": "1.2.3"}))
    (folder / "model.pt").write_bytes(b"weights")
    save = SaveImageSegmentationd(
        str(folder / "out"), names, str(folder / "metadata.json"), str(folder / "model.pt"), **settings
    )
    item = save({"pred": torch.from_numpy(labels)[None], "file": str(image), "case": case})
    return Path(item["pred_segmentation"])


@pytest.mark.parametrize("orientation", [(1.0, 0, 0, 0, 1, 0), SAGITTAL, (0.8, 0.6, 0, -0.6, 0.8, 0)])
@pytest.mark.parametrize("tilt", [0, 0.5])
def test_voxels_are_where_they_were(tmp_path: Path, orientation: Any, tilt: float) -> None:
    folder = write(tmp_path / "in", slices(volume(), orientation=orientation, tilt=tilt))
    image, _ = read_volume(str(folder))
    labels = drawn()
    file = saved(tmp_path, folder, labels)
    structures = read_structures(str(file), image.affine, image.shape)
    again, *others = paint(structures, NAMES, image.shape, {})
    np.testing.assert_array_equal(again, labels)
    assert others == [[], [], []]


@pytest.mark.parametrize("sliced", [slice(None), slice(4, 5)])
def test_a_single_class(tmp_path: Path, sliced: slice) -> None:
    """Which class a frame is of then stands once for all frames; of a single frame everything may."""
    folder = write(tmp_path / "in", slices(volume()))
    image, _ = read_volume(str(folder))
    labels = np.zeros_like(drawn())
    labels[..., sliced] = drawn()[..., sliced] == 1
    file = saved(tmp_path, folder, labels, names=NAMES[:2])
    assert "SegmentIdentificationSequence" in pydicom.dcmread(file).SharedFunctionalGroupsSequence[0]
    again, *others = paint(read_structures(str(file), image.affine, image.shape), NAMES[:2], image.shape, {})
    np.testing.assert_array_equal(again, labels)
    assert others == [[], [], []]


def test_no_warning_tells_the_name_of_a_patient(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    """As highdicom would of one without a caret."""
    saved(tmp_path, write(tmp_path / "in", slices(volume(), PatientName="Planted Name")), drawn())
    assert "Planted" not in "".join(str(each.message) for each in recwarn)


def test_what_it_says_of_series_model_and_segments(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    parts = slices(volume(), AccessionNumber="A1")
    folder = write(tmp_path / "in", parts)
    caplog.set_level(logging.INFO)  # as in a run of MONAI
    file = saved(tmp_path, folder, drawn())
    assert "copy" not in caplog.text
    seg = hd.seg.segread(file)
    source = [str(data.SOPInstanceUID) for data in parts]
    pixels = seg.get_pixels_by_source_instance(source, combine_segments=True, ignore_spatial_locations=False)
    np.testing.assert_array_equal(pixels, drawn().transpose(2, 1, 0))
    assert {seg.PatientID, seg.StudyInstanceUID} == {parts[0].PatientID, parts[0].StudyInstanceUID}
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == parts[0].SeriesInstanceUID
    assert seg.FrameOfReferenceUID == parts[0].FrameOfReferenceUID
    liver, kidney, odd = (seg.get_segment_description(number) for number in (1, 2, 3))
    assert (liver.segment_label, liver.algorithm_type.value) == ("liver", "AUTOMATIC")
    assert liver.segmented_property_type.value == "10200004"
    side = kidney.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence[0]
    assert (kidney.segmented_property_type.value, side.CodeValue) == ("64033007", "24028007")
    assert odd.segmented_property_type.scheme_designator == "99MAE"
    (algorithm,) = liver.SegmentationAlgorithmIdentificationSequence
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("Abdomen", "1.2.3")
    assert sha256_of(tmp_path / "model.pt") in algorithm.AlgorithmParameters
    assert dicom_rules.kind(file) == "Segmentation"
    del seg.SegmentSequence[1].SegmentLabel  # the checker sees what is wrong
    seg.save_as(tmp_path / "wrong.dcm")
    assert "<SegmentLabel>" in str(dicom_rules.errors(tmp_path / "wrong.dcm"))


def test_a_case_with_a_long_name(tmp_path: Path) -> None:
    file = saved(tmp_path, write(tmp_path / "in", slices(volume())), drawn(), "P 1" * 100)
    assert file.name.startswith("P 1P 1")
    assert file.name.endswith("_seg.dcm")
    assert hd.seg.segread(file).number_of_segments == 3


def test_an_enhanced_object_and_own_codes(tmp_path: Path) -> None:
    parts = slices(volume())
    folder = write(tmp_path / "in", [enhanced(parts, [3, 0, 5, 1, 2, 4])])
    own = {"oddity": {"type": ["123", "SCT", "Odd"], "side": ["7771000", "SCT", "Left"]}}
    file = saved(tmp_path, folder, drawn(), segment_codes=own)
    image, _ = read_volume(str(folder))
    again, *_ = paint(read_structures(str(file), image.affine, image.shape), NAMES, image.shape, {})
    np.testing.assert_array_equal(again, drawn())
    assert hd.seg.segread(file).get_segment_description(3).segmented_property_type.value == "123"


def _with_uids(source: Path, target: Path) -> Path:
    """A copy of the series with the identifiers that were emptied when it was made public."""
    target.mkdir()
    for path in source.iterdir():
        data = pydicom.dcmread(path)
        data.StudyInstanceUID, data.SeriesInstanceUID, data.PatientID = uid("study"), uid("series"), "P"
        data.SOPInstanceUID, data.SOPClassUID = path.name.removeprefix("CT."), CTImageStorage
        data.save_as(target / path.name)
    return target


def test_organs_of_a_real_ct_are_the_same_in_nifti_and_in_dicom(real_data: Path, tmp_path: Path) -> None:
    """Both writers of an inference on one series; the SEG is read by highdicom, and frame by frame from its headers."""
    place = _with_uids(real_data / "dicom" / "ct_abdomen_series_totalsegmentator", tmp_path / "ct")
    image, _ = read_volume(str(place))
    stored = nib.load(real_data / "abdomen_ct" / "ts_dicom_ct_label.nii.gz")
    stored = stored.as_reoriented(ornt_transform(io_orientation(stored.affine), io_orientation(image.affine)))
    np.testing.assert_allclose(stored.affine, image.affine, atol=1e-3)
    labels = np.asarray(stored.dataobj).astype(np.uint8)
    names = ["background", *ORGANS]
    assert len(np.unique(labels)) > 8
    item = LoadVolumesd("image", header=True)({"image": str(place), "case": "CT", "file": str(place)})
    predicted = {**item, "pred": torch.from_numpy(labels)[None]}
    nifti = nib.load(SaveImageLabelMapd("pred", str(tmp_path))(predicted)["pred_path"])
    result = np.asarray(nifti.dataobj)
    np.testing.assert_array_equal(result, labels)
    file = saved(tmp_path, place, labels, names=names)
    sources = [pydicom.dcmread(path, stop_before_pixels=True) for path in place.iterdir()]
    normal = np.cross(*np.reshape(sources[0].ImageOrientationPatient, (2, 3)).astype(float))
    sources.sort(key=lambda each: float(np.dot(normal, each.ImagePositionPatient)))

    seg = hd.seg.segread(file)
    uids = [str(each.SOPInstanceUID) for each in sources]
    pixels = seg.get_pixels_by_source_instance(uids, combine_segments=True, ignore_spatial_locations=False)
    np.testing.assert_array_equal(pixels.transpose(2, 1, 0), result)

    data, again = pydicom.dcmread(file), np.zeros_like(result)
    shared = data.SharedFunctionalGroupsSequence[0]
    spacing = [float(value) for value in shared.PixelMeasuresSequence[0].PixelSpacing]
    across, down = np.reshape(shared.PlaneOrientationSequence[0].ImageOrientationPatient, (2, 3)).astype(float)
    to_voxels, named = np.linalg.inv(nifti.affine), set()
    for group, mask in zip(data.PerFrameFunctionalGroupsSequence, data.pixel_array, strict=True):
        rows, columns = np.nonzero(mask)
        corner = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        lps = corner + np.outer(rows, down * spacing[0]) + np.outer(columns, across * spacing[1])
        voxels = lps * (-1, -1, 1) @ to_voxels[:3, :3].T + to_voxels[:3, 3]
        assert np.abs(voxels - voxels.round()).max() < 0.01
        again[tuple(voxels.round().astype(int).T)] = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        named |= {each.ReferencedSOPInstanceUID for each in group.DerivationImageSequence[0].SourceImageSequence}
    np.testing.assert_array_equal(again, result)

    (referred,) = data.ReferencedSeriesSequence
    assert referred.SeriesInstanceUID == sources[0].SeriesInstanceUID
    assert {each.ReferencedSOPInstanceUID for each in referred.ReferencedInstanceSequence} == set(uids) >= named
    for key in ("PatientID", "StudyInstanceUID", "FrameOfReferenceUID", "Rows", "Columns"):
        assert data[key].value == sources[0][key].value, key
    coded = [segment.SegmentedPropertyTypeCodeSequence[0] for segment in data.SegmentSequence]
    assert {code.CodingSchemeDesignator for code in coded} == {"SCT"}
    assert dicom_rules.kind(file) == "Segmentation"


def test_what_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="output_format is 'dicom'; choose"):
        saved(tmp_path, tmp_path, drawn(), output_format="dicom")
    with pytest.raises(InputError, match=r"segment_codes: 'spleen' is not among the classes"):
        saved(tmp_path, tmp_path, drawn(), segment_codes={"spleen": {"type": ["1", "SCT", "x"]}})
    with pytest.raises(InputError, match=r"segment_codes: liver is .*expected e\.g\."):
        saved(tmp_path, tmp_path, drawn(), segment_codes={"liver": "10200004"})
    with pytest.raises(InputError, match="is no DICOM series; a DICOM SEG needs a DICOM series"):
        saved(tmp_path, tmp_path / "a.nii.gz", drawn())
    folder = write(tmp_path / "in", slices(volume(), StudyInstanceUID=""))
    with pytest.raises(InputError, match="StudyInstanceUID is empty, so that a DICOM SEG cannot refer to it"):
        saved(tmp_path, folder, drawn())
    with pytest.raises(InputError, match=r"the result has shape \(3, 3, 3\), the series \(40, 34, 6\)"):
        saved(tmp_path, write(tmp_path / "b", slices(volume(), "b")), drawn((3, 3, 3)))

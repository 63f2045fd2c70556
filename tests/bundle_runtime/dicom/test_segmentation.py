"""DICOM SEG out: read back voxel by voxel through highdicom and through this project's own reader."""

import json
import logging
from pathlib import Path
from typing import Any

import dicom_rules
import highdicom as hd
import numpy as np
import pytest
import torch
from bundle_runtime.data.volume import read_volume
from bundle_runtime.dicom.segmentation import SaveImageSegmentationd
from bundle_runtime.dicom.structures import paint, read_structures
from bundle_runtime.weights.io import sha256_of
from custom_components.errors import InputError
from dicom_files import enhanced, slices, volume, write

NAMES = ["background", "liver", "right kidney", "oddity"]
SAGITTAL = (0.0, 1, 0, 0, 0, -1)


def drawn(shape: tuple[int, int, int] = (40, 34, 6)) -> np.ndarray:
    labels = np.random.default_rng(5).integers(0, 4, shape).astype(np.uint8)
    labels[..., 2] = 0  # a slice without anything
    return labels


def saved(folder: Path, image: Path | str, labels: np.ndarray, **settings: Any) -> Path:
    (folder / "metadata.json").write_text(json.dumps({"name": "Abdomen", "version": "1.2.3"}))
    (folder / "model.pt").write_bytes(b"weights")
    save = SaveImageSegmentationd(
        str(folder / "out"), NAMES, str(folder / "metadata.json"), str(folder / "model.pt"), **settings
    )
    item = save({"pred": torch.from_numpy(labels)[None], "file": str(image), "case": "P 1"})
    return Path(item["pred_segmentation"])


@pytest.mark.parametrize("orientation", [(1.0, 0, 0, 0, 1, 0), SAGITTAL, (0.8, 0.6, 0, -0.6, 0.8, 0)])
@pytest.mark.parametrize("tilt", [0, 0.5])
def test_voxels_are_where_they_were(tmp_path: Path, orientation: Any, tilt: float) -> None:
    folder = write(tmp_path / "in", slices(volume(), orientation=orientation, tilt=tilt))
    image, _ = read_volume(str(folder))
    labels = drawn()
    file = saved(tmp_path, folder, labels)
    structures = read_structures(str(file), image.affine, image.shape)
    again, lacking, notes = paint(structures, NAMES, image.shape, {})
    np.testing.assert_array_equal(again, labels)
    assert (lacking, notes) == ([], [])


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


def test_an_enhanced_object_and_own_codes(tmp_path: Path) -> None:
    parts = slices(volume())
    folder = write(tmp_path / "in", [enhanced(parts, [3, 0, 5, 1, 2, 4])])
    own = {"oddity": {"type": ["123", "SCT", "Odd"], "side": ["7771000", "SCT", "Left"]}}
    file = saved(tmp_path, folder, drawn(), segment_codes=own)
    image, _ = read_volume(str(folder))
    again, *_ = paint(read_structures(str(file), image.affine, image.shape), NAMES, image.shape, {})
    np.testing.assert_array_equal(again, drawn())
    assert hd.seg.segread(file).get_segment_description(3).segmented_property_type.value == "123"


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

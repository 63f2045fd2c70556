"""Structured reports and captures: read back through highdicom and pydicom, and checked by the standard's rules."""

import json
from pathlib import Path
from typing import Any

import dicom_rules
import highdicom as hd
import numpy as np
import pydicom
import pytest
from bundle_runtime.data.inference import InferenceInputs
from bundle_runtime.dicom.report import StudyResults
from bundle_runtime.scores.prediction_table import PredictionTable
from bundle_runtime.weights.io import sha256_of
from custom_components.errors import InputError
from picture_files import dataset, encoded, png, shades
from PIL import Image
from pydicom.uid import generate_uid

NAMES = ["mass", "odd"]


def picture(folder: Path, name: str, study: str = "1.2.3", **elements: Any) -> Path:
    about = {
        "StudyInstanceUID": study,
        "SOPInstanceUID": generate_uid(entropy_srcs=[name]),
        "SeriesInstanceUID": f"{study}.1",
        "PatientID": "p1",
        **elements,
    }
    path = folder / f"{name}.dcm"
    path.write_bytes(encoded(dataset(shades(), **about)))
    return path


def reported(
    folder: Path, files: list[Path], rows: dict[int, list[float]], task: str = "multi_label", **settings: Any
) -> list[str]:
    (folder / "metadata.json").write_text(json.dumps({"name": "Chest", "version": "1.2.3"}))
    (folder / "model.pt").write_bytes(b"weights")
    items = [{"file": str(file), "case": file.stem, "patient_id": "p"} for file in files]
    table = PredictionTable(NAMES, task, items, folder / "out")
    table.rows = rows
    inputs = InferenceInputs(folder / "failed")
    places = (str(folder / "out"), str(folder / "metadata.json"), str(folder / "model.pt"))
    StudyResults(table, inputs, *places, **settings)._write(None)  # type: ignore[arg-type]
    return [problem.message for problem in inputs.problems]


def groups(path: Path) -> list[Any]:
    report = hd.sr.srread(path)
    return list(report.content.get_image_measurement_groups())


def test_probabilities_and_findings_of_each_picture(tmp_path: Path) -> None:
    files = [picture(tmp_path, "a"), picture(tmp_path, "b"), picture(tmp_path, "c", "1.2.4")]
    own = {"mass": {"type": ["4147007", "SCT", "Mass"]}}
    reported(tmp_path, files, {0: [0.9, 0.2], 1: [0.1, 0.7], 2: [0.5, 0.25]}, codes=own)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["1.2.3_sr.dcm", "1.2.4_sr.dcm"]
    first, second = groups(tmp_path / "out" / "1.2.3_sr.dcm")
    source = [pydicom.dcmread(file) for file in files]
    for group, file, row, said in (
        (first, 0, [0.9, 0.2], ["Present", "Absent"]),
        (second, 1, [0.1, 0.7], ["Absent", "Present"]),
    ):
        assert [m.value for m in group.get_measurements()] == row
        assert [m.name.value for m in group.get_measurements()] == ["4147007", "ODD"]
        assert [e.value.meaning for e in group.get_qualitative_evaluations()] == said
        assert group.source_images[0].referenced_sop_instance_uid == source[file].SOPInstanceUID
    report = hd.sr.srread(tmp_path / "out" / "1.2.3_sr.dcm")
    assert (report.PatientID, report.StudyInstanceUID, report.CompletionFlag) == ("p1", "1.2.3", "COMPLETE")
    assert report.VerificationFlag == "UNVERIFIED"
    assert sha256_of(tmp_path / "model.pt") in report.to_json()
    assert "1.2.3" in str(report.ContentSequence)
    assert dicom_rules.kind(tmp_path / "out" / "1.2.3_sr.dcm") == "ComprehensiveSR"


def test_the_likeliest_class(tmp_path: Path) -> None:
    reported(tmp_path, [picture(tmp_path, "a")], {0: [0.4, 0.6]}, "multi_class")
    (group,) = groups(tmp_path / "out" / "1.2.3_sr.dcm")
    (said,) = group.get_qualitative_evaluations()
    assert (said.name.meaning, said.value.meaning) == ("Likeliest class", "odd")
    assert dicom_rules.kind(tmp_path / "out" / "1.2.3_sr.dcm") == "ComprehensiveSR"


def captured(folder: Path, files: list[Path], **settings: Any) -> list[str]:
    """As `reported`, of attention pictures that lie in the folder `pictures`."""
    for number, file in enumerate(files):
        png(folder / "pictures" / f"{number}_{file.stem}.png", shades(30, 70, number, channels=3))
    settings |= {"output_format": "dicom_sc", "pictures": str(folder / "pictures")}
    return reported(folder, files, {place: [0.5, 0.5] for place in range(len(files))}, **settings)


def test_attention_pictures_as_captures_in_their_studies(tmp_path: Path) -> None:
    files = [picture(tmp_path, "a"), picture(tmp_path, "b", "1.2.4"), picture(tmp_path, "c")]
    assert captured(tmp_path, files) == []
    made = ["1.2.3_sc1.dcm", "1.2.3_sc2.dcm", "1.2.4_sc1.dcm"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == made
    read = [pydicom.dcmread(tmp_path / "out" / name) for name in made]
    for capture, number in zip(read, (0, 2, 1), strict=True):
        source = pydicom.dcmread(files[number])
        with Image.open(tmp_path / "pictures" / f"{number}_{files[number].stem}.png") as drawn:
            np.testing.assert_array_equal(capture.pixel_array, np.asarray(drawn))
        assert capture.PhotometricInterpretation == "RGB"
        assert (capture.StudyInstanceUID, capture.PatientID) == (source.StudyInstanceUID, "p1")
        assert capture.SourceImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
        assert capture.DeviceSerialNumber == sha256_of(tmp_path / "model.pt")[:16]
    assert read[0].SeriesInstanceUID == read[1].SeriesInstanceUID != read[2].SeriesInstanceUID
    assert [capture.InstanceNumber for capture in read] == [1, 2, 1]
    assert {dicom_rules.kind(tmp_path / "out" / name) for name in made} == {"SCImage"}


def test_a_capture_names_nobody_whom_a_report_does_not_name(tmp_path: Path) -> None:
    named = {
        "PatientName": "Doe^Jane", "PatientBirthDate": "19700203", "AccessionNumber": "A77", "StudyDate": "20260102",
        "ReferringPhysicianName": "Roe^Ray", "PatientAddress": "7 Elm Street", "OtherPatientIDs": "OTHER9",
        "OperatorsName": "Tech^Tom", "PerformingPhysicianName": "Ace^Ann", "PatientTelephoneNumbers": "555123",
        "InstitutionAddress": "9 Oak Road", "RequestingPhysician": "Poe^Pat", "PatientComments": "knows the mayor",
    }  # fmt: skip
    file = picture(tmp_path, "a", **named)
    captured(tmp_path, [file])
    reported(tmp_path, [file], {0: [0.5, 0.5]})
    capture, report = ((tmp_path / "out" / f"1.2.3_{kind}.dcm").read_bytes() for kind in ("sc1", "sr"))
    told = {key for key, value in named.items() if value.encode() in capture}
    assert {"PatientName", "AccessionNumber"} <= told <= {k for k, value in named.items() if value.encode() in report}
    assert told <= set(list(named)[:5])


def test_pictures_without_a_study_are_named_and_the_others_reported(tmp_path: Path) -> None:
    files = [png(tmp_path / "a.png"), picture(tmp_path, "b"), picture(tmp_path, "c", "")]
    failed = reported(tmp_path, files, {0: [0.5, 0.5], 1: [0.5, 0.5], 2: [0.5, 0.5]})
    assert failed[0].startswith("is no DICOM file, so that it belongs to no study")
    assert failed[1].startswith("StudyInstanceUID is empty, so that a structured report cannot refer to it")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["1.2.3_sr.dcm"]
    assert "so that a secondary capture cannot refer to it" in captured(tmp_path, files)[1]


def test_wrong_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="output_format is 'sr'; choose one of csv, dicom_sr, dicom_sc"):
        reported(tmp_path, [], {}, output_format="sr")
    with pytest.raises(InputError, match="finding_codes: 'liver' is not among the classes"):
        reported(tmp_path, [], {}, codes={"liver": {"type": ["1", "SCT", "x"]}})

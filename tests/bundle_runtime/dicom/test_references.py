import json
from pathlib import Path

import pytest
from bundle_runtime.dicom.references import model_of, source_header
from bundle_runtime.weights.io import sha256_of
from custom_components.errors import InputError
from dicom_files import slices, volume, write


def test_a_model_is_its_name_version_and_weights(tmp_path: Path) -> None:
    (tmp_path / "metadata.json").write_text(json.dumps({"name": "Abdomen", "version": "1.2.3"}))
    (tmp_path / "model.pt").write_bytes(b"weights")
    found = model_of(str(tmp_path / "metadata.json"), str(tmp_path / "model.pt"))
    assert found == {"name": "Abdomen", "version": "1.2.3", "weights_sha256": sha256_of(tmp_path / "model.pt")}


def test_what_may_be_empty_is_there_and_what_may_not_is_asked_for(tmp_path: Path) -> None:
    (data,) = slices(volume((8, 8, 1)))
    del data.PatientName
    file = next(write(tmp_path / "in", [data]).iterdir())
    assert source_header(str(file), "the file", ["StudyInstanceUID"], "a report").PatientName == ""
    data.StudyInstanceUID = ""
    file = next(write(tmp_path / "other", [data]).iterdir())
    with pytest.raises(InputError, match="the file: StudyInstanceUID is empty, so that a report cannot refer to it"):
        source_header(str(file), "the file", ["StudyInstanceUID"], "a report")

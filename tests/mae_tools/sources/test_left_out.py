"""What is said of files that come into no list; every source in `test_registry.py`."""

from pathlib import Path

import pytest
from bundle_runtime.data.find import files_below
from mae_tools.sources.left_out import by_kind, is_document
from picture_trees import touch


def test_files_are_named_by_what_they_are(tmp_path: Path) -> None:
    touch(tmp_path, "a.nii", "b.NRRD", "c.mnc", "notes.txt", "IM0001", "p.png")
    (tmp_path / "1.2.840.7").write_bytes(bytes(128) + b"DICM")
    files = files_below(tmp_path)
    assert by_kind(tmp_path, [file for file in files if not is_document(file)]) == (
        "1 DICOM (1.2.840.7), 1 without ending (IM0001), 1 .nii (a.nii), 1 .nrrd (b.NRRD), 1 MINC (c.mnc), "
        "1 .png (p.png)"
    )
    packed = ["x/a.nii.gz", "x/b.nii.gz", "c.NII.GZ"]
    assert by_kind(tmp_path, packed) == "3 .nii.gz (x/a.nii.gz, x/b.nii.gz and 1 more)"


@pytest.mark.parametrize("name", ["notes.txt", "x/README", "license.md", "Labels.CSV", "a.geojson", "DICOMDIR"])
def test_words_and_tables_are_no_images(name: str) -> None:
    assert is_document(name)


@pytest.mark.parametrize("name", ["a.png", "readme_scan.nii", "IM0001", "a.mnc", "a.txt.png", "a.h5"])
def test_what_may_be_an_image_is_no_document(name: str) -> None:
    assert not is_document(name)

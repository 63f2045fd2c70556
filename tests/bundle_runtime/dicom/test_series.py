"""DICOM series as volumes: voxels and affine against ITK and the standard's formula, and every uneven stack named."""

import copy
from pathlib import Path
from typing import Any

import itk
import numpy as np
import pydicom
import pytest
from bundle_runtime.data.datalist import fingerprint
from bundle_runtime.data.load_volumes import LoadVolumesd
from bundle_runtime.data.volume import UnusableError, read_volume
from bundle_runtime.dicom import pixels
from bundle_runtime.dicom.series import NoVolume, lay, scan, series_below
from dicom_files import enhanced, lps, slices, uid, volume, write
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.encaps import encapsulate
from pydicom.uid import MPEG2MPML, ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLosslessSV1, RLELossless

RAS = np.diag([-1.0, -1, 1, 1])
SAGITTAL = (0.0, 1, 0, 0, 0, -1)
STORED = volume()


def through_itk(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    names = itk.GDCMSeriesFileNames.New()
    names.SetDirectory(str(folder))
    image = itk.imread(list(names.GetFileNames(names.GetSeriesUIDs()[0])))
    affine = np.eye(4)
    affine[:3, :3] = itk.array_from_matrix(image.GetDirection()) @ np.diag(list(image.GetSpacing()))
    affine[:3, 3] = list(image.GetOrigin())
    return itk.array_from_image(image).T, RAS @ affine


@pytest.mark.parametrize("syntax", [None, RLELossless, JPEG2000Lossless])
@pytest.mark.parametrize("orientation", [(1.0, 0, 0, 0, 1, 0), SAGITTAL, (0.8, 0.6, 0, -0.6, 0.8, 0)])
def test_voxels_and_affine_are_those_of_itk_and_of_the_standard(tmp_path: Path, orientation: Any, syntax: Any) -> None:
    write(tmp_path, slices(STORED, orientation=orientation), syntax)
    image, voxels = read_volume(str(tmp_path))
    values, affine = through_itk(tmp_path)
    np.testing.assert_array_equal(voxels, values)
    np.testing.assert_array_equal(voxels, STORED.astype(int) - 1024)
    np.testing.assert_allclose(image.affine, affine, atol=1e-5)
    np.testing.assert_allclose(image.affine, RAS @ lps((40, 34, 6), (0.8, 0.9, 2.5), orientation, (-10, -20, 30)))
    np.testing.assert_allclose(image.get_qform(), image.affine, atol=1e-5)
    assert voxels.dtype == np.int16


def test_real_series_are_read_as_itk_reads_them(real_data: Path) -> None:
    sarcomas = [f"STS_{number}/{kind}/image" for number in ("002", "003", "008") for kind in ("CT", "MR_T1")]
    others = ("mr_brain_series_Study1", "mr_brain_series_Study2", "ct_abdomen_series_totalsegmentator")
    for place in (*(f"dicom_rtstruct/dicom/{name}" for name in sarcomas), *(f"dicom/{name}" for name in others)):
        image, voxels = read_volume(str(real_data / place))
        values, affine = through_itk(real_data / place)
        np.testing.assert_array_equal(voxels, values)
        np.testing.assert_allclose(image.affine, affine, atol=1e-4)


def test_a_scale_of_its_own_for_each_slice(tmp_path: Path) -> None:
    parts = slices(STORED)
    for number, data in enumerate(parts):
        data.RescaleSlope = 0.5 + number
    _, voxels = read_volume(str(write(tmp_path, parts)))
    np.testing.assert_array_equal(voxels, (STORED * (0.5 + np.arange(6)) - 1024).astype(np.float32))
    assert voxels.dtype == np.float32


def test_the_type_holds_every_value_of_every_slice(tmp_path: Path) -> None:
    """Floats stay floats, and no value wraps because the header of another slice, or its own, gives fewer bits."""
    parts = slices(STORED, RescaleIntercept=0)
    for data, number in zip(parts, range(6), strict=True):
        data.FloatPixelData = (STORED[..., number].T + np.float32(0.25)).astype("<f4").tobytes()
        data.BitsAllocated = 32
        del data.PixelData, data.BitsStored, data.HighBit, data.PixelRepresentation
    _, voxels = read_volume(str(write(tmp_path / "float", parts)))
    assert voxels.dtype == np.float32
    np.testing.assert_array_equal(voxels, STORED + np.float32(0.25))
    high = STORED.astype(np.uint16)
    high[0, 0, 5] = 65535
    parts = slices(high, RescaleIntercept=0, BitsStored=16, HighBit=15)
    for data in parts[:5]:
        data.BitsStored, data.HighBit = 12, 11
    _, voxels = read_volume(str(write(tmp_path / "bits", parts)))
    assert voxels.dtype == np.int32
    np.testing.assert_array_equal(voxels, high)


def test_an_enhanced_object_is_the_same_volume(tmp_path: Path) -> None:
    parts = slices(STORED, orientation=SAGITTAL)
    plain, voxels = read_volume(str(write(tmp_path / "plain", parts)))
    write(tmp_path / "whole", [enhanced(parts, [3, 0, 5, 1, 2, 4])])
    (file,) = (tmp_path / "whole").iterdir()
    for path in (tmp_path / "whole", file):
        image, same = read_volume(str(path))
        np.testing.assert_array_equal(same, voxels)
        np.testing.assert_allclose(image.affine, plain.affine)


def _without(*numbers: int) -> Any:
    return lambda parts: [part for number, part in enumerate(parts) if number not in numbers]


def _changed(number: int, **elements: Any) -> Any:
    def change(parts: list[Any]) -> list[Any]:
        for key, value in elements.items():
            setattr(parts[number], key, value)
        return parts

    return change


def _again(*numbers: int) -> Any:
    def change(parts: list[Any]) -> list[Any]:
        more = [copy.deepcopy(parts[number]) for number in numbers]
        for data in more:
            data.SOPInstanceUID += "9"
        return parts + more

    return change


WRONG = {
    "a slice is missing": (_without(2), r"lacks 1 slice\(s\), the first between 32\.5 and 37\.5 mm"),
    "several are": (_without(1, 3), r"lacks 2 slice"),
    "one is doubled": (_again(2), r"has doubled slices, at 35 mm"),
    "two volumes": (_again(*range(6)), r"holds 2 images in each of 6 places \(echoes"),
    "uneven": (_changed(5, ImagePositionPatient=[-10, -20, 43.5]), r"at uneven distances, 2\.5 to 3\.5 mm"),
    "one off the line": (_changed(3, ImagePositionPatient=[-4, -20, 37.5]), r"lie up to 6 mm off the line"),
    "another size": (_changed(1, Rows=40, Columns=34), r"different sizes \(34 x 40, 40 x 34 pixels\)"),
    "another direction": (_changed(1, ImageOrientationPatient=[0, 1, 0, 0, 0, -1]), r"2 different directions"),
    "another pixel spacing": (_changed(1, PixelSpacing=[2, 2]), r"2 different pixel spacings"),
    "no place": (_changed(1, ImagePositionPatient=None), r"lacks ImagePositionPatient"),
    "two patients": (_changed(1, PatientID="other"), r"holds files of 2 patients"),
    "a localiser": (_changed(1, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), r"is a localiser"),
    "a single slice": (_without(1, 2, 3, 4, 5), r"holds 1 slice"),
    "a modality table": (_changed(1, ModalityLUTSequence=[]), r"has a modality table"),
}


@pytest.mark.parametrize(("change", "text"), WRONG.values(), ids=WRONG.keys())
def test_what_is_no_even_stack_is_named(tmp_path: Path, change: Any, text: str) -> None:
    write(tmp_path, change(slices(STORED)))
    with pytest.raises(UnusableError, match=text):
        read_volume(str(tmp_path))
    (series,) = scan(map(str, tmp_path.iterdir())).series.values()
    with pytest.raises(UnusableError, match=text):  # the headers alone tell it as well
        series.stack()


def test_files_that_are_there_twice_are_said_to_be_copies(tmp_path: Path) -> None:
    write(tmp_path / "a", slices(STORED))
    write(tmp_path / "b", slices(STORED)[:4])
    (series,) = scan(map(str, tmp_path.rglob("*.dcm"))).series.values()
    with pytest.raises(
        UnusableError, match=r"doubled slices.*; 4 of its 10 files repeat the SOPInstanceUID of another"
    ):
        series.stack()


def test_a_tilted_gantry_is_a_skewed_grid_with_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, slices(STORED, tilt=0.5))
    image, _ = read_volume(str(tmp_path))
    np.testing.assert_allclose(image.affine[:3, 2], [0, -0.5, 2.5])
    LoadVolumesd("image")({"image": str(tmp_path), "case": "a"})
    assert "has axes 11.3 degrees off right angles (gantry tilt)" in capsys.readouterr().err


def test_several_series_in_one_folder_are_told_apart(tmp_path: Path) -> None:
    write(tmp_path, slices(STORED), ending="")
    other = volume((5, 4, 3), seed=1)
    write(tmp_path, slices(other, "b", SeriesDescription="thin"), ending=".IMA")
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(UnusableError, match=r"holds 2 series \(CT 3 .*thin \(3 slices\).*name a file of the one"):
        read_volume(str(tmp_path))
    found, _ = series_below(tmp_path, [path.name for path in tmp_path.iterdir()])
    read = {path: read_volume(path)[1] for path in found}
    assert sorted(voxels.shape for voxels in read.values()) == [(5, 4, 3), (40, 34, 6)]
    for voxels in read.values():
        np.testing.assert_array_equal(voxels, (other if voxels.shape[0] == 5 else STORED).astype(int) - 1024)


BAD_FILES = {
    "truncated pixels": (lambda content: content[:-40], "is truncated or damaged"),
    "truncated header": (lambda content: content[:700], "is (truncated or damaged|not a DICOM file)|has no pixel data"),
    "encrypted": (lambda content: bytes(255 - byte for byte in content), "is not a DICOM file"),
    "empty": (lambda content: b"", "is not a DICOM file"),
}


@pytest.mark.parametrize(("change", "text"), BAD_FILES.values(), ids=BAD_FILES.keys())
def test_a_bad_file_is_named(tmp_path: Path, change: Any, text: str) -> None:
    write(tmp_path, slices(STORED))
    file = sorted(tmp_path.iterdir())[0]
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(UnusableError, match=text) as caught:
        read_volume(str(tmp_path))
    assert "\n" not in str(caught.value)


def _compressed(parts: list[Any], syntax: Any) -> list[Any]:
    """A slice in the middle is of a syntax that nothing here decodes."""
    parts[2].file_meta.TransferSyntaxUID = syntax
    parts[2].PixelData = encapsulate([b"rubbish!"])
    parts[2]["PixelData"].VR = "OB"
    parts[2]["PixelData"].is_undefined_length = True
    return parts


@pytest.mark.parametrize(
    ("syntax", "text"),
    [
        (
            JPEGLosslessSV1,
            r"IM010_2\.dcm: is compressed as JPEG Lossless.*, which needs the package itk-io; install it",
        ),
        (JPEG2000Lossless, r"IM010_2\.dcm: .*JPEG 2000.*needs the package pylibjpeg-openjpeg; install it, or export"),
        (MPEG2MPML, r"IM010_2\.dcm: its transfer syntax MPEG2.* is not supported; export the file without compression"),
    ],
)
def test_a_series_of_a_syntax_that_nothing_here_decodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, syntax: Any, text: str
) -> None:
    """Its headers are sound, so it is found, and refused with what would read it when it is read."""
    folder = write(tmp_path / "P1", _compressed(slices(STORED), syntax))
    found, others = series_below(tmp_path, [f"P1/{path.name}" for path in folder.iterdir()])
    assert list(found) == [str(folder)]
    assert not others.refused
    monkeypatch.setattr(pixels.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UnusableError, match=text):
        read_volume(str(folder))


def test_encrypted_attributes_are_named(tmp_path: Path) -> None:
    """As the standard hides them (part 15, annex E): in a sequence, what they were is gone; other attributes stay."""
    parts = slices(STORED)
    hidden = pydicom.Dataset()
    hidden.EncryptedContentTransferSyntaxUID, hidden.EncryptedContent = ExplicitVRLittleEndian, b"\x30\x80" * 40
    for data in parts:
        data.EncryptedAttributesSequence = [hidden]
    assert read_volume(str(write(tmp_path / "names only", parts)))[1].shape == (40, 34, 6)
    for data in parts:
        for key in ("PixelData", "Rows", "Columns"):
            del data[key]
    folder = write(tmp_path / "pixels too", parts)
    with pytest.raises(UnusableError, match=r"IM000_0\.dcm has no pixel data \(encrypted\?\); export or copy it again"):
        read_volume(str(folder))
    found, others = series_below(tmp_path, [f"pixels too/{path.name}" for path in folder.iterdir()])
    assert not found
    assert set(others.refused.values()) == {"has no pixel data (encrypted?)"}
    assert others.damaged == set(others.refused)


def test_colour_is_no_volume_and_empty_uids_are_one_series_a_folder(tmp_path: Path) -> None:
    parts = slices(STORED, SeriesInstanceUID="", StudyInstanceUID="", SOPInstanceUID="1.2")
    assert read_volume(str(write(tmp_path / "a", parts)))[1].shape == (40, 34, 6)
    colour = slices(STORED)
    for data in colour:
        data.SamplesPerPixel, data.PhotometricInterpretation, data.PlanarConfiguration = 3, "RGB", 0
    write(tmp_path / "b", colour)
    with pytest.raises(NoVolume, match="is a colour picture"):
        next(iter(scan(map(str, (tmp_path / "b").iterdir())).series.values())).stack()


def test_the_fingerprint_is_that_of_the_files_read_or_not(tmp_path: Path) -> None:
    write(tmp_path / "a", slices(STORED))
    seen: dict[str, str] = {}
    read_volume(str(tmp_path / "a"), seen)

    class Reading:
        def edges(self, file: str) -> str | None:
            return seen.get(file)

    item = {"image": str(tmp_path / "a")}
    before = fingerprint([item])
    assert fingerprint([item], Reading()) == before
    write(tmp_path / "a", slices(volume(seed=3)))
    assert fingerprint([item]) != before


@settings(deadline=None, max_examples=40)
@given(st.permutations(range(6)), st.sampled_from([SAGITTAL, (1.0, 0, 0, 0, 1, 0)]))
def test_the_order_of_files_does_not_matter(order: list[int], orientation: Any) -> None:
    parts = slices(STORED, orientation=orientation)
    found = []
    for chosen in (range(6), order):
        (series,) = [next(iter(_scanned([parts[number] for number in chosen]).values()))]
        found.append(lay(series.frames))
    assert [frame.position for frame in found[0].frames] == [frame.position for frame in found[1].frames]
    np.testing.assert_array_equal(found[0].affine, found[1].affine)


def _scanned(parts: list[pydicom.Dataset]) -> dict[str, Any]:
    from bundle_runtime.dicom.series import Export

    export = Export()
    for number, part in enumerate(parts):
        export.add(part, f"f{number}", with_pixels=True)
    return export.series


def test_names_with_anything_in_them(tmp_path: Path) -> None:
    folder = tmp_path / "a b #1 100% Ü" / ("x" * 200)
    write(folder, slices(STORED, SeriesDescription="Ü" * 20, SeriesInstanceUID=uid("odd")))
    assert read_volume(str(folder))[1].shape == (40, 34, 6)

import gzip
from pathlib import Path

import itk
import nibabel as nib
import numpy as np
import pytest
from bundle_runtime.data.verify import edges
from bundle_runtime.data.volume import UnusableError, corner_shift, read_volume, skew, stored_shape, turned_like
from dicom_files import slices, volume
from dicom_files import write as write_slices
from hypothesis import given
from hypothesis import strategies as st
from nifti_files import save


def test_reading_keeps_integers_and_the_ends_of_the_file(tmp_path: Path) -> None:
    seen: dict[str, str] = {}
    image, data = read_volume(str(save(tmp_path / "a.nii.gz", shape=(5, 4, 3, 2))), seen)
    assert (data.dtype, data.shape) == (np.int16, (5, 4, 3, 2))
    assert seen == {str(tmp_path / "a.nii.gz"): edges((tmp_path / "a.nii.gz").read_bytes())}
    assert np.array_equal(data, nib.load(tmp_path / "a.nii.gz").get_fdata())
    assert image.shape == data.shape
    with pytest.raises(UnusableError, match="does not exist"):
        read_volume(str(tmp_path / "b.nii.gz"))


@given(st.floats(-20, 20), st.sampled_from([0.5, 2.0]))
def test_corner_shift_is_in_voxels(shift: float, edge: float) -> None:
    one = np.diag([edge, edge, 3, 1])
    other = one.copy()
    other[0, 3] = shift
    assert corner_shift(one, other, (4, 5, 6)) == pytest.approx(abs(shift) / edge)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_both_versions_of_nifti_are_read_from_their_content(tmp_path: Path, name: str) -> None:
    for kind in (nib.Nifti1Image, nib.Nifti2Image):
        nib.save(kind(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.eye(4)), tmp_path / name)
        image, data = read_volume(str(tmp_path / name))
        assert (type(image), data.sum()) == (kind, 276)
    nib.save(nib.MGHImage(np.zeros((2, 3, 4), np.float32), np.eye(4)), tmp_path / "a.mgz")
    with pytest.raises(UnusableError, match="is no NIfTI, NRRD, MetaImage or DICOM file"):
        read_volume(str(tmp_path / "a.mgz"))


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha", "a.mhd", "a.nhdr", "A.NII.GZ"])
def test_other_formats_are_the_same_volume(tmp_path: Path, name: str) -> None:
    plain = save(
        tmp_path / "plain.nii.gz", affine=np.array([[0, -2.0, 0, 5], [2, 0, 0, -7], [0, 0, 3, 11], [0, 0, 0, 1]])
    )
    itk.imwrite(itk.imread(str(plain)), str(tmp_path / name.lower()), compression=True)
    (tmp_path / name.lower()).rename(tmp_path / name)
    image, voxels = read_volume(str(plain))
    seen: dict[str, str] = {}
    other, same = read_volume(str(tmp_path / name), seen)
    np.testing.assert_array_equal(same, voxels)
    np.testing.assert_allclose(other.affine, image.affine, atol=1e-5)
    assert list(seen) == [str(tmp_path / name)]


def test_integers_of_64_bits_are_read_or_refused_in_a_sentence(tmp_path: Path) -> None:
    stored = np.arange(24, dtype=np.uint64).reshape(2, 3, 4)
    header = "ObjectType = Image\nNDims = 3\nDimSize = 4 3 2\nElementType = {}\nElementDataFile = LOCAL\n"
    (tmp_path / "a.mha").write_bytes(header.format("MET_ULONG_LONG").encode() + stored.tobytes())
    image, voxels = read_volume(str(tmp_path / "a.mha"))
    np.testing.assert_array_equal(voxels, stored.T)
    assert image.shape == (4, 3, 2)
    (tmp_path / "a.mha").write_bytes(header.format("MET_LONG_LONG").encode() + stored.tobytes())
    with pytest.raises(UnusableError, match=r"has voxels of a type that ITK does not read \(int64\?\); store"):
        read_volume(str(tmp_path / "a.mha"))


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha"])
def test_a_truncated_file_of_another_format_is_refused(tmp_path: Path, name: str) -> None:
    itk.imwrite(itk.image_from_array(np.arange(6000, dtype=np.int16).reshape(10, 20, 30)), str(tmp_path / name))
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-2000])
    with pytest.raises(UnusableError, match="cannot be read"):
        read_volume(str(tmp_path / name))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(13, "Permission denied", "a.nii"), "cannot be read (Permission denied)"),
        (OSError(5, "Input/output error"), "cannot be read (Input/output error)"),
        (MemoryError(), "cannot be read (Memory ran out; take fewer --num_workers"),
        (EOFError("ended"), "is truncated or damaged (ended); copy"),
    ],
)
def test_a_machine_that_fails_is_not_blamed_on_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    def broken(*_: object) -> bytes:
        raise error

    monkeypatch.setattr(Path, "read_bytes", broken)
    write_slices(tmp_path / "series", slices(volume()))
    for name in ("a.nii", "series"):
        with pytest.raises(UnusableError) as caught:
            read_volume(str(tmp_path / name))
        assert said in str(caught.value)


@given(st.floats(0, 40))
def test_skew_is_the_angle_of_a_tilted_gantry(tilt: float) -> None:
    affine = np.diag([0.7, 0.7, 3, 1])
    affine[1, 2] = 3 * np.tan(np.radians(tilt))
    assert skew(affine) == pytest.approx(tilt, abs=1e-4)
    assert skew(affine[:, [2, 0, 1, 3]]) == pytest.approx(tilt, abs=1e-4)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize(("unit", "factor"), [("meter", 1000), ("mm", 1), ("micron", 0.001), ("unknown", 1)])
def test_units_of_the_header_become_millimetres(tmp_path: Path, kind: type, unit: str, factor: float) -> None:
    expected = np.array([[0, 2.0, 0, 7], [3, 0, 0, 8], [0, 0, -5, 9], [0, 0, 0, 1]])
    affine = expected / np.array([[factor]] * 3 + [[1]])
    image = kind(np.arange(24, dtype=np.int16).reshape(2, 3, 4), affine)
    image.set_qform(affine, 1)
    image.header.set_xyzt_units(unit, "sec")
    nib.save(image, tmp_path / "a.nii.gz")
    found, voxels = read_volume(str(tmp_path / "a.nii.gz"))
    assert np.allclose(found.affine, expected, rtol=1e-5)
    assert np.allclose(found.get_qform(), found.affine, atol=1e-4)
    assert np.allclose(found.header.get_zooms(), (3, 2, 5))
    assert found.header.get_xyzt_units() == ("unknown" if unit == "unknown" else "mm", "sec")
    assert np.array_equal(voxels, image.dataobj)


_NRRD = (
    "NRRD0005\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 2 3 4\nendian: little\n"
    "space directions: (2,0,0) (0,2,0) (0,0,3)\nkinds: domain domain domain\nencoding: raw\n{}\n"
)
_META = (
    "ObjectType = Image\nNDims = 3\nBinaryData = True\nTransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 0 0 0\n"
    "{}ElementSpacing = 2 2 3\nDimSize = 2 3 4\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
)


@pytest.mark.parametrize(
    ("name", "said", "factor"),
    [
        ("a.nrrd", "", 1),
        ("a.nrrd", 'space units: "mm" "mm" "mm"\n', 1),
        ("a.nrrd", 'space units: "µm" "µm" "µm"\nsample units: "furlong"\n', 0.001),
        ("a.nrrd", 'space units: "Meters" "Meters" "Meters"\n', 1000),
        ("a.nrrd", 'space units: "inch" "inch" "inch"\n', None),
        ("a.nrrd", 'space units: "mm" "mm" "cm"\n', None),
        ("a.mha", "DistanceUnits = mm\n", 1),
        ("a.mha", "DistanceUnits = um\n", 0.001),
        ("a.mha", "DistanceUnits = ?\n", 1),
    ],
)
def test_units_of_nrrd_and_metaimage(tmp_path: Path, name: str, said: str, factor: float | None) -> None:
    """ITK takes every number for millimetres."""
    head = (_NRRD if name.endswith("nrrd") else _META).format(said)
    (tmp_path / name).write_bytes(head.encode() + np.arange(24, dtype="<i2").tobytes())
    if factor is None:
        with pytest.raises(UnusableError, match=r"unknown units of length (inch inch inch|mm mm cm), expected mm"):
            read_volume(str(tmp_path / name))
    else:
        found, _ = read_volume(str(tmp_path / name))
        assert np.allclose(np.abs(np.diag(found.affine))[:3], np.array([2, 2, 3]) * factor)
        assert np.allclose(found.header.get_zooms(), np.array([2, 2, 3]) * factor)


def test_an_unknown_unit_is_refused(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.zeros((2, 3, 4), np.int16), np.eye(4))
    image.header["xyzt_units"] = 5
    nib.save(image, tmp_path / "a.nii")
    with pytest.raises(UnusableError, match="unknown unit of length 5 in xyzt_units"):
        read_volume(str(tmp_path / "a.nii"))


@given(st.permutations("RAS"), st.tuples(st.booleans(), st.booleans(), st.booleans()), st.permutations("RAS"))
def test_axes_are_turned_like_those_of_another_image(one: list[str], flips: tuple[bool, ...], other: list[str]) -> None:
    """Against nibabel's own reorientation, and every voxel keeps its place."""
    codes = [{"R": "L", "A": "P", "S": "I"}[axis] if flip else axis for axis, flip in zip(one, flips, strict=True)]
    base = nib.Nifti1Image(np.arange(24).reshape(2, 3, 4).astype(np.int16), np.diag([2.0, 3, 4, 1]))
    starts, wanted = nib.io_orientation(base.affine), map(nib.orientations.axcodes2ornt, (codes, other))
    images = [base.as_reoriented(nib.orientations.ornt_transform(starts, goal)) for goal in wanted]
    turned, voxels = turned_like(images[0], np.asarray(images[0].dataobj), images[1])
    assert np.array_equal(voxels, images[1].dataobj)
    assert np.allclose(turned.affine, images[1].affine)
    assert turned_like(images[1], voxels, images[1])[0] is images[1]


@pytest.mark.parametrize("name", ["a.nii", "a.NII.GZ", "b.nii.gz", "c.nii"])
def test_the_content_tells_whether_a_file_is_packed(tmp_path: Path, name: str) -> None:
    """A gzip called .nii and the reverse are read as what they are."""
    image = nib.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.eye(4))
    packed = name in ("a.NII.GZ", "c.nii")
    (tmp_path / name).write_bytes(gzip.compress(image.to_bytes()) if packed else image.to_bytes())
    assert read_volume(str(tmp_path / name))[1].sum() == 276
    assert stored_shape(tmp_path / name) == (2, 3, 4)


def test_what_nibabel_mends_is_told_of_its_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = save(tmp_path / "a.nii", np.zeros((5, 4, 3), np.int16))
    content = bytearray(path.read_bytes())
    content[252:254] = np.int16(9).tobytes()  # a qform code that does not exist
    path.write_bytes(content)
    read_volume(str(path))
    assert caplog.messages == [f"warning: {path}: its header was mended: qform_code 9 not valid; setting to 0"]
    nib.Nifti1Image.from_bytes(bytes(content))
    assert caplog.messages[1] == "qform_code 9 not valid; setting to 0"  # nobody reads a file of ours then

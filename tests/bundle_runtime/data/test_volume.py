from pathlib import Path

import itk
import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nifti_files import save

from bundle_runtime.data.verify import edges
from bundle_runtime.data.volume import UnusableFile, corner_shift, millimetres, read_volume, skew


def test_reading_keeps_integers_and_the_ends_of_the_file(tmp_path: Path) -> None:
    seen: dict[str, str] = {}
    image, data = read_volume(str(save(tmp_path / "a.nii.gz", shape=(5, 4, 3, 2))), seen)
    assert (data.dtype, data.shape) == (np.int16, (5, 4, 3, 2))
    assert seen == {str(tmp_path / "a.nii.gz"): edges((tmp_path / "a.nii.gz").read_bytes())}
    assert np.array_equal(data, nib.load(tmp_path / "a.nii.gz").get_fdata())
    assert image.shape == data.shape
    with pytest.raises(UnusableFile, match="does not exist"):
        read_volume(str(tmp_path / "b.nii.gz"))


@given(st.floats(-20, 20), st.sampled_from([0.5, 2.0]))
def test_corner_shift_is_in_voxels(shift: float, edge: float) -> None:
    one = np.diag([edge, edge, 3, 1])
    other = one.copy()
    other[0, 3] = shift
    assert corner_shift(one, other, (4, 5, 6)) == pytest.approx(abs(shift) / edge)


def test_millimetres() -> None:
    assert millimetres((1.5, 1.5, 2)) == "1.5 x 1.5 x 2 mm"


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_both_versions_of_nifti_are_read_from_their_content(tmp_path: Path, name: str) -> None:
    for kind in (nib.Nifti1Image, nib.Nifti2Image):
        nib.save(kind(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.eye(4)), tmp_path / name)
        image, data = read_volume(str(tmp_path / name))
        assert (type(image), data.sum()) == (kind, 276)
    nib.save(nib.MGHImage(np.zeros((2, 3, 4), np.float32), np.eye(4)), tmp_path / "a.mgz")
    with pytest.raises(UnusableFile, match="is no NIfTI, NRRD, MetaImage or DICOM file"):
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


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha"])
def test_a_truncated_file_of_another_format_is_refused(tmp_path: Path, name: str) -> None:
    itk.imwrite(itk.image_from_array(np.arange(6000, dtype=np.int16).reshape(10, 20, 30)), str(tmp_path / name))
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-2000])
    with pytest.raises(UnusableFile, match="cannot be read"):
        read_volume(str(tmp_path / name))


@given(st.floats(0, 40))
def test_skew_is_the_angle_of_a_tilted_gantry(tilt: float) -> None:
    affine = np.diag([0.7, 0.7, 3, 1])
    affine[1, 2] = 3 * np.tan(np.radians(tilt))
    assert skew(affine) == pytest.approx(tilt, abs=1e-4)
    assert skew(affine[:, [2, 0, 1, 3]]) == pytest.approx(tilt, abs=1e-4)

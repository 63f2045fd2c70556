from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from nifti_files import save

from bundle_runtime.data.volume import UnusableFile, corner_shift, middle_planes, millimetres, read_volume


def test_reading_keeps_integers_and_counts_channels(tmp_path: Path) -> None:
    image, data, channels = read_volume(str(save(tmp_path / "a.nii.gz", shape=(5, 4, 3, 2))))
    assert (data.dtype, data.shape, channels) == (np.int16, (5, 4, 3, 2), 2)
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


@pytest.mark.parametrize("axes", ["RAS", "LPS", "LAS", "PIR"])
def test_planes_look_the_same_however_the_volume_is_stored(axes: str) -> None:
    volume = np.arange(6 * 5 * 4).reshape(6, 5, 4).astype(np.int16)
    label = np.zeros_like(volume)
    label[4, 1, 3] = 1  # right, back, top
    affine = np.diag([2.0, 2, 3, 1])
    turn = ornt_transform(io_orientation(affine), axcodes2ornt(axes))
    image, drawn = (nib.Nifti1Image(array, affine).as_reoriented(turn) for array in (volume, label))
    planes = middle_planes(image, np.asarray(image.dataobj), np.asarray(drawn.dataobj))
    assert [plane[0].shape for plane in planes] == [(4, 5), (4, 6), (5, 6)]
    assert [plane[2] for plane in planes] == [1.5, 1.5, 1.0]
    # The patient's right is on the left, the front on the left (sagittal) or on top (axial), the head on top.
    for plane, place in zip(planes, [(0, 3), (0, 1), (3, 1)], strict=True):
        assert plane[0][place] == volume[4, 1, 3]
        assert plane[1] is not None
        assert np.argwhere(plane[1]).tolist() == [list(place)]


def test_millimetres() -> None:
    assert millimetres((1.5, 1.5, 2)) == "1.5 x 1.5 x 2 mm"

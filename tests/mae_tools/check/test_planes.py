import nibabel as nib
import numpy as np
import pytest
from mae_tools.check.planes import middle_planes
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform


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

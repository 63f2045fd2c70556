import nibabel as nib
import numpy as np
import pytest
from mae_tools.demo_data.volumes import ORIENTATIONS, placed, scan, stored


@pytest.mark.parametrize("axes", ORIENTATIONS)
def test_a_volume_means_the_same_however_it_is_stored(axes: str) -> None:
    affine, _ = placed(np.random.default_rng(0), (4, 5, 6), np.array([2.0, 3, 4]))
    voxels = np.arange(120, dtype=np.int16).reshape(4, 5, 6)
    image = stored(voxels, affine, axes)
    assert "".join(nib.aff2axcodes(image.affine)) == axes
    again = nib.as_closest_canonical(image)
    assert np.array_equal(np.asarray(again.dataobj), voxels)
    np.testing.assert_allclose(again.affine, affine, rtol=1e-6)
    assert image.header.get_xyzt_units()[0] == "mm"


def test_a_scan_blurs_and_adds_noise_of_the_given_size() -> None:
    block = np.zeros((24, 24, 24))
    block[12:] = 100
    scanned = scan(np.random.default_rng(0), block, blur=0.6, noise=5.0)
    assert scanned[:8].std() == pytest.approx(5, rel=0.1)
    assert 10 < scanned[11].mean() < 40

"""The small picture of a body: the same however the volume is stored, flipped where the volume is."""

import nibabel as nib
import numpy as np
import pytest
from bundle_runtime.data.body import coarse_picture
from bundle_runtime.data.flips import SIDE
from head_files import FLIPS, RAS, draw, picture
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform


@pytest.mark.parametrize("axes", ["RAS", "LPS", "ASL"])
def test_a_picture_is_the_same_however_the_volume_is_stored(axes: str) -> None:
    volume = draw()[0]["t1"]
    image = nib.Nifti1Image(volume, RAS)
    turned = image.as_reoriented(ornt_transform(io_orientation(RAS), axcodes2ornt(axes)))
    one, other = picture(volume), picture(np.asarray(turned.dataobj), turned.affine)
    assert one.shape == (SIDE, SIDE, SIDE)
    assert np.allclose(one, other)
    assert np.linalg.norm(one) == pytest.approx(1, abs=1e-4)
    assert one.mean() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("axes", FLIPS)
def test_a_flipped_volume_gives_the_flipped_picture(axes: tuple[int, ...]) -> None:
    volume = draw()[0]["t2"]
    assert np.allclose(picture(np.flip(volume, axes).copy()), np.flip(picture(volume), axes), atol=1e-5)


@settings(deadline=None, max_examples=40)
@given(st.tuples(*[st.integers(1, 90)] * 3), st.integers(0, 3))
def test_volumes_of_any_size_can_be_pictured(shape: tuple[int, int, int], seed: int) -> None:
    volume = np.random.default_rng(seed).integers(0, 100, shape).astype(np.int16)
    found = coarse_picture(nib.Nifti1Image(volume, RAS), volume)
    assert found is None or (found.shape == (SIDE, SIDE, SIDE) and np.isfinite(found).all())


def test_blank_and_broken_volumes_have_no_picture() -> None:
    for value in (0, np.nan):
        volume = np.full((9, 9, 9), value, np.float32)
        assert coarse_picture(nib.Nifti1Image(volume, RAS), volume) is None


def test_a_table_beside_the_patient_changes_nothing() -> None:
    volume = np.full((40, 40, 30), -1000, np.int16)
    volume[8:30, 10:30] = np.arange(30) + 20
    with_table = volume.copy()
    with_table[2:38, 2:4] = 300
    assert np.allclose(picture(volume), picture(with_table), atol=0.02)

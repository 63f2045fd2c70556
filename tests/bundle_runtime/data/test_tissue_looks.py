"""Tissues of a tumour by their look and place."""

import numpy as np
import pytest
from bundle_runtime.data.tissue_looks import core_outside, enhancement
from custom_components.tumour_labels import TISSUES
from head_files import draw


def test_enhancement_is_not_judged_without_t1ce_or_from_a_few_voxels() -> None:
    images, codes = draw()
    assert enhancement(codes, {"t1": images["t1"], "flair": images["flair"]}) is None
    few = np.where(codes == TISSUES.index("enhancing tumour"), 0, codes)
    few[:, :, 0].flat[:49] = TISSUES.index("enhancing tumour")
    assert enhancement(few, images) is None
    assert enhancement(codes, {**images, "t1": np.zeros_like(images["t1"])}) is None
    found = enhancement(codes, images)
    assert found is not None
    assert found > 1


@pytest.mark.parametrize("seed", range(4))
def test_the_core_lies_inside_and_outside_with_its_name_exchanged(seed: int) -> None:
    codes = draw(seed)[1]
    right = core_outside(codes)
    assert right is not None
    assert right < -0.5
    exchanged = np.array([0, 2, 1, 3])[codes]
    assert core_outside(exchanged) == -right
    assert core_outside(np.where(codes == 2, 0, codes)) is None


def test_core_outside_counts_faces() -> None:
    codes = np.zeros((12, 12, 12), np.uint8)
    codes[3:9, 3:9, 3:9] = TISSUES.index("oedema")
    codes[4:8, 4:8, 4:8] = TISSUES.index("non-enhancing core")
    # The core's 96 faces touch oedema only; the oedema has those and 216 to the outside.
    assert core_outside(codes) == round(-216 / 312, 3)
    assert core_outside(codes[3:9, 3:9, 3:9]) == 0  # nothing but tumour in view
    codes[:] = 0
    codes[:4] = TISSUES.index("non-enhancing core")
    codes[4:8] = TISSUES.index("oedema")
    assert core_outside(codes) == core_outside(codes[::-1]) == -0.5  # one face of the two of the oedema

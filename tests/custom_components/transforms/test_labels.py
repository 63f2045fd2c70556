import numpy as np
import pytest
import torch
from custom_components.errors import InputError
from custom_components.transforms.labels import RegionsToTissuesd, UnlabelledMaskd
from custom_components.tumour_labels import region_masks
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from monai.data import MetaTensor

REGIONS = ["background", "TC", "WT", "ET"]
AFFINE = torch.diag(torch.tensor([1.0, 2.0, 3.0, 1.0], dtype=torch.float64))


def test_unlabelled_mask() -> None:
    mask = UnlabelledMaskd(["background", "liver", "spleen"])
    assert mask({"unlabelled": ["spleen"]})["unlabelled"].tolist() == [False, False, True]
    assert mask({"unlabelled": []})["unlabelled"].tolist() == [False, False, False]


@given(arrays(np.float32, (3, 2, 3, 2), elements=st.floats(-5, 5, width=32)))
def test_logits_become_tissues_whose_regions_contain_them(logits: np.ndarray) -> None:
    image = MetaTensor(torch.from_numpy(logits), affine=AFFINE)
    tissues = RegionsToTissuesd("pred", REGIONS)({"pred": image})["pred"]
    assert (tissues.dtype, tuple(tissues.shape)) == (torch.uint8, (1, 2, 3, 2))
    assert torch.equal(tissues.affine, AFFINE)
    core, whole, enhancing = torch.from_numpy(logits >= 0)
    # Nested: what is ET is TC, what is TC is WT, whatever the single channels said.
    found = region_masks(torch.as_tensor(tissues), REGIONS)
    assert torch.equal(found[2], enhancing)
    assert torch.equal(found[0], core | enhancing)
    assert torch.equal(found[1], whole | core | enhancing)


def test_a_name_that_is_no_region_is_refused_at_once() -> None:
    with pytest.raises(InputError, match="'liver', which is no region"):
        RegionsToTissuesd("pred", ["background", "liver"])

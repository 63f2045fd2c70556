import numpy as np
import pytest
import torch
from custom_components.errors import InputError
from custom_components.tumour_labels import TISSUES, region_masks, region_table, tissue_map
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

NAMES = ["background", "TC", "WT", "ET"]
CODES = {name: code for code, name in enumerate(TISSUES)}
told_codes = arrays(np.uint8, (1, 3, 4, 2), elements=st.integers(0, 3))


@given(told_codes, st.permutations(NAMES[1:]))
def test_a_tissue_map_undoes_region_masks(codes: np.ndarray, order: list[str]) -> None:
    names = ["background", *order]
    assert torch.equal(tissue_map(region_masks(torch.from_numpy(codes), names), names), torch.from_numpy(codes))


@given(arrays(np.bool_, (3, 2, 3, 2)), st.permutations(NAMES[1:]))
def test_overlaps_are_resolved_et_over_tc_over_wt(masks: np.ndarray, order: list[str]) -> None:
    by_name = dict(zip(order, torch.from_numpy(masks), strict=True))
    codes = tissue_map(torch.from_numpy(masks), ["background", *order])
    assert (codes.shape, codes.dtype) == ((1, 2, 3, 2), torch.uint8)
    wanted = torch.zeros(2, 3, 2, dtype=torch.uint8)
    wanted[by_name["WT"]] = CODES["oedema"]
    wanted[by_name["TC"]] = CODES["non-enhancing core"]
    wanted[by_name["ET"]] = CODES["enhancing tumour"]
    assert torch.equal(codes[0], wanted)


@pytest.mark.parametrize(
    ("names", "voxel", "tissue"),
    [
        (["WT"], {"WT"}, "whole tumour"),
        (["WT", "TC"], {"WT"}, "oedema"),
        (["WT", "TC"], {"WT", "TC"}, "tumour core"),
        (["TC"], {"TC"}, "tumour core"),
        (["ET"], {"ET"}, "enhancing tumour"),
        (["TC", "WT", "NCR/NET"], {"TC", "WT"}, "enhancing tumour"),
        (["TC", "WT", "NCR/NET"], {"TC", "WT", "NCR/NET"}, "non-enhancing core"),
        (["TC", "WT", "ET", "NCR/NET"], {"TC", "WT"}, "non-enhancing core"),
        (["TC", "WT", "ET"], set(), "background"),
    ],
)
def test_networks_that_tell_other_regions(names: list[str], voxel: set[str], tissue: str) -> None:
    masks = torch.tensor([name in voxel for name in names]).reshape(-1, 1, 1, 1)
    assert TISSUES[int(tissue_map(masks, ["background", *names]))] == tissue


def test_regions_are_nested_and_in_the_order_of_the_class_names() -> None:
    table = region_table(["background", "ET", "WT", "TC"])
    et, wt, tc = table.T
    assert table.shape == (len(TISSUES), 3)
    assert not (et & ~tc).any()
    assert not (tc & ~wt).any()
    assert not table[0].any()
    with pytest.raises(InputError, match="class_names holds 'oedema', which is no region; expected background, then"):
        region_table(["background", "oedema"])

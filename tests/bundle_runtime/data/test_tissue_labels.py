from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from bundle_runtime.data.conventions import CONVENTIONS
from bundle_runtime.data.tissue_labels import ConventionLabeld, TissueLabeld
from custom_components.errors import InputError
from custom_components.tumour_labels import TISSUES
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from monai.data import MetaTensor
from monai.transforms import LoadImaged

REGIONS = ["background", "TC", "WT", "ET"]
AFFINE = torch.diag(torch.tensor([1.0, 2.0, 3.0, 1.0], dtype=torch.float64))
GLIOMA_2012 = '{"1": "oedema", "2": "tumour core"}'


def label_map(values: np.ndarray, **meta: str) -> MetaTensor:
    return MetaTensor(torch.from_numpy(values.astype(np.float32))[None], affine=AFFINE, meta=meta)


@pytest.mark.parametrize(
    ("convention", "values", "tissues"),
    [
        ("msd", [0, 1, 2, 3], ["background", "oedema", "non-enhancing core", "enhancing tumour"]),
        ("brats2018", [0, 1, 2, 4], ["background", "non-enhancing core", "oedema", "enhancing tumour"]),
        ("brats2023", [0, 1, 2, 3], ["background", "non-enhancing core", "oedema", "enhancing tumour"]),
        (GLIOMA_2012, [0, 1, 2, 2], ["background", "oedema", "tumour core", "tumour core"]),
    ],
)
def test_values_become_tissues_by_their_convention(convention: str, values: list[int], tissues: list[str]) -> None:
    item = {"label": label_map(np.array(values).reshape(2, 2, 1)), "label_convention": convention, "case": "a"}
    codes = TissueLabeld()(item)["label"]
    assert codes.dtype == torch.uint8
    assert [TISSUES[code] for code in codes.flatten().tolist()] == tissues
    assert isinstance(codes, MetaTensor)
    assert torch.equal(codes.affine, AFFINE)
    assert item["label"].dtype == torch.float32  # the item given is left alone


def test_labels_that_cannot_be_decoded_are_named(tmp_path: Path) -> None:
    path = tmp_path / "p7_seg.nii.gz"
    nib.save(nib.Nifti1Image(np.array([0, 1, 2, 4], np.uint8).reshape(2, 2, 1), np.eye(4)), path)
    item = LoadImaged("label", reader="NibabelReader", ensure_channel_first=True)({"label": str(path)})
    with pytest.raises(InputError, match=r"p7_seg\.nii\.gz holds the value\(s\) 4, which the convention msd \(0 back"):
        TissueLabeld()({**item, "label_convention": "msd"})
    with pytest.raises(InputError, match=r"p7_seg\.nii\.gz: nothing says.*label_convention"):
        TissueLabeld()(item)
    with pytest.raises(InputError, match=r"value\(s\) 0\.125, 0\.25, 0\.5,"):
        TissueLabeld()({"label": item["label"] / 8, "label_convention": "brats2018"})
    with pytest.raises(InputError, match="holds 2 volumes"):
        TissueLabeld()({"label": torch.zeros(2, 3, 3, 3), "label_convention": "msd", "case": "a"})


@given(arrays(np.uint8, (3, 4, 2), elements=st.integers(0, 3)), st.sampled_from(sorted(CONVENTIONS)))
def test_codes_go_back_to_the_values_they_came_from(codes: np.ndarray, name: str) -> None:
    """Decoding and encoding are inverse, and the values of another convention are those of the same tissues."""
    tissues = label_map(codes)
    values = ConventionLabeld("label")({"label": tissues, "label_convention": name})["label"]
    assert values.dtype == torch.uint8
    assert torch.equal(values.affine, AFFINE)
    back = TissueLabeld()({"label": values, "label_convention": name})["label"]
    assert np.array_equal(back[0], codes)
    forced = ConventionLabeld("label", convention="brats2018")({"label": tissues, "label_convention": name})["label"]
    assert torch.equal(forced == 4, tissues == TISSUES.index("enhancing tumour"))


def test_an_undivided_core_is_written_where_the_convention_has_no_more() -> None:
    tissues = torch.arange(4, dtype=torch.uint8).reshape(1, 4, 1, 1)
    written = ConventionLabeld("pred", convention={"1": "oedema", "2": "tumour core"})({"pred": tissues})["pred"]
    assert written.flatten().tolist() == [0, 1, 2, 2]
    with pytest.raises(InputError, match="nothing says which values"):
        ConventionLabeld("pred")({"pred": tissues})
    with pytest.raises(InputError, match="label_convention is 'brats18'"):
        ConventionLabeld("pred", convention="brats18")

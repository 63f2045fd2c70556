import pytest
import torch
from custom_components.errors import InputError
from custom_components.transforms.intensity import ScaleToUnitd
from monai.data import MetaTensor
from monai.transforms import ScaleIntensityRanged, ScaleIntensityRangePercentilesd

IMAGE = MetaTensor(torch.randn(1, 8, 9, 7, generator=torch.Generator().manual_seed(0)) * 300, affine=2 * torch.eye(4))


@pytest.mark.parametrize(
    ("mode", "limits", "monai"),
    [
        ("window", [-175, 250], ScaleIntensityRanged("image", -175, 250, 0.0, 1.0, clip=True)),
        ("percentile", [1, 99], ScaleIntensityRangePercentilesd("image", 1, 99, 0.0, 1.0, clip=True)),
    ],
)
def test_it_is_what_monai_gives(mode, limits, monai):
    item = {"image": IMAGE.clone(), "label": IMAGE.clone()}
    found = ScaleToUnitd("image", mode, limits)(item)
    assert torch.equal(found["image"], monai({"image": IMAGE.clone()})["image"])
    assert torch.equal(found["label"], IMAGE)
    assert found["image"].affine[0, 0] == 2
    assert (found["image"].min(), found["image"].max()) == (0, 1)


@pytest.mark.parametrize(
    ("mode", "limits", "sentence"),
    [
        ("windw", [0, 1], "intensity_mode is 'windw'; choose one of window, percentile"),
        ("window", [250, -175], r"intensity_range is \[250, -175\]; it must be two numbers, the lower one first"),
        ("percentile", [1, 150], "two percentiles between 0 and 100"),
        ("window", [0], "two numbers"),
    ],
)
def test_what_is_no_range_is_refused(mode, limits, sentence):
    with pytest.raises(InputError, match=sentence):
        ScaleToUnitd("image", mode, limits)

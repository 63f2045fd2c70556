import pytest
import torch
from custom_components.transforms import crops as module
from custom_components.transforms.crops import QuickCropByPosNegLabeld
from monai.transforms import RandCropByPosNegLabeld

CROP = {"keys": ["image", "label"], "label_key": "label", "image_key": "image", "spatial_size": (9, 9, 9)}


def two_organs(small_edge: int = 10) -> dict[str, torch.Tensor]:
    """Above the size at which whole volumes are searched: air, a body, a large and a small organ."""
    image, label = torch.zeros(1, 110, 100, 100), torch.zeros(1, 110, 100, 100, dtype=torch.uint8)
    image[:, 10:90, 10:90, 10:90] = 0.5
    label[:, 20:40, 20:40, 20:40] = 1
    label[:, 60 : 60 + small_edge, 60:70, 60:70] = 2
    return {"image": image, "label": label}


def centres(transform: RandCropByPosNegLabeld, item: dict[str, torch.Tensor], visits: int) -> torch.Tensor:
    """The centres that so many visits with seeds of their own draw, (N, 3)."""
    found = []
    for seed in range(visits):
        transform.set_random_state(seed)
        transform.randomize(item["label"], None, None, item["image"])
        found += transform.cropper.centers
    return torch.tensor(found)


def test_quick_crops_have_the_distribution_of_monai() -> None:
    item, visits = two_organs(), 400
    quick = centres(QuickCropByPosNegLabeld(**CROP, num_samples=4), item, visits)
    assert len(quick) == 4 * visits
    label, image = (item[key][0][tuple(quick.T)] for key in ("label", "image"))
    assert bool(((label > 0) | (image > 0)).all())  # never in air
    deviations = 4 / (4 * visits) ** 0.5
    assert (label > 0).float().mean() == pytest.approx(0.5, abs=0.5 * deviations)
    inside = quick[label > 0].float()
    small = (label[label > 0] == 2).float().mean()
    assert small == pytest.approx(1 / 9, abs=0.32 * deviations * 2**0.5)  # 1,000 of 9,000 organ voxels
    for place, expected in (("mean", 29.5), ("std", (400 / 12) ** 0.5)):  # uniform over the large organ
        values = getattr(inside[label[label > 0] == 1], place)(dim=0)
        assert values.tolist() == pytest.approx([expected] * 3, abs=1.0)
    body = quick[label == 0].float()
    assert body.mean(dim=0).tolist() == pytest.approx([49.7] * 3, abs=4 * 23 / len(body) ** 0.5)


def test_quick_crops_do_not_search_the_volume(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at, real = [], module.map_binary_to_indices
    monkeypatch.setattr(
        module, "map_binary_to_indices", lambda label, *rest: looked_at.append(label.numel()) or real(label, *rest)
    )
    monkeypatch.setattr("monai.transforms.croppad.array.map_binary_to_indices", lambda *_: pytest.fail("searched"))
    crops = QuickCropByPosNegLabeld(**CROP, num_samples=2).set_random_state(1)(two_organs())
    assert [tuple(crop["label"].shape) for crop in crops] == [(1, 9, 9, 9)] * 2
    assert sum(looked_at) < 20_000


@pytest.mark.parametrize("small", [True, False])
def test_quick_crops_are_monais_where_the_whole_volume_is_searched(small: bool) -> None:
    """A small volume, or a structure of so few voxels that a draw misses it: it is still found half of the time."""
    item = two_organs()
    item = {key: value[:, 5:95, 5:95, 5:95] for key, value in item.items()} if small else item
    if not small:
        item["label"] = torch.where(item["label"] == 2, 1, 0)
        item["label"][:, :, :, 61:] = 0
        item["label"][:, 61:] = 0  # 10 voxels are left
    quick = centres(QuickCropByPosNegLabeld(**CROP, num_samples=4), item, 20)
    on_label = item["label"][0][tuple(quick.T)] > 0
    assert 20 < on_label.sum() < 60
    if small:
        assert torch.equal(quick, centres(RandCropByPosNegLabeld(**CROP, num_samples=4), item, 20))


def test_quick_crops_leave_indices_that_are_given_to_monai() -> None:
    item = two_organs()
    transform = QuickCropByPosNegLabeld(**CROP, num_samples=3, fg_indices_key="fg", bg_indices_key="bg")
    given = {"fg": torch.tensor([505050]), "bg": torch.tensor([505050])}
    crops = transform.set_random_state(0)({**item, **given})
    assert all(torch.equal(crop["image"], crops[0]["image"]) for crop in crops)

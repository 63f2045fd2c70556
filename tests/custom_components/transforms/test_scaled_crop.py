"""Reading pictures with their masks, and cutting them at random scales."""

from pathlib import Path

import numpy as np
import pytest
import torch
from bundle_runtime.data.dataset import PreparedDataset, split_transform
from bundle_runtime.data.load_picture import LoadPictured
from custom_components.augment.stain_normalisation import normalise_stain
from custom_components.errors import InputError
from custom_components.transforms.scaled_crop import RandomNumbersd, RandScaledCropd, rescale
from hypothesis import given, settings
from hypothesis import strategies as st
from mae_tools.demo_data.tissue import Stain, paint_tissue
from monai.transforms import Compose
from PIL import Image

NAMES = ["background", "nucleus"]


@pytest.fixture
def item(tmp_path: Path) -> dict[str, object]:
    """A 20 x 12 picture with two objects that touch, numbers above 255."""
    objects = np.zeros((12, 20), np.uint16)
    objects[2:8, 3:8], objects[2:8, 8:13] = 300, 700
    pixels = np.random.default_rng(0).integers(0, 256, (12, 20, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    Image.fromarray(objects).save(tmp_path / "a_mask.png")
    return {"image": str(tmp_path / "a.png"), "label": str(tmp_path / "a_mask.png"), "mask_kind": "instance"}


def test_picture_classes_and_objects(item: dict[str, object]) -> None:
    result = LoadPictured(NAMES, instances=True)(item)
    assert (result["image"].dtype, tuple(result["image"].shape)) == (torch.uint8, (3, 12, 20))
    assert torch.equal(result["image"].permute(1, 2, 0), torch.from_numpy(np.array(Image.open(item["image"]))))
    assert (result["label"].dtype, result["label"].sum().item()) == (torch.uint8, 60)
    assert result["instances"].unique().tolist() == [0, 300, 700]
    assert "border" not in result
    assert item["label"].endswith(".png")  # the item itself is not changed


def test_stains_are_brought_to_the_reference_as_in_pre_training(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels, objects = paint_tissue(rng, 64, 64, "normal", Stain.draw(rng))
    Image.fromarray(pixels).save(tmp_path / "a.png")
    Image.fromarray(objects).save(tmp_path / "a_mask.png")
    item = {"image": str(tmp_path / "a.png"), "label": str(tmp_path / "a_mask.png"), "mask_kind": "instance"}
    result = LoadPictured(NAMES, stain="macenko")(item)
    wanted = normalise_stain(np.ascontiguousarray(np.moveaxis(pixels, -1, 0)))
    np.testing.assert_array_equal(result["image"].numpy(), wanted)
    assert np.abs(wanted.astype(int) - np.moveaxis(pixels, -1, 0)).mean() > 1
    with pytest.raises(InputError, match="stain is 'vahadane'"):
        LoadPictured(NAMES, stain="vahadane")
    with pytest.raises(InputError, match="three channels"):
        LoadPictured(NAMES, channels=1, stain="macenko")


def test_touching_objects_get_a_border_that_is_background(item: dict[str, object]) -> None:
    plain, result = LoadPictured(NAMES)(item), LoadPictured(NAMES, border=3)(item)
    border = result["border"][0].bool()
    columns = border.nonzero()[:, 1].unique().tolist()
    assert columns == [7, 8]
    assert not result["label"][0][border].any()
    assert torch.equal(result["label"][0][~border], plain["label"][0][~border])


def test_a_mask_of_another_size_is_refused_by_name(item: dict[str, object], tmp_path: Path) -> None:
    Image.fromarray(np.zeros((20, 12), np.uint8)).save(tmp_path / "turned.png")
    with pytest.raises(InputError, match=r"turned\.png: is a mask of 20x12 pixels for a picture of 12x20"):
        LoadPictured(NAMES)({**item, "label": str(tmp_path / "turned.png")})


def test_cmyk_16_bit_and_alpha_are_read_alike(item: dict[str, object], tmp_path: Path) -> None:
    rgb = Image.open(item["image"])
    rgb.convert("CMYK").save(tmp_path / "cmyk.tif")
    rgb.convert("RGBA").save(tmp_path / "alpha.png")
    Image.fromarray(np.asarray(rgb.convert("L")).astype(np.uint16) * 256).save(tmp_path / "deep.png")
    for name in ("cmyk.tif", "alpha.png", "deep.png"):
        image = LoadPictured(NAMES)({**item, "image": str(tmp_path / name)})["image"]
        assert tuple(image.shape) == (3, 12, 20)
    assert LoadPictured(NAMES, channels=1)(item)["image"].shape[0] == 1


def test_squashing_keeps_class_numbers(item: dict[str, object]) -> None:
    result = LoadPictured(NAMES, instances=True, size=24)(item)
    assert all(tuple(result[key].shape[1:]) == (24, 24) for key in ("image", "label", "instances"))
    assert result["instances"].unique().tolist() == [0, 300, 700]


def test_items_that_are_no_picture_with_a_mask(item: dict[str, object]) -> None:
    with pytest.raises(InputError, match="its label is 1; segmentation needs the path of a mask"):
        LoadPictured(NAMES)({**item, "label": 1})
    with pytest.raises(InputError, match="one of 2 files"):
        LoadPictured(NAMES)({**item, "image": [item["image"]] * 2})
    with pytest.raises(InputError, match="border is -1"):
        LoadPictured(NAMES, border=-1)


@given(
    height=st.integers(1, 40), width=st.integers(1, 40), side=st.integers(2, 24), seed=st.integers(0, 99),
    scale=st.sampled_from([(0.5, 2.0), (1.0, 1.0), (0.2, 0.3)]),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_crops_have_one_size_and_stay_together(
    height: int, width: int, side: int, seed: int, scale: tuple[float, float]
) -> None:
    """Picture and mask show the same place, also where the tile is smaller than the window."""
    label = torch.randint(2, (1, height, width), dtype=torch.uint8)
    crop = RandScaledCropd(["image", "label"], side, scale, max_share=1.0).set_random_state(seed)
    result = crop({"image": label.repeat(3, 1, 1) * 255, "label": label})
    assert result["image"].shape == (3, side, side)
    assert set(result["label"].unique().tolist()) <= {0, 1}
    if scale == (1.0, 1.0):
        assert torch.equal(result["image"][:1], result["label"] * 255)


def test_a_scale_of_2_shows_half_of_the_picture_twice_as_large() -> None:
    rows = torch.arange(64, dtype=torch.float32)
    image = (rows[:, None] * 2 + torch.zeros(64)).to(torch.uint8)[None]
    crop = RandScaledCropd(["image", "label"], 32, (2.0, 2.0), max_share=1.0).set_random_state(0)
    result = crop({"image": image, "label": torch.zeros_like(image)})["image"][0].float()
    assert (result[-2] - result[1]).mean().item() == pytest.approx(29, abs=1)  # 2 a row, at half speed


def test_windows_of_one_class_are_drawn_again() -> None:
    label = torch.zeros(1, 64, 64, dtype=torch.uint8)
    label[:, :16, :16] = 1
    shares = {}
    for limit in (1.0, 0.75):
        crop = RandScaledCropd(["image", "label"], 16, (1.0, 1.0), max_share=limit).set_random_state(0)
        crops = [crop({"image": label, "label": label})["label"].float().mean().item() for _ in range(200)]
        shares[limit] = sum(0.25 <= share <= 0.75 for share in crops) / len(crops)
    assert shares[0.75] > 2 * shares[1.0]


def test_places_are_uniform() -> None:
    image = torch.arange(10, dtype=torch.uint8)[None, None].repeat(1, 10, 1)
    crop = RandScaledCropd(["image", "label"], 4, (1.0, 1.0), max_share=1.0).set_random_state(0)
    starts = [crop({"image": image, "label": image})["image"][0, 0, 0].item() for _ in range(1400)]
    counts = np.bincount(starts)
    assert len(counts) == 7
    assert counts.min() > 140


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(InputError, match="crop_scale"):
        RandScaledCropd(["image"], 8, (2.0, 0.5))
    with pytest.raises(InputError, match="max_share is 0"):
        RandScaledCropd(["image"], 8, max_share=0)


def test_rescaling_keeps_constants_and_types() -> None:
    image = torch.full((3, 9, 9), 201, dtype=torch.uint8)
    assert torch.equal(rescale(image, (5, 14)), torch.full((3, 5, 14), 201, dtype=torch.uint8))
    numbers = torch.tensor([[[0, 70000]]], dtype=torch.int32)
    assert rescale(numbers, (2, 4), nearest=True).unique().tolist() == [0, 70000]


def test_reading_is_cached_and_cutting_depends_on_seed_epoch_and_item_alone(item: dict[str, object]) -> None:
    for key in ("image", "label"):  # a training refuses smaller pictures
        with Image.open(str(item[key])) as small:
            larger = small.resize((40, 24), Image.Resampling.NEAREST)
        larger.save(str(item[key]))
    steps = [LoadPictured(NAMES), RandScaledCropd(["image", "label"], 8), RandomNumbersd(5)]
    fixed, random = split_transform(Compose(steps))
    assert [len(part.transforms) for part in (fixed, random)] == [1, 2]
    ram, none = (PreparedDataset([item], Compose(steps), cache, seed=3, progress=False) for cache in ("ram", "none"))
    for key in ("image", "label", "random"):
        assert torch.equal(ram[2, 0][key], none[2, 0][key])
        assert not torch.equal(ram[2, 0]["random"], ram[3, 0]["random"])
    assert ram[0]["random"].shape == (5,)
    Path(item["image"]).unlink()
    assert ram[1, 0]["image"].shape == (3, 8, 8)  # nothing is decoded twice

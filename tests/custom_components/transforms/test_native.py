from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from bundle_runtime.data.load_volumes import LoadVolumesd
from bundle_runtime.data.saving import SaveImageLabelMapd
from bundle_runtime.data.tissue_labels import ConventionLabeld
from custom_components.transforms import native
from custom_components.transforms.labels import RegionsToTissuesd
from custom_components.transforms.native import NativeArgmaxd, NativeRegionsd, Probabilitiesd
from custom_components.tumour_labels import region_masks, tissue_map
from monai.data import DataLoader, Dataset, MetaTensor
from monai.engines import SupervisedEvaluator
from monai.transforms import Compose, CropForegroundd, Invertd, LoadImaged, NormalizeIntensityd, Orientationd, Spacingd
from scipy import ndimage


def preprocessing() -> Compose:
    return Compose(
        [
            LoadImaged("image", reader="NibabelReader", ensure_channel_first=True),
            Orientationd("image", axcodes="RAS", labels=None),
            Spacingd("image", pixdim=(1.5, 1.5, 1.5), mode="bilinear"),
            CropForegroundd("image", source_key="image", allow_smaller=True, margin=3),
        ]
    )


def logits_like(image: MetaTensor) -> torch.Tensor:
    """Scores of three classes that the image's own grey values give away."""
    centres = torch.tensor([10.0, 110.0, 210.0]).view(3, 1, 1, 1)
    return -((image.as_tensor() - centres) ** 2) / 500


def test_native_argmax_comes_back_to_the_files_own_grid(scan: tuple[Path, np.ndarray]) -> None:
    path, label = scan
    steps = preprocessing()
    item = steps({"image": str(path)})
    assert item["image"].shape[1:] != label.shape
    result = NativeArgmaxd("pred")({**item, "pred": logits_like(item["image"])})["pred"]
    assert tuple(result.shape) == (1, *label.shape)
    assert np.allclose(result.affine, nib.load(path).affine)
    found = result.as_tensor()[0].numpy()
    for value in (1, 2):
        dice = 2 * ((found == value) & (label == value)).sum() / ((found == value).sum() + (label == value).sum())
        assert dice > 0.85  # the interpolated rim of a block looks like the class between
    assert found[0].max() == found[-1].max() == 0  # outside the crop: background


def test_native_argmax_equals_inverting_all_classes_at_once(scan: tuple[Path, np.ndarray]) -> None:
    path, _ = scan
    steps = preprocessing()
    item = steps({"image": str(path)})
    data = {**item, "pred": logits_like(item["image"])}
    result = NativeArgmaxd("pred", probabilities_key="probabilities")(data)
    probabilities = result["probabilities"].as_tensor()
    assert probabilities.shape[0] == 3
    inside = probabilities.sum(0) > 0.99
    assert inside.float().mean() > 0.3
    assert torch.equal(probabilities.argmax(0)[inside], result["pred"].as_tensor()[0].long()[inside])


PARALLEL = np.array([[0, -0.8, 0, 20], [0.7, 0, 0, -15], [0, 0, -2.5, 30], [0, 0, 0, 1.0]])  # axes swapped, mirrored
SHEARED = np.array([[0.8, 0.2, 0, 20], [0.1, 0.7, 0.1, -15], [0, 0.1, 2.5, 30], [0, 0, 0, 1.0]])


@pytest.mark.parametrize("affine", [PARALLEL, SHEARED])
@pytest.mark.parametrize("spacing", [(1.5, 1.5, 2.0), (0.5, 0.6, 1.0)])
def test_probabilities_equal_monais_own_inverse(affine: np.ndarray, spacing: tuple[float, ...], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    voxels = np.zeros((34, 30, 16), np.float32)
    voxels[8:28, 6:25, 3:13] = ndimage.gaussian_filter(rng.normal(size=(20, 19, 10)), 2) * 900 + 200
    nib.save(nib.Nifti1Image(voxels, affine), tmp_path / "a.nii.gz")
    steps = Compose(
        [
            LoadImaged("image", reader="NibabelReader", ensure_channel_first=True),
            Orientationd("image", axcodes="RAS", labels=None),
            Spacingd("image", pixdim=spacing, mode="bilinear"),
            CropForegroundd("image", source_key="image", allow_smaller=True, margin=2),
        ]
    )
    item = steps({"image": str(tmp_path / "a.nii.gz")})
    logits = logits_like(item["image"])
    logits[0] += 2
    ours = NativeArgmaxd("pred", probabilities_key="probabilities")({**item, "pred": logits})
    back = Invertd("channel", transform=steps, orig_keys="image", nearest_interp=False)
    theirs = back({"channel": MetaTensor(logits.softmax(0)), "image": item["image"]})["channel"]
    kept = ours["probabilities"]
    assert np.allclose(kept.affine, theirs.affine)
    inside = (theirs.as_tensor().sum(0) - 1).abs() < 1e-5  # the inverse fades out over the last voxel before the crop
    assert inside.float().mean() > 0.2
    # Where the grids are turned against each other MONAI rounds coordinates a little differently.
    assert (kept.as_tensor() - theirs.as_tensor())[:, inside].abs().max() < 1e-3
    fast = NativeArgmaxd("pred")({**item, "pred": logits})["pred"].as_tensor()
    assert torch.equal(fast, ours["pred"].as_tensor())
    assert fast.unique().tolist() == [0, 1, 2]
    clear = theirs.as_tensor().topk(2, dim=0).values.diff(dim=0)[0].abs() > 2e-3
    assert torch.equal(fast[0][inside & clear].long(), theirs.as_tensor().argmax(0)[inside & clear])


def test_slabs_and_boxes_change_nothing(scan: tuple[Path, np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    item = preprocessing()({"image": str(scan[0])})
    data = {**item, "pred": logits_like(item["image"])}
    whole = NativeArgmaxd("pred")(data)["pred"].as_tensor()
    monkeypatch.setattr(native, "_VALUES_AT_A_TIME", 1)
    assert torch.equal(NativeArgmaxd("pred")(data)["pred"].as_tensor(), whole)


def coarse(channels: int, shape: tuple[int, ...], blob: int, seed: int) -> torch.Tensor:
    """Logits with structures of `blob` voxels; 1: noise, with borders everywhere."""
    drawn = torch.randn(1, channels, *(max(n // blob, 2) for n in shape), generator=torch.Generator().manual_seed(seed))
    return 3 * torch.nn.functional.interpolate(drawn, shape, mode="trilinear", align_corners=False)[0]


@pytest.mark.parametrize("blob", [1, 8])
@pytest.mark.parametrize("seed", [0, 1])
def test_what_is_decided_at_borders_alone_is_what_all_voxels_would_say(
    scan: tuple[Path, np.ndarray], blob: int, seed: int
) -> None:
    item = preprocessing()({"image": str(scan[0])})
    shape = tuple(item["image"].shape[1:])
    data = {**item, "pred": coarse(5, shape, blob, seed)}
    made = NativeArgmaxd("pred", probabilities_key="all")(data)
    assert torch.equal(made["pred"].as_tensor()[0], made["all"].as_tensor().argmax(dim=0).to(torch.uint8))
    # TC and NCR/NET may be one tissue, whose values are no convex set.
    names = ["background", "TC", "WT", "NCR/NET", "ET"]
    data = {**item, "pred": coarse(4, shape, blob, seed)}
    made = NativeRegionsd("pred", names, probabilities_key="all")(data)
    assert torch.equal(made["pred"].as_tensor(), tissue_map(made["all"].as_tensor() >= 0.5, names))
    assert len(made["pred"].unique()) == 4


# --- regions --------------------------------------------------------------------------------------------------------

REGIONS = ["background", "TC", "WT", "ET"]


def region_logits(image: MetaTensor) -> torch.Tensor:
    """WT is all that is brighter than the ground, TC and ET the brightest block."""
    grey = image.as_tensor()[0]
    return torch.stack([grey - 160, grey - 60, grey - 160]) / 10


def test_regions_come_back_to_the_files_own_grid(scan: tuple[Path, np.ndarray]) -> None:
    path, label = scan
    steps = preprocessing()
    item = steps({"image": str(path)})
    transform = NativeRegionsd("pred", REGIONS, probabilities_key="probabilities")
    result = transform({**item, "pred": region_logits(item["image"])})
    tissues, probabilities = result["pred"], result["probabilities"]
    assert (tuple(tissues.shape), tissues.dtype) == ((1, *label.shape), torch.uint8)
    assert tuple(probabilities.shape) == (3, *label.shape)
    assert np.allclose(tissues.affine, nib.load(path).affine)
    masks = region_masks(tissues.as_tensor(), REGIONS).numpy()
    for mask, drawn in zip(masks, (label == 2, label > 0, label == 2), strict=True):
        assert 2 * (mask & drawn).sum() / (mask.sum() + drawn.sum()) > 0.85
    assert np.array_equal(masks[1], (probabilities.numpy() >= 0.5).any(axis=0))
    # Outside the crop nothing was predicted: a logit of 0 there would have been taken for a tumour.
    assert probabilities.max() > 0.9
    assert not tissues[:, 0].any()
    assert not tissues[:, -1].any()


def test_without_resampling_the_decision_is_that_of_the_networks_grid(scan: tuple[Path, np.ndarray]) -> None:
    path, _ = scan
    turn = Compose(
        [
            LoadImaged("image", reader="NibabelReader", ensure_channel_first=True),
            Orientationd("image", axcodes="LPS", labels=None),
        ]
    )
    item = turn({"image": str(path)})
    logits = torch.randn(3, *item["image"].shape[1:], generator=torch.Generator().manual_seed(0))
    native = NativeRegionsd("pred", REGIONS)({**item, "pred": logits})["pred"]
    on_grid = RegionsToTissuesd("pred", REGIONS)({"pred": MetaTensor(logits, affine=item["image"].affine)})["pred"]
    assert torch.equal(
        Orientationd("pred", axcodes="LPS", labels=None)({"pred": native})["pred"].as_tensor(), on_grid.as_tensor()
    )


class Brightness(torch.nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.stack([region_logits(MetaTensor(sample)) for sample in image])


def test_through_the_evaluator_with_sequences_by_name(scan: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    """The whole way of an inference: sequences by name, collation, inversion, the convention's values, the file."""
    path, label = scan
    steps = Compose(
        [
            LoadVolumesd("image", sequences=["flair", "t2"], header=True),
            *preprocessing().transforms[1:],
            NormalizeIntensityd("image", subtrahend=0.0, divisor=1.0),
        ]
    )
    item = {"image": [str(path), str(path)], "sequences": ["t2", "flair"], "label_convention": "brats2018"}
    named = {"case": "p1", "file": str(path), "patient_id": "p1", "unlabelled": []}
    post = [NativeRegionsd("pred", REGIONS), ConventionLabeld("pred"), SaveImageLabelMapd("pred", str(tmp_path))]
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset([{**item, **named}], steps), batch_size=1),
        network=Brightness(),
        postprocessing=Compose(post),
    )
    evaluator.run()
    written = nib.load(tmp_path / "p1_seg.nii.gz")
    values = np.asarray(written.dataobj)
    assert np.array_equal(written.affine, nib.load(path).affine)
    assert set(np.unique(values)) == {0, 2, 4}
    for value, drawn in ((2, label == 1), (4, label == 2)):
        assert 2 * ((values == value) & drawn).sum() / ((values == value).sum() + drawn.sum()) > 0.75


def test_an_array_that_comes_from_no_file_comes_back_to_its_own_shape() -> None:
    voxels = torch.zeros(1, 24, 20, 16)
    voxels[:, 8:16, 6:14, 4:12] = 110
    steps = Compose(preprocessing().transforms[1:])
    image = steps({"image": MetaTensor(voxels)})["image"]
    assert image.shape[1:] != voxels.shape[1:]
    found = NativeArgmaxd("pred")({"image": image, "pred": logits_like(image)})["pred"]
    assert found.shape == voxels.shape
    assert torch.equal(found.affine, torch.eye(4, dtype=torch.float64))
    assert ((found.as_tensor() == 1) != (voxels == 110)).float().mean() < 0.03  # but for the interpolated rim


def test_where_the_way_back_is_left_out_logits_become_probabilities_and_elsewhere_the_map_stays() -> None:
    logits = MetaTensor(torch.randn(3, 4, 4, 4).half())
    chosen, regions = (Probabilitiesd("pred", kind)({"pred": logits})["pred"] for kind in (False, True))
    assert chosen.dtype == regions.dtype == torch.float32
    assert torch.allclose(chosen.sum(dim=0), torch.ones(4, 4, 4))
    assert torch.allclose(regions, logits.float().sigmoid())
    label = MetaTensor(torch.ones(1, 4, 4, 4, dtype=torch.uint8))
    assert Probabilitiesd("pred")({"pred": label})["pred"] is label
    for transform in (NativeArgmaxd("pred"), NativeRegionsd("pred", REGIONS), ConventionLabeld("pred")):
        assert isinstance(transform, Invertd)

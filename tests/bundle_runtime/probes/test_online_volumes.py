"""The probe of volumes: what patches are called, and that it finds what is easy to find."""

import json
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import torch
from bundle_runtime.data.load_volumes import LoadVolumesd
from bundle_runtime.probes.online_volumes import VolumeProbe
from custom_components.errors import InputError
from custom_components.networks.vit import ViT
from ignite.engine import Engine
from monai.transforms import Compose, RandSpatialCropSamplesd

NAMES = ["background", "bright", "dark"]


@pytest.fixture(scope="module")
def datalist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cubes of 8 voxels, bright or dark, in grey: a patch of 8 shows one of them or neither."""
    folder = tmp_path_factory.mktemp("cubes")
    rng = np.random.default_rng(0)
    sections: dict[str, list[dict[str, str]]] = {"training": [], "validation": []}
    for number in range(6):
        classes = rng.integers(0, 3, (3, 3, 3)).repeat(8, 0).repeat(8, 1).repeat(8, 2).astype(np.uint8)
        image = np.choose(classes, [0.5, 0.9, 0.1]).astype(np.float32) + 0.02 * rng.standard_normal(classes.shape)
        for kind, array in (("image", image.astype(np.float32)), ("label", classes)):
            nib.save(nib.Nifti1Image(array, np.eye(4)), folder / f"{kind}{number}.nii.gz")
        entry = {"image": f"image{number}.nii.gz", "label": f"label{number}.nii.gz", "patient_id": str(number)}
        sections["training" if number < 4 else "validation"].append(entry)
    nib.save(nib.Nifti1Image(image.astype(np.float32)[::-1], np.eye(4)), folder / "bare.nii.gz")
    sections["training"].append({"image": "bare.nii.gz", "patient_id": "without a label"})
    (folder / "datalist.json").write_text(json.dumps(sections))
    return folder / "datalist.json"


def probe(datalist: Path, class_names: list[str] | None = NAMES, **options: object) -> VolumeProbe:
    torch.manual_seed(0)
    network = ViT(1, 24, 8, 32, 64, 1, 2)
    crops = RandSpatialCropSamplesd(["image", "label"], roi_size=[24] * 3, num_samples=1, random_size=False)
    steps = Compose([LoadVolumesd(class_names=class_names, channels=1), crops])
    settings: dict = {"interval": 2, "history_path": datalist.parent / "probe.csv", **options}
    return VolumeProbe(network, str(datalist), steps, class_names, **settings)


def test_patches_are_told_apart_by_their_features(datalist: Path) -> None:
    made = probe(datalist)
    train_x, _, val_x, val_y = made.features(made.network)
    assert train_x.shape == (4 * 27, 32)
    assert val_x.shape == (2 * 27, 32)
    expected = np.asanyarray(nib.load(datalist.parent / "label4.nii.gz").dataobj)[::8, ::8, ::8].reshape(-1)
    np.testing.assert_array_equal(val_y[:27], np.stack([expected == 1, expected == 2], axis=1))
    assert made._scores()["macro_auc"] > 0.95


def test_rows_and_the_state_that_early_stop_reads(datalist: Path) -> None:
    made = probe(datalist)
    engine = Engine(lambda engine, batch: None)
    engine.state = SimpleNamespace(epoch=2, max_epochs=4, metrics={})  # type: ignore[assignment]
    before = torch.get_rng_state()
    made._epoch_completed(engine)
    assert torch.equal(before, torch.get_rng_state())
    assert engine.state.metrics["probe_macro_auc"] == made.state.best_metric > 0.95
    assert (datalist.parent / "probe.csv").read_text().startswith("epoch,macro_auc,bright,dark\n2,")


def test_few_patches_of_many(datalist: Path) -> None:
    train_x = probe(datalist, max_patches=20).features(probe(datalist).network)[0]
    assert len(train_x) == 18  # every sixth of 108


def test_it_reads_nothing_while_it_is_off() -> None:
    assert VolumeProbe(torch.nn.Identity(), "nowhere.json", Compose([]), None, interval=0).datasets == []


def test_what_is_missing(datalist: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs class_names"):
        probe(datalist, None)
    bare = tmp_path / "datalist.json"
    bare.write_text(json.dumps({"training": [{"image": str(datalist.parent / "image0.nii.gz")}], "validation": []}))
    with pytest.raises(InputError, match="the training list has no labels"):
        probe(bare)

"""Prepared data sets, the sampler, and the loader."""

import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from bundle_runtime.data.dataset import PreparedDataset, split_transform
from bundle_runtime.data.loading import EpochSampler, loader
from bundle_runtime.failures import find_input_error
from custom_components.errors import InputError
from monai.data import DataLoader as MonaiLoader
from monai.data import Dataset as MonaiDataset
from monai.data import MetaTensor, PersistentDataset
from monai.engines import SupervisedTrainer
from monai.transforms import (
    Compose,
    LoadImaged,
    MapTransform,
    NormalizeIntensityd,
    OneOf,
    RandFlipd,
    RandGaussianNoised,
    RandScaleIntensityd,
    RandSpatialCropSamplesd,
    ScaleIntensityd,
)
from torch import Tensor, nn


class Countd(MapTransform):
    """Adds a number, and notes each call in a file, so that calls in other processes count too."""

    def __init__(self, keys: Any, log: Path, add: float = 0.0) -> None:
        super().__init__(keys)
        self.log, self.add = log, add

    def __call__(self, data: dict) -> dict:
        with open(self.log, "a") as stream:
            stream.write("x")
        return {**data, **{key: data[key] + self.add for key in self.key_iterator(data)}}


class FromTorchd(MapTransform):
    """Draws from PyTorch's generator and is no `Randomizable`, like a wrapped third-party augmentation."""

    def __call__(self, data: dict) -> dict:
        return {**data, "drawn": torch.rand(2)}


@pytest.fixture
def items(tmp_path: Path) -> list[dict]:
    made = []
    for number in range(5):
        voxels = np.random.default_rng(number).normal(size=(10, 9, 8)).astype(np.float32)
        path = tmp_path / f"case{number}.nii.gz"
        nib.save(nib.Nifti1Image(voxels, np.diag([2.0, 2.0, 3.0, 1.0])), path)
        made.append({"image": str(path), "case": f"case{number}"})
    return made


def pipeline(tmp_path: Path, add: float = 0.0, samples: int = 2) -> Compose:
    return Compose(
        [
            LoadImaged("image", reader="NibabelReader", ensure_channel_first=True),
            Countd("image", tmp_path / "log", add),
            RandSpatialCropSamplesd("image", (4, 4, 4), num_samples=samples, random_size=False),
            RandFlipd("image", prob=0.5, spatial_axis=0),
            RandGaussianNoised("image", prob=0.9),
            FromTorchd("image"),
        ]
    )


def calls(tmp_path: Path) -> int:
    return len((tmp_path / "log").read_text()) if (tmp_path / "log").exists() else 0


def build(items: list[dict], tmp_path: Path, cache: Any = "none", **changes: Any) -> PreparedDataset:
    return PreparedDataset(items, pipeline(tmp_path), cache, progress=False, **changes)


def assert_same(first: Any, second: Any) -> None:
    """Equal to the last bit; also for lists and dicts with text in them."""
    if isinstance(first, Tensor):
        torch.testing.assert_close(first, second, rtol=0, atol=0)
    elif isinstance(first, dict):
        assert first.keys() == second.keys()
        assert_same(list(first.values()), list(second.values()))
    elif isinstance(first, list):
        assert len(first) == len(second)
        for pair in zip(first, second, strict=True):
            assert_same(*pair)
    else:
        assert first == second


def epoch_of(dataset: Any, epoch: int, workers: int, **changes: Any) -> list[dict]:
    sampler = EpochSampler(dataset, seed=3, **changes)
    sampler.set_epoch(epoch)
    return list(loader(dataset, 2, sampler, workers))


def test_batches_are_the_same_with_any_number_of_workers(items: list[dict], tmp_path: Path) -> None:
    dataset = build(items, tmp_path, seed=7)
    alone = epoch_of(dataset, 1, 0)
    assert [batch["image"].shape for batch in alone] == [(4, 1, 4, 4, 4), (4, 1, 4, 4, 4)]
    assert isinstance(alone[0]["case"][0], str)
    assert_same(alone, epoch_of(dataset, 1, 2))


def test_monai_streams_depend_on_the_number_of_workers(items: list[dict], tmp_path: Path) -> None:
    """Upstream: `monai.data.DataLoader` (1.6.1) seeds each worker, so 0 and 2 workers give other augmentations."""
    batches = []
    for workers in (0, 2):
        dataset = MonaiDataset(items, pipeline(tmp_path).set_random_state(0))
        torch.manual_seed(0)
        batches.append([batch["image"] for batch in MonaiLoader(dataset, batch_size=2, num_workers=workers)])
    assert not all(torch.equal(*pair) for pair in zip(*batches, strict=True))


def test_persistent_workers_follow_the_epoch(items: list[dict], tmp_path: Path) -> None:
    dataset = build(items, tmp_path)
    sampler = EpochSampler(dataset)
    lasting = loader(dataset, 2, sampler, 1)
    for epoch in (1, 2):
        sampler.set_epoch(epoch)
        fresh = EpochSampler(dataset)
        fresh.set_epoch(epoch)
        assert_same(list(lasting), list(loader(dataset, 2, fresh)))


def test_items_change_with_epoch_item_and_seed_only(items: list[dict], tmp_path: Path) -> None:
    dataset = build([items[0], items[0]], tmp_path)
    assert_same(dataset[3, 0], dataset[3, 0])
    assert_same(dataset[0], dataset[0, 0])
    assert_same(dataset[0, -1], dataset[0, 1])
    others = [dataset[3, 1], dataset[4, 0], build([items[0]], tmp_path, seed=1)[3, 0]]
    for other in others:
        assert not torch.equal(dataset[3, 0][0]["image"], other[0]["image"])
        assert not torch.equal(dataset[3, 0][0]["drawn"], other[0]["drawn"])
    with pytest.raises(IndexError, match="item 2 of 2"):
        dataset[2]


def test_items_leave_the_global_generators_alone(items: list[dict], tmp_path: Path) -> None:
    dataset = build(items, tmp_path)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    dataset[1, 1]
    assert_same(torch.rand(1), expected)


def test_threads_do_not_disturb_each_other(items: list[dict], tmp_path: Path) -> None:
    steps = [step for step in pipeline(tmp_path).transforms if not isinstance(step, FromTorchd)]
    dataset = PreparedDataset(items, steps, "ram", progress=False)
    places = [(epoch, index) for epoch in range(4) for index in range(5)]
    with ThreadPoolExecutor(4) as pool:
        assert_same(list(pool.map(dataset.__getitem__, places)), [dataset[place] for place in places])


@pytest.mark.parametrize("num_workers", [0, 3])
def test_every_cache_gives_the_same_items_and_prepares_each_once(
    items: list[dict], tmp_path: Path, num_workers: int
) -> None:
    plain = build(items, tmp_path)
    expected = [plain[1, index] for index in range(5)]
    before = calls(tmp_path)
    for cache in ("ram", tmp_path / "cache"):
        dataset = build(items, tmp_path, cache, num_workers=num_workers)
        assert_same([dataset[1, index] for index in range(5)], expected)
        assert_same([dataset[1, index] for index in range(5)], expected)
    assert calls(tmp_path) == before + 10


def test_a_second_run_finds_the_cache_on_disk(items: list[dict], tmp_path: Path) -> None:
    for _ in range(2):
        dataset = build(items, tmp_path, tmp_path / "cache")
        dataset[0]
    assert calls(tmp_path) == 5
    PreparedDataset(items, pipeline(tmp_path, samples=1), tmp_path / "cache", seed=9, progress=False)
    assert calls(tmp_path) == 5  # the random part and the seed are no part of what is stored


def test_monai_persistent_dataset_never_hits_its_cache_with_metadata(items: list[dict], tmp_path: Path) -> None:
    """Upstream: `PersistentDataset(track_meta=True)` (MONAI 1.6.1) finds each of its own files corrupt."""
    steps = [step for step in pipeline(tmp_path).transforms if not isinstance(step, FromTorchd)]
    theirs = PersistentDataset(items, Compose(steps), tmp_path / "monai", track_meta=True)
    theirs[0]
    with pytest.warns(UserWarning, match="Corrupt cache file"):
        theirs[0]
    assert calls(tmp_path) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours = PreparedDataset(items, steps, tmp_path / "cache", progress=False, track_meta=True)
        assert isinstance(ours[0][0]["image"], MetaTensor)
        ours[0]
    assert calls(tmp_path) == 2 + 5


def rewrite(path: str) -> None:
    nib.save(nib.Nifti1Image(np.ones((10, 9, 8), np.float32), np.eye(4)), path)


def touch(path: str) -> None:
    stat = os.stat(path)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))


@pytest.mark.parametrize("change", [rewrite, touch])
def test_a_changed_file_is_prepared_anew(items: list[dict], tmp_path: Path, change: Any) -> None:
    dataset = build(items, tmp_path, tmp_path / "cache")
    before = dataset[0]
    change(items[0]["image"])
    after = build(items, tmp_path, tmp_path / "cache")[0]
    assert calls(tmp_path) == 6
    assert torch.equal(before[0]["image"], after[0]["image"]) is (change is touch)


def test_a_changed_item_or_parameter_is_prepared_anew(items: list[dict], tmp_path: Path) -> None:
    build(items, tmp_path, tmp_path / "cache")
    build([{**items[0], "case": "renamed"}], tmp_path, tmp_path / "cache")
    assert calls(tmp_path) == 6
    changed = PreparedDataset(items, pipeline(tmp_path, add=1.0), tmp_path / "cache", progress=False)
    assert calls(tmp_path) == 11
    assert_same(changed[0], PreparedDataset(items, pipeline(tmp_path, add=1.0), progress=False)[0])


def scaled(factor: float) -> Compose:
    load = LoadImaged("image", reader="NibabelReader", ensure_channel_first=True)
    return Compose([load, ScaleIntensityd("image", minv=None, maxv=None, factor=factor - 1)])


def test_monai_persistent_dataset_serves_stale_items_after_a_change(items: list[dict], tmp_path: Path) -> None:
    """Upstream: by default the key of `PersistentDataset` (MONAI 1.6.1) holds neither transforms nor file times."""
    stored = PersistentDataset(items, scaled(1.0), tmp_path / "monai")[0]["image"]
    changed = PersistentDataset(items, scaled(2.0), tmp_path / "monai")[0]["image"]
    assert torch.equal(stored, changed)
    own = [PreparedDataset(items, scaled(factor), tmp_path / "own", progress=False)[0] for factor in (1.0, 2.0)]
    torch.testing.assert_close(own[1]["image"], 2 * own[0]["image"])


def test_a_half_written_or_broken_file_is_not_used(items: list[dict], tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    expected = build(items, tmp_path, folder)[1, 0]
    files = sorted(folder.iterdir())
    for file in files:  # a writer that was killed leaves a temporary file; a bad disk leaves half a file
        content = file.read_bytes()
        file.write_bytes(content[: len(content) // 2])
        (folder / f".{file.name}.abcdef").write_bytes(content[: len(content) // 2])
    dataset = build(items, tmp_path, folder)
    with pytest.warns(UserWarning, match="is broken and is made anew"):
        assert_same(dataset[1, 0], expected)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_same(dataset[1, 0], expected)
    assert calls(tmp_path) == 6


@pytest.mark.parametrize("place", ["ram", "folder"])
def test_transforms_that_write_in_place_do_not_reach_the_cache(items: list[dict], tmp_path: Path, place: str) -> None:
    # MONAI's NormalizeIntensity writes into its argument, here a crop that is a view of the stored volume.
    steps = [
        LoadImaged("image", reader="NibabelReader", ensure_channel_first=True),
        RandSpatialCropSamplesd("image", (8, 8, 8), num_samples=2, random_size=False),
        NormalizeIntensityd("image", nonzero=True, channel_wise=True),
    ]
    dataset = PreparedDataset(items, steps, "ram" if place == "ram" else tmp_path / "cache", progress=False)
    for index in range(5):
        first = dataset[1, index]
        first[0]["image"].zero_()
        first[0]["case"] = "changed"
    fresh = PreparedDataset(items, steps, progress=False)
    for index in range(5):
        assert_same(dataset[1, index], fresh[1, index])


def test_without_a_random_part_the_cache_is_safe_too(items: list[dict]) -> None:
    dataset = PreparedDataset(items, LoadImaged("image", reader="NibabelReader"), "ram", progress=False)
    expected = dataset[0]["image"].clone()
    dataset[0]["image"].zero_()
    assert_same(dataset[0]["image"], expected)


def test_items_are_plain_unless_metadata_is_wanted(items: list[dict], tmp_path: Path) -> None:
    load = LoadImaged("image", reader="NibabelReader", ensure_channel_first=True)
    for cache in ("none", "ram", tmp_path / "cache"):
        image = PreparedDataset(items, load, cache, progress=False, track_meta=True)[0]["image"]
        torch.testing.assert_close(
            image.affine, torch.diag(torch.tensor([2.0, 2.0, 3.0, 1.0], dtype=image.affine.dtype))
        )
        assert type(PreparedDataset(items, load, cache, progress=False)[0]["image"]) is Tensor


def test_the_split_is_at_the_first_random_step(tmp_path: Path) -> None:
    fixed, random = split_transform(Compose([LoadImaged("a"), Compose([ScaleIntensityd("a"), RandFlipd("a")])]))
    assert [type(step).__name__ for step in fixed.transforms] == ["LoadImaged", "ScaleIntensityd"]
    assert [type(step).__name__ for step in random.transforms] == ["RandFlipd"]
    either = OneOf([RandFlipd("a", prob=1.0), RandScaleIntensityd("a", 0.5, prob=1.0)])
    fixed, random = split_transform(either)
    assert len(fixed.transforms) == 0
    assert random.transforms == (either,)
    fixed, random = split_transform([LoadImaged("a"), lambda item: item, ScaleIntensityd("a")])
    assert (len(fixed.transforms), len(random.transforms)) == (1, 2)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


@pytest.mark.parametrize("cache", ["none", "ram", "folder"])
@pytest.mark.parametrize("damage", [truncate, Path.unlink, lambda path: path.write_bytes(b"no image")])
def test_an_unreadable_file_gets_a_sentence(items: list[dict], tmp_path: Path, damage: Any, cache: str) -> None:
    damage(Path(items[2]["image"]))
    with pytest.raises(
        InputError, match=r"Item 2 of the list cannot be read \(.*case2\.nii\.gz.* Replace or remove it"
    ):
        PreparedDataset(
            items,
            LoadImaged("image", ensure_channel_first=True),
            tmp_path / "cache" if cache == "folder" else cache,
            progress=False,
        )[2]


def test_a_mistake_in_a_transform_is_not_taken_for_a_bad_file(items: list[dict], tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="applying transform"):
        PreparedDataset(items, [LoadImaged("image"), Countd("label", tmp_path / "log")], progress=False)[0]


def test_the_sentence_of_a_transform_is_kept(items: list[dict]) -> None:
    class Refuse(MapTransform):
        def __call__(self, data: dict) -> dict:
            raise InputError("the spacing is wrong") from OSError("inner")

    with pytest.raises(RuntimeError) as caught:
        PreparedDataset(items, Refuse("image"), "ram", progress=False)
    assert str(find_input_error(caught.value)) == "the spacing is wrong"


def test_a_progress_bar_shows(items: list[dict], capsys: pytest.CaptureFixture[str]) -> None:
    PreparedDataset(items, LoadImaged("image", reader="NibabelReader"), "ram")
    assert "Preparing: 100%" in capsys.readouterr().err


def test_monai_engine_sets_the_epoch_and_a_run_resumes_inside_one(items: list[dict], tmp_path: Path) -> None:
    dataset = build(items, tmp_path, "ram")

    def run(iteration: int, stop: int | None, workers: int) -> list[Tensor]:
        seen: list[Tensor] = []

        def step(engine: SupervisedTrainer, batch: dict) -> dict:
            seen.append(batch["image"])
            if engine.state.iteration == stop:
                engine.terminate()
            return {}

        sampler = EpochSampler(dataset, seed=1)
        sampler.resume_at(iteration // 2 + 1, iteration % 2 * 2)
        network = nn.Linear(1, 1)
        trainer = SupervisedTrainer(
            device=torch.device("cpu"),
            max_epochs=3,
            train_data_loader=loader(dataset, 2, sampler, workers),
            network=network,
            optimizer=torch.optim.SGD(network.parameters(), lr=0.1),
            loss_function=nn.MSELoss(),
            iteration_update=step,
            decollate=False,
        )
        if iteration:
            trainer.load_state_dict({"iteration": iteration, "epoch_length": 2, "max_epochs": 3})
        trainer.run()
        return seen

    whole = run(0, None, 0)
    assert len(whole) == 6
    assert not torch.equal(whole[0], whole[2])
    for stop, workers in ((3, 0), (4, 1), (5, 0)):
        assert_same(run(0, stop, 0) + run(stop, None, workers), whole)

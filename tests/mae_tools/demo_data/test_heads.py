import gzip
import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_dilation

from bundle_runtime.data.datalist import items
from bundle_runtime.data.sequences import group_by_case
from custom_components.errors import InputError
from custom_components.tumour_labels import TISSUES, convention, region_table
from mae_tools.__main__ import COMMANDS
from mae_tools.demo_data import make_heads
from mae_tools.demo_data.brain import SEQUENCES
from mae_tools.demo_data.heads import head_case

CORE, OEDEMA, ENHANCING = 1, 2, 4
CLASS_NAMES = ("background", "TC", "WT", "ET")
SMALL = (32, 36, 28)

Head = dict[str, nib.Nifti1Image]
Voxels = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def drawn() -> list[Head]:
    return [head_case(0, number) for number in range(16)]


@pytest.fixture(scope="module")
def heads(drawn: list[Head]) -> list[Voxels]:
    return [{part: np.asarray(image.dataobj) for part, image in head.items()} for head in drawn]


def digest(head: Head) -> str:
    return hashlib.sha256(b"".join(image.to_bytes() for image in head.values())).hexdigest()


def normalised(image: np.ndarray) -> np.ndarray:
    """Mean 0 and deviation 1 over the brain; outside far below everything."""
    brain = image > 0
    return np.where(brain, (image - image[brain].mean()) / image[brain].std(), -99)


def best_threshold(images: list[np.ndarray], truths: list[np.ndarray]) -> tuple[float, float]:
    """Mean Dice of the one threshold that is best for all, and of the best threshold of each head."""
    levels = np.quantile(np.concatenate([image.ravel() for image in images]), np.linspace(0.4, 1, 400))
    dice = []
    for image, truth in zip(images, truths, strict=True):
        marked, hit = (
            values.size - np.searchsorted(np.sort(values, axis=None), levels) for values in (image, image[truth])
        )
        dice.append(2 * hit / np.maximum(marked + truth.sum(), 1))
    return float(np.mean(dice, axis=0).max()), float(np.max(dice, axis=1).mean())


def test_only_seed_and_number_decide_whatever_draws_them(drawn: list[Head]) -> None:
    with ThreadPoolExecutor(2) as pool:
        again = list(pool.map(lambda number: digest(head_case(0, number)), (3, 2, 1)))
    assert again == [digest(drawn[number]) for number in (3, 2, 1)]
    assert digest(head_case(1, 3)) != again[0]


def test_other_processors_draw_the_same(drawn: list[Head]) -> None:
    """Older vector units and another BLAS kernel round differently in the last place; no voxel may depend on it."""
    code = "from mae_tools.demo_data.heads import head_case as h\nimport hashlib\n"
    code += "print(hashlib.sha256(b''.join(i.to_bytes() for i in h(0, 1).values())).hexdigest())"
    other = {"OPENBLAS_CORETYPE": "Prescott", "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4", "OMP_NUM_THREADS": "2"}
    result = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **other}, capture_output=True, text=True, check=False
    )
    assert result.stdout.strip() == digest(drawn[1]), result.stderr


def test_images_and_labels_are_what_they_claim(drawn: list[Head], heads: list[Voxels]) -> None:
    for head, voxels in zip(drawn, heads, strict=True):
        assert list(head) == [*SEQUENCES, "seg"]
        assert {head[name].get_data_dtype().name for name in SEQUENCES} == {"int16"}
        assert head["seg"].get_data_dtype() == np.uint8
        assert sorted(head["seg"].shape) == [56, 64, 72]
        brain = voxels["flair"] > 0
        for name, image in head.items():
            assert np.array_equal(image.affine, head["flair"].affine)
            assert b"synthetic" in image.header["descrip"].item()
            assert np.array_equal(voxels[name] > 0, brain) or name == "seg"
            assert voxels[name].min() == 0
        assert 800 < brain.sum() * np.prod(head["seg"].header.get_zooms()) / 1000 < 1900  # ml, with the fluid around it
        assert not voxels["seg"][~brain].any()
    assert len({image["flair"].header.get_zooms() for image in drawn}) == len(drawn)
    assert len({"".join(nib.aff2axcodes(head["seg"].affine)) for head in drawn}) == 4


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 2**32), number=st.integers(0, 2**20), size=st.sampled_from([(24, 27, 21), (20, 30, 25)]))
def test_every_head_has_one_brain_and_a_tumour_in_it(seed: int, number: int, size: tuple[int, int, int]) -> None:
    head = {name: np.asarray(image.dataobj) for name, image in head_case(seed, number, size).items()}
    brain = head["t1"] > 0
    assert all(np.array_equal(head[name] > 0, brain) for name in SEQUENCES)
    assert min(head[name].min() for name in SEQUENCES) == 0
    assert brain[head["seg"] > 0].all()
    assert set(np.unique(head["seg"])) <= {0, CORE, OEDEMA, ENHANCING}
    assert (head["seg"] > 0).any()
    if number % 5 == 2:
        assert ENHANCING not in head["seg"]


def test_tumours_vary(drawn: list[Head], heads: list[Voxels]) -> None:
    volumes, sides = [], []
    for head, voxels in zip(drawn, heads, strict=True):
        counts = np.bincount(voxels["seg"].ravel(), minlength=5)
        volumes.append(counts * np.prod(head["seg"].header.get_zooms()) / 1000)
        middle, centre = (
            nib.affines.apply_affine(head["seg"].affine, np.argwhere(mask).mean(axis=0))
            for mask in (voxels["flair"] > 0, voxels["seg"] > 0)
        )
        sides.append(np.sign(centre - middle))
    core, oedema, enhancing = np.transpose(volumes)[[CORE, OEDEMA, ENHANCING]]
    whole = core + oedema + enhancing
    assert [number for number in range(16) if enhancing[number] == 0] == [2, 7, 12]
    assert whole.min() > 4
    assert whole.max() > 100
    assert sum(oedema < 0.45 * whole) == 4  # 3, 7, 11, 15
    for axis in range(3):  # on the right and on the left, in front and behind, above and below
        assert {-1.0, 1.0} == {side[axis] for side in sides}


def test_the_core_lies_within_the_oedema_and_the_rim_around_the_core(heads: list[Voxels]) -> None:
    for number in (0, 1, 4, 6, 9, 13, 14):
        label = heads[number]["seg"]
        core, brain = np.isin(label, (CORE, ENHANCING)), heads[number]["flair"] > 0
        around_core = binary_dilation(core) & ~core & brain
        assert (label[around_core] == OEDEMA).mean() > 0.5, number
        necrosis = label == CORE
        around_necrosis = binary_dilation(necrosis) & ~necrosis
        assert (label[around_necrosis] == ENHANCING).mean() > 0.6, number


def test_contrasts_are_right_in_kind(heads: list[Voxels]) -> None:
    """What each tissue does in each sequence, beside white matter (the commonest tissue that is bright in T1)."""
    for number, head in enumerate(heads):
        healthy = (head["seg"] == 0) & (head["flair"] > 0)
        fluid = healthy & (head["t2"] > np.quantile(head["t2"][healthy], 0.985))
        white = healthy & (head["t1"] > np.quantile(head["t1"][healthy], 0.6))
        level = {
            part: {name: float(np.median(head[name][mask])) for name in SEQUENCES}
            for part, mask in {
                "white": white,
                "fluid": fluid,
                "core": head["seg"] == CORE,
                "oedema": head["seg"] == OEDEMA,
                "rim": head["seg"] == ENHANCING,
            }.items()
            if mask.any()
        }
        unit = level["white"]
        ratio = {part: {name: values[name] / unit[name] for name in SEQUENCES} for part, values in level.items()}
        assert ratio["fluid"]["flair"] < 0.8
        assert ratio["fluid"]["t1"] < 0.7
        assert ratio["fluid"]["t2"] > 1.8
        assert ratio["oedema"]["flair"] > 1.1
        assert ratio["oedema"]["t2"] > 1.2
        assert ratio["oedema"]["t1"] < 0.95
        if number % 5 == 2:
            assert ratio["core"]["flair"] > 1.1  # solid, no fluid
            assert ratio["core"]["t1ce"] < 0.8
        else:
            assert ratio["rim"]["t1ce"] > 1.1
            assert ratio["rim"]["t1ce"] > 1.25 * ratio["rim"]["t1"]
        if (head["seg"] == CORE).sum() > 200:
            assert ratio["core"]["t1"] < ratio["oedema"]["t1"]


def test_intensity_scales_differ(heads: list[Voxels]) -> None:
    for name in SEQUENCES:
        medians = [np.median(head[name][head[name] > 0]) for head in heads]
        assert max(medians) > 1.5 * min(medians)


def test_no_threshold_finds_the_tumour(heads: list[Voxels]) -> None:
    whole = [head["seg"] > 0 for head in heads]
    for images in ([normalised(head["flair"]) for head in heads], [head["flair"] for head in heads]):
        for_all, for_each = best_threshold(images, whole)
        assert for_all < 0.62
        assert for_each < 0.65
    both = [normalised(head["flair"]) + normalised(head["t2"]) for head in heads]
    assert max(best_threshold(both, whole)) < 0.62

    enhancing = [head for head in heads if (head["seg"] == ENHANCING).any()]
    rims = [head["seg"] == ENHANCING for head in enhancing]
    gain = [normalised(head["t1ce"]) - normalised(head["t1"]) for head in enhancing]
    for images in ([normalised(head["t1ce"]) for head in enhancing], [head["t1ce"] for head in enhancing], gain):
        assert max(best_threshold(images, rims)) < 0.6


def test_the_data_set_is_read_by_name(tmp_path: Path) -> None:
    made = make_heads(tmp_path, cases=4, shape=SMALL)
    assert [len(made[part]) for part in ("training", "validation", "test")] == [2, 1, 1]
    assert made["modality"] == "synthetic MRI"
    cases = group_by_case(tmp_path.rglob("*.nii.gz"))
    assert len(cases) == 4
    for entry in items(tmp_path / "datalist.json", "training", class_names=CLASS_NAMES):
        assert entry["sequences"] == list(SEQUENCES)
        assert entry["label_convention"] == "brats2018"
        assert entry["unlabelled"] == []
        assert entry["case"] == entry["patient_id"]
        found = cases[entry["case"]]
        assert [found[name] for name in SEQUENCES] == entry["image"]
        assert found["seg"] == entry["label"]
        codes = convention("brats2018").decode(np.asarray(nib.load(entry["label"]).dataobj), entry["label"])
        assert {TISSUES[code] for code in np.unique(codes)} == {
            "background", "oedema", "non-enhancing core", "enhancing tumour",
        }  # fmt: skip
    assert region_table(CLASS_NAMES).shape == (len(TISSUES), 3)


def test_files_are_replaced_and_the_first_cases_stay_the_same(tmp_path: Path) -> None:
    make_heads(tmp_path, cases=4, shape=SMALL)
    before = {file: file.read_bytes() for file in sorted(tmp_path.rglob("*.nii.gz"))}
    spoiled = next(iter(before))
    spoiled.write_bytes(b"not a volume")
    make_heads(tmp_path, cases=3, shape=SMALL)
    assert len(before) == 20
    for file, content in before.items():
        assert file.read_bytes() == content
    assert not [file for file in tmp_path.rglob("*") if file.name.startswith(".")]


def test_the_command_draws_them(tmp_path: Path) -> None:
    COMMANDS["draw"]["heads"](str(tmp_path), cases=3, shape=[20, 24, 18])
    assert len(list(tmp_path.rglob("*_seg.nii.gz"))) == 3


def test_sixteen_heads_take_little_room(drawn: list[Head]) -> None:
    for head in drawn[:4]:
        assert sum(len(gzip.compress(image.to_bytes(), 6)) for image in head.values()) < 15e6 / 16


def test_too_few_cases_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cases is 2, expected at least 3"):
        make_heads(tmp_path / "new", cases=2)
    assert not (tmp_path / "new").exists()

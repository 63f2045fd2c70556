"""MONAI Label runs the packages: inference of all five, training, uncertainty, two in one server."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from strangers import Packages, interpreter, scores_of

pytestmark = pytest.mark.slow
Ask = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def label() -> str:
    return interpreter("LABEL", "monailabel")


def test_a_label_map_is_that_of_the_bundles_own_run(packages: Packages, label: str, ask: Ask, tmp_path: Path) -> None:
    name = "btcv_unetr_mae"
    image = packages.images(name)[0]
    found = ask(label, "label_tool.py", "infer", packages.bundle(name), image)
    assert found["labels"] == {"liver": 1, "spleen": 2, "right kidney": 3, "left kidney": 4, "aorta": 5}
    assert found["same_grid"]
    own = packages.own(name, tmp_path) / f"{Path(image).name.removesuffix('.nii.gz')}_seg.nii.gz"
    assert np.array_equal(np.load(tmp_path / "label_map.npy"), np.asarray(nib.load(own).dataobj))
    assert len(found["values"]) > 1


def test_tissues_of_a_tumour_have_their_own_names(packages: Packages, label: str, ask: Ask, tmp_path: Path) -> None:
    name = "brats_unetr_mae"
    image = packages.images(name)[0]
    found = ask(label, "label_tool.py", "infer", packages.bundle(name), image)
    assert found["labels"] == {"oedema": 1, "non-enhancing tumour core": 2, "enhancing tumour": 3}
    assert found["same_grid"]
    assert {int(value) for value in found["values"]} <= {0, 1, 2, 3}


@pytest.mark.parametrize("name", ["cxr14_mae", "histo_sdmae", "medcls_msmae"])
def test_classes_have_the_scores_of_the_bundles_own_run(
    packages: Packages, label: str, ask: Ask, tmp_path: Path, name: str
) -> None:
    image = packages.images(name)[0]
    found = ask(label, "label_tool.py", "infer", packages.bundle(name), image, "classification")
    own = scores_of(image, packages.own(name, tmp_path))
    assert len(found["prediction"]) > 1
    for entry in found["prediction"]:
        assert entry["score"] == pytest.approx(own[entry["label"]], abs=2e-4), entry["label"]


@pytest.mark.parametrize("name", ["btcv_unetr_mae", "brats_unetr_mae"])
def test_training_on_a_study_changes_the_weights(
    packages: Packages, label: str, ask: Ask, tmp_path: Path, name: str
) -> None:
    bundle = shutil.copytree(packages.bundle(name), tmp_path / name)
    study = packages.study(name, tmp_path / "study")
    found = ask(label, "label_tool.py", "train", bundle, study, 2)
    assert found["changed"] > found["tensors"] / 2
    assert found["multi_gpu"] == ["multi_gpu_train.json"]
    again = ask(label, "label_tool.py", "train", bundle, study, 1)
    assert again["changed"] > 0


def test_dropout_gives_other_answers_each_time(packages: Packages, label: str, ask: Ask) -> None:
    found = ask(
        label, "label_tool.py", "uncertain", packages.bundle("btcv_unetr_mae"), packages.images("btcv_unetr_mae")[0]
    )
    assert found["different"] > 0


def test_two_bundles_in_one_server_run_their_own_code(packages: Packages, label: str, ask: Ask) -> None:
    names = ["btcv_unetr_mae", "brats_unetr_mae"]
    bundles, images = [packages.bundle(name) for name in names], [packages.images(name)[0] for name in names]
    found = ask(label, "label_tool.py", "two", *bundles, *images)
    first, _, again = found["values"]
    assert first == again
    assert [Path(home).relative_to(bundle).parts[0] for home, bundle in zip(found["homes"], bundles, strict=True)] == [
        "custom_components"
    ] * 2

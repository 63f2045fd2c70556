"""MONAI Label's application for bundles runs the packages, and a bundle of the Model Zoo: inference of all five,
training, also with several processes, uncertainty, two in one server."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from strangers import CONTROL, Packages, interpreter, scores_of, tissues

pytestmark = pytest.mark.slow
Ask = Callable[..., list[dict[str, Any]]]
LABELS = {
    "btcv_unetr_mae": {"liver": 1, "spleen": 2, "right kidney": 3, "left kidney": 4, "aorta": 5},
    "brats_unetr_mae": {"oedema": 1, "non-enhancing tumour core": 2, "enhancing tumour": 3},
    CONTROL: {"spleen": 1},
}
SEGMENTING = list(LABELS)


@pytest.fixture
def server(packages: Packages, ask: Callable[..., dict[str, Any]], tmp_path: Path) -> Ask:
    """The answers of a server with some bundles, by the name they have there, to requests, one after the other."""
    python = interpreter("LABEL", "monailabel")

    def call(names: dict[str, str], *requests: tuple[str, dict[str, Any]], studies: Path | None = None) -> Any:
        bundles = json.dumps({name: str(packages.bundle(bundle)) for name, bundle in names.items()})
        asked = json.dumps([[what, {"device": "cpu", **request}] for what, request in requests])
        return ask(python, "label_tool.py", studies or tmp_path / "studies", bundles, asked)["answers"]

    return call


@pytest.mark.parametrize("name", SEGMENTING)
def test_a_label_map_is_that_of_the_bundles_own_run(packages: Packages, server: Ask, tmp_path: Path, name: str) -> None:
    image = packages.images(name)[0]
    (found,) = server({name: name}, ("infer", {"model": name, "image": image}))
    assert (found["labels"], found["kind"]) == (LABELS[name], "segmentation")
    assert found["same_grid"]
    if name != CONTROL:
        made, own = np.load(tmp_path / "label_map.npy"), nib.load(packages.own(name, tmp_path))
        assert np.array_equal(made, tissues(own) if name.startswith("brats") else np.asarray(own.dataobj))
        assert 0 < len(np.unique(made)[1:]) <= len(LABELS[name])


@pytest.mark.parametrize("name", ["cxr14_mae", "histo_sdmae", "medcls_msmae"])
def test_classes_have_the_scores_of_the_bundles_own_run(
    packages: Packages, server: Ask, tmp_path: Path, name: str
) -> None:
    image, known = packages.images(name)[0], f"{name}_classification"
    (found,) = server({known: name}, ("infer", {"model": known, "image": image}))
    assert found["kind"] == "classification"
    own = scores_of(image, packages.own(name, tmp_path))
    assert len(found["prediction"]) > 1
    for entry in found["prediction"]:
        assert entry["score"] == pytest.approx(own[entry["label"]], abs=2e-4), entry["label"]


@pytest.mark.parametrize("name", SEGMENTING)
def test_training_on_a_study_changes_the_weights(packages: Packages, server: Ask, tmp_path: Path, name: str) -> None:
    epochs = 1 if name == CONTROL else 2  # a network of full size
    request = {"model": name, "max_epochs": epochs, "val_split": 0.25, "multi_gpu": False}
    requests = ("train", request), ("train", request), ("infer", {"model": name, "image": packages.images(name)[0]})
    first, again, after = server({name: name}, *requests, studies=packages.study(name, tmp_path / "study"))
    assert first["changed"] > first["tensors"] / 2
    assert again["changed"] > 0
    assert (after["labels"], after["same_grid"]) == (LABELS[name], True)


@pytest.mark.parametrize("name", ["btcv_unetr_mae", "brats_unetr_mae"])
def test_several_processes_train_where_label_asks_for_them(
    packages: Packages, server: Ask, tmp_path: Path, name: str
) -> None:
    request = {"model": name, "max_epochs": 2, "val_split": 0.25, "force_multi_gpu": True, "gpus": "0,1"}
    (found,) = server({name: name}, ("train", request), studies=packages.study(name, tmp_path / "study"))
    assert found["changed"] > found["tensors"] / 2


@pytest.mark.parametrize("name", SEGMENTING)
def test_images_without_labels_are_scored_by_their_uncertainty(
    packages: Packages, server: Ask, tmp_path: Path, name: str
) -> None:
    study = packages.study(name, tmp_path / "study", labelled=2)
    (found,) = server({name: name}, ("scoring", {"method": name}), studies=study)
    assert found["executed"] == len(found["entropies"]) == 2
    assert all(value > 0 for value in found["entropies"].values())
    assert len(set(found["entropies"].values())) == 2


def test_two_bundles_in_one_server_run_their_own_code(packages: Packages, server: Ask, tmp_path: Path) -> None:
    names = ["btcv_unetr_mae", "brats_unetr_mae"]
    requests = [("infer", {"model": name, "image": packages.images(name)[0]}) for name in [*names, names[0]]]
    first, other, again = server({name: name for name in names}, *requests)
    assert first["values"] == again["values"]
    for name, answer in zip(names, (first, other), strict=True):
        home = tmp_path / "app" / "model" / name / "custom_components"
        assert home in Path(answer["code"]).parents

"""MONAI Label's application for bundles runs the packages, and a bundle of the Model Zoo.

Inference of all of them in one server; scoring by uncertainty and training, also with several processes, on a study.
"""

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from strangers import CONTROL, Packages, interpreter, run, scores_of, tissues

pytestmark = pytest.mark.slow
Found = dict[str, Any]
LABELS = {
    "btcv_unetr_mae": {"liver": 1, "spleen": 2, "right kidney": 3, "left kidney": 4, "aorta": 5},
    "brats_unetr_mae": {"oedema": 1, "non-enhancing tumour core": 2, "enhancing tumour": 3},
    CONTROL: {"spleen": 1},
}
CLASSIFYING = ["cxr14_mae", "histo_sdmae", "medcls_msmae"]


def serve(packages: Packages, folder: Path, names: dict[str, str], requests: list[Any], studies: Path) -> list[Found]:
    """The answers of one server process to requests, with bundles by the name that they have there."""
    python = interpreter("LABEL", "monailabel")
    bundles = json.dumps({name: str(packages.bundle(bundle)) for name, bundle in names.items()})
    asked = json.dumps([[what, {"device": "cpu", **request}] for what, request in requests])
    said = run([python, "-W", "ignore", Path(__file__).parent / "label_tool.py", studies, bundles, asked], folder)
    found: Found = json.loads(said.strip().splitlines()[-1])
    print(found["monailabel"], found["monai"], *zip(requests, found["answers"], strict=True), sep="\n")
    return list(found["answers"])


def in_label(name: str) -> str:
    """The name of a bundle in the server, by which Label tells its kind."""
    return f"{name}_classification" if name in CLASSIFYING else name


@pytest.fixture(scope="module")
def server(packages: Packages, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Found], Found]:
    """Where one server with six bundles ran, what each answered, and the first once more after all others."""
    folder, bundles = tmp_path_factory.mktemp("server"), [*LABELS, *CLASSIFYING]
    requests = [
        ("infer", {"model": in_label(name), "image": packages.images(name)[0]}) for name in [*bundles, bundles[0]]
    ]
    names = {in_label(name): name for name in bundles}
    *answers, again = serve(packages, folder, names, requests, folder / "studies")
    return folder, dict(zip(bundles, answers, strict=True)), again


def test_bundles_in_one_server_run_their_own_code(server: tuple[Path, dict[str, Found], Found]) -> None:
    folder, answers, again = server
    assert again["values"] == answers["btcv_unetr_mae"]["values"]
    for name in [*list(LABELS)[:2], *CLASSIFYING]:
        assert folder / "app" / "model" / in_label(name) in Path(answers[name]["code"]).parents


@pytest.mark.parametrize("name", LABELS)
def test_a_label_map_is_that_of_the_bundles_own_run(
    packages: Packages, server: tuple[Path, dict[str, Found], Found], name: str
) -> None:
    folder, answers, _ = server
    found = answers[name]
    assert (found["labels"], found["kind"]) == (LABELS[name], "segmentation")
    assert found["same_grid"]
    if name != CONTROL:
        made, own = np.load(folder / f"{name}.npy"), nib.load(packages.own(name))
        assert np.array_equal(made, tissues(own) if name.startswith("brats") else np.asarray(own.dataobj))
        assert 0 < len(np.unique(made)[1:]) <= len(LABELS[name])


@pytest.mark.parametrize("name", CLASSIFYING)
def test_classes_have_the_scores_of_the_bundles_own_run(
    packages: Packages, server: tuple[Path, dict[str, Found], Found], name: str
) -> None:
    found = server[1][name]
    assert found["kind"] == "classification"
    own = scores_of(packages.images(name)[0], packages.own(name))
    assert len(found["prediction"]) > 1
    for entry in found["prediction"]:
        assert entry["score"] == pytest.approx(own[entry["label"]], abs=2e-4), entry["label"]


@pytest.mark.parametrize("name", LABELS)
def test_a_study_is_scored_by_uncertainty_and_trained_on(packages: Packages, tmp_path: Path, name: str) -> None:
    """Six images, two of which have no label yet."""
    study = packages.study(name, tmp_path / "study", cases=6, labelled=4)
    epochs = 1 if name == CONTROL else 2  # a network of full size
    alone = {"model": name, "max_epochs": epochs, "val_split": 0.25, "multi_gpu": False}
    together = {**alone, "force_multi_gpu": True, "gpus": "0,1"}
    requests = [
        ("scoring", {"method": name}), ("train", alone), ("infer", {"model": name, "image": packages.images(name)[0]}),
        *([] if name == CONTROL else [("train", alone), ("train", together)]),  # its overlay asks for NCCL
    ]  # fmt: skip
    scored, trained, inferred, *more = serve(packages, tmp_path, {name: name}, requests, study)
    entropies = scored["entropies"].values()
    assert scored["executed"] == len(entropies) == len(set(entropies)) == 2
    assert all(value > 0 for value in entropies)
    assert trained["changed"] > trained["tensors"] / 2
    assert (inferred["labels"], inferred["same_grid"]) == (LABELS[name], True)
    for found in more:
        assert found["changed"] > found["tensors"] / 2

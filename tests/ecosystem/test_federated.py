"""Federated training: MONAI's client alone, then in NVIDIA FLARE's simulator."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from strangers import CONTROL, Packages, interpreter, run

pytestmark = pytest.mark.slow
Ask = Callable[..., dict[str, Any]]
ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 3


class Plan(NamedTuple):
    """One site's `start`, then rounds of two sites; docs/ecosystem.md has the measurements that `margin` comes from."""

    cases: int
    start: str  # stage that the first site runs on its own images: what it learns is what all begin with
    start_epochs: int
    start_batch: int
    epochs: int  # of a round
    batch: int  # of a site; one on both lists has twice as many
    least: float  # what one on both lists reaches
    margin: float  # how much less the average of two may reach


# The random decoder of a UNETR cannot be averaged after as long a training, so there the start has read labels, too.
PLAN = {
    "btcv_unetr_mae": Plan(32, "train", 104, 2, 13, 2, 0.8, 0.02),
    "cxr14_mae": Plan(4000, "pretrain", 80, 32, 4, 16, 0.9, 0.06),
}


def parts(data: Path, folder: Path, first: float = 0.5) -> list[Path]:
    """Datalists of two sites, with the first part of the training patients and the others, and one with all."""
    content = json.loads((data / "datalist.json").read_text())
    items = content["training"]
    cut = round(first * len(items))
    paths = []
    for name, part in (("site-1", items[:cut]), ("site-2", items[cut:]), ("all", items)):
        paths.append(folder / f"{name}.json")
        paths[-1].write_text(json.dumps({**content, "training": part}))
    return paths


def start(bundle: Path, data: Path, datalist: Path, plan: Plan) -> Path:
    """Weights that the first site has learnt alone: an encoder or a whole network."""
    out = datalist.parent / "start"
    flags = {"config_file": bundle / "configs" / f"{plan.start}.yaml", "bundle_root": bundle, "dataset_dir": data}
    flags |= {"datalist": datalist, "output_dir": out, "model_dir": out, "batch_size": plan.start_batch}
    flags |= {"max_epochs": plan.start_epochs, "warmup_epochs": 5}
    flags |= {"val_interval": plan.start_epochs // 8}
    flags |= {"init": "scratch"} if plan.start == "train" else {}
    words = [part for key, value in flags.items() for part in (f"--{key}", value)]
    run([sys.executable, "-W", "ignore", "-m", "monai.bundle", "run", *words], datalist.parent, timeout=3000)
    return out / ("model.pt" if plan.start == "train" else "pretrained_encoder.safetensors")


def averaged(
    ask: Ask, bundle: Path, folder: Path, epochs: int, sites: list[dict[str, Any]], *first: Path, rounds: int = ROUNDS
) -> dict[str, Any]:
    """What the rounds of some sites say, each with its own copy of the bundle; `first`: a file they start from."""
    own = [shutil.copytree(bundle, folder / f"site-{number}" / bundle.name) for number, _ in enumerate(sites)]
    given = [{"bundle": str(copy), **settings} for copy, settings in zip(own, sites, strict=True)]
    answer = ask(sys.executable, "federated_tool.py", rounds, epochs, json.dumps(given), *first)
    assert answer["same_start"]
    assert answer["weights_kept"] == [True] * rounds  # evaluating the averaged and an empty network wrote nothing
    assert answer["best"] == [answer["tensors"]] * len(sites)
    return answer


@pytest.mark.parametrize("name", PLAN)
def test_two_clients_learn_what_one_learns_on_both_lists(ask: Ask, tmp_path: Path, name: str) -> None:
    plan = PLAN[name]
    packages = Packages(tmp_path / "packages", plan.cases)
    data, settings = packages.data(name), {"warmup_epochs": 0, "val_interval": plan.epochs}
    *lists, everything = parts(data, tmp_path)
    settings |= {"dataset_dir": str(data), "max_epochs": ROUNDS * plan.epochs}
    weights = start(packages.bundle(name), data, lists[0], plan)
    if plan.start == "pretrain":
        first, settings = [], settings | {"init": "mae", "encoder_file": str(weights)}
    else:
        first, settings = [weights], settings | {"init": "scratch", "learning_rate": 1.0e-3}
    # As many updates with as many images in each: one has the batches of two.
    two = [{**settings, "datalist": str(path), "batch_size": plan.batch} for path in lists]
    one = [{**settings, "datalist": str(everything), "batch_size": 2 * plan.batch}]
    reached = []
    for folder, sites in (("two", two), ("one", one)):
        answer = averaged(ask, packages.bundle(name), tmp_path / folder, plan.epochs, sites, *first)
        assert answer["last_rate"] == pytest.approx(0, abs=1e-4)  # the schedule went over all rounds
        values = [value for site in answer["metrics"][-1] for value in site.values()]
        assert values == pytest.approx(values[:1] * len(values), abs=1e-6)  # one network, one validation list
        reached.append(values[0])
    assert reached[1] >= plan.least
    assert reached[0] >= reached[1] - plan.margin


def test_a_bundle_of_the_zoo_goes_through_the_rounds(packages: Packages, ask: Ask, tmp_path: Path) -> None:
    data = packages.data(CONTROL)
    items = json.loads((data / "datalist.json").read_text())["training"]
    files = {key: [str(data / item[key[:-1]]) for item in items] for key in ("images", "labels")}
    settings: dict[str, Any] = {**files, "epochs": 1, "train#random_transforms#0#spatial_size": [32, 32, 32]}
    settings |= {"train#deterministic_transforms#3#pixdim": [4.8, 4.8, 4.8]}  # of the drawn images: small ones
    settings |= {"validate#dataset#data": [{"image": files["images"][0], "label": files["labels"][0]}]}
    settings |= {f"{part}#dataloader#num_workers": 0 for part in ("train", "validate")}
    averaged(ask, packages.bundle(CONTROL), tmp_path, 1, [settings] * 2, rounds=1)


def test_the_job_of_nvidia_flare_averages_what_its_sites_learn(packages: Packages, tmp_path: Path) -> None:
    python = interpreter("FLARE", "nvflare")
    name = "cxr14_mae"
    parts(packages.data(name), tmp_path, first=0.75)
    out = tmp_path / "out"
    flags = {"bundle": packages.bundle(name), "dataset_dir": packages.data(name), "lists": tmp_path, "out": out}
    words = [part for key, value in flags.items() for part in (f"--{key}", value)]
    print(run([python, "-W", "ignore", ROOT / "docs" / "flare" / "job.py", *words, "--rounds", 2], tmp_path))
    assert [path.name for path in sorted(out.glob("site-*/model.pt"))] == ["model.pt"] * 2
    (path,) = out.rglob("global_model.pt")
    made, first = torch.load(path)["model"], torch.load(out / "first_model.pt")
    sites = [torch.load(out / f"site-{number}" / "training_state.pt") for number in (1, 2)]
    steps = [site["iteration"] // 2 for site in sites]  # of a round
    assert steps[0] > steps[1] > 0
    for key, tensor in made.items():
        learnt = sum(count * site["network"][key].float() for count, site in zip(steps, sites, strict=True)) / sum(
            steps
        )
        assert torch.allclose(torch.as_tensor(tensor), learnt, atol=1e-6), key
    assert sum(not torch.equal(torch.as_tensor(made[key]), tensor) for key, tensor in first.items()) > len(first) / 2

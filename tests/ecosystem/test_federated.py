"""Federated training: MONAI's client alone, then in NVIDIA FLARE's simulator."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from strangers import Packages, interpreter, run

Ask = Callable[..., dict[str, Any]]
ROOT = Path(__file__).resolve().parents[2]
MARGIN = 0.1  # of the key metric of the averaged network below that of one training on both lists


def halves(data: Path, folder: Path) -> list[Path]:
    """Two datalists with half of the training patients each, and one with all."""
    content = json.loads((data / "datalist.json").read_text())
    items = content["training"]
    paths = []
    for name, part in (("site-1", items[::2]), ("site-2", items[1::2]), ("all", items)):
        paths.append(folder / f"{name}.json")
        paths[-1].write_text(json.dumps({**content, "training": part}))
    return paths


@pytest.mark.slow
@pytest.mark.parametrize(("name", "cases"), [("btcv_unetr_mae", 16), ("cxr14_mae", 600)])
def test_two_clients_learn_what_one_learns_on_both_lists(ask: Ask, tmp_path: Path, name: str, cases: int) -> None:
    packages = Packages(tmp_path / "packages", cases)
    *sites, everything = halves(packages.data(name), tmp_path)
    answers = []
    for folder, lists in (("two", sites), ("one", [everything])):
        bundle = shutil.copytree(packages.bundle(name), tmp_path / folder / name)
        answers.append(ask(sys.executable, "federated_tool.py", bundle, packages.data(name), 3, 20, *lists))
    for answer in answers:
        assert answer["same_start"]
        assert answer["weights_kept"]  # evaluating the averaged and an empty network wrote nothing
        assert answer["last_rate"] == pytest.approx(0, abs=1e-4)  # the schedule went over all rounds
    two, one = ([min(site.values()) for site in answer["metrics"][-1]] for answer in answers)
    assert two[0] == pytest.approx(two[1], abs=1e-6)
    assert two[0] >= one[0] - MARGIN


@pytest.mark.slow
def test_the_job_of_nvidia_flare_runs(packages: Packages, tmp_path: Path) -> None:
    python = interpreter("FLARE", "nvflare")
    name = "cxr14_mae"
    halves(packages.data(name), tmp_path)
    out = tmp_path / "out"
    flags = {"bundle": packages.bundle(name), "dataset_dir": packages.data(name), "lists": tmp_path, "out": out}
    words = [part for key, value in flags.items() for part in (f"--{key}", value)]
    print(run([python, "-W", "ignore", ROOT / "docs" / "flare" / "job.py", *words, "--rounds", 2], tmp_path))
    assert [path.name for path in sorted(out.glob("site-*/model.pt"))] == ["model.pt"] * 2
    assert list(out.rglob("global_model*"))

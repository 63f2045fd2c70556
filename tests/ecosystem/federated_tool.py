"""Rounds of federated averaging with MONAI's own client: needs MONAI alone, and a bundle that is not on the path.

`python federated_tool.py <bundle> <dataset_dir> <rounds> <epochs a round> <list> [<list> ...]`: one client a list; the
last line is JSON.
"""

import hashlib
import json
import logging
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from monai.fl.client.monai_algo import MonaiAlgo
from monai.fl.utils.constants import ExtraItems
from monai.fl.utils.exchange_object import ExchangeObject
from monai.networks import get_state_dict

Weights = dict[str, torch.Tensor]


def client(bundle: Path, number: int, rounds: int, epochs: int, **settings: Any) -> MonaiAlgo:
    """A site with its own folder of results."""
    own = {
        "init": "scratch", "max_epochs": rounds * epochs, "warmup_epochs": 0, "val_interval": epochs, "num_workers": 0,
        "output_dir": str(bundle.parent / f"site_{number}"), "model_dir": str(bundle.parent / f"site_{number}"),
        **settings,
    }  # fmt: skip
    made = MonaiAlgo(bundle.name, epochs, send_weight_diff=False, train_kwargs=dict(own), eval_kwargs=dict(own))
    made.initialize({ExtraItems.CLIENT_NAME: f"site_{number}", ExtraItems.APP_ROOT: str(bundle.parent)})
    return made


def mean(parts: list[Weights]) -> Weights:
    """The average of several networks."""
    return {name: torch.stack([torch.as_tensor(part[name]).float() for part in parts]).mean(0) for name in parts[0]}


def run(bundle: Path, dataset_dir: str, rounds: int, epochs: int, lists: list[str]) -> dict[str, Any]:
    """Train, average, evaluate; how the metric of the averaged network went."""
    cached = {"cache": str(bundle.parent / "cache")} if "xr" in bundle.name else {}
    sites = [
        client(bundle, number, rounds, epochs, dataset_dir=dataset_dir, datalist=path, **cached)
        for number, path in enumerate(lists)
    ]
    states = [get_state_dict(site.trainer.network) for site in sites]
    weights = {name: tensor.clone() for name, tensor in states[0].items()}
    same = all(torch.equal(states[-1][name], tensor) for name, tensor in weights.items())
    metrics, kept = [], True
    for _ in range(rounds):
        for site in sites:
            site.train(ExchangeObject(weights=weights), extra={})
        before = [digest(bundle.parent / f"site_{number}") for number in range(len(sites))]
        weights = mean([site.get_weights(extra={}).weights for site in sites])
        metrics.append([dict(site.evaluate(ExchangeObject(weights=weights), extra={}).metrics) for site in sites])
        zero = {name: torch.zeros_like(tensor) for name, tensor in weights.items()}
        sites[0].evaluate(ExchangeObject(weights=zero), extra={})
        kept &= before == [digest(bundle.parent / f"site_{number}") for number in range(len(sites))]
    for site in sites:
        site.finalize({})
    rates = [group["lr"] for group in sites[0].train_workflow.parser.get_parsed_content("optimizer").param_groups]
    return {"same_start": same, "metrics": metrics, "weights_kept": kept, "last_rate": max(rates)}


def digest(folder: Path) -> str:
    """Of the best weights that a training has written."""
    return hashlib.sha256((folder / "model.pt").read_bytes()).hexdigest()


if __name__ == "__main__":
    logging.disable(logging.INFO)
    torch.set_num_threads(1)
    where, data, number, length, *paths = sys.argv[1:]
    found = run(Path(where).resolve(), data, int(number), int(length), paths)
    print(json.dumps({"monai": version("monai"), **found}))

"""Rounds of federated averaging with MONAI's own client: needs MONAI alone, and bundles that are not on the path.

`python federated_tool.py <rounds> <epochs a round> <JSON: a list of {"bundle": <a site's own copy>, <its settings>}>
[<model.pt that all start from>]`; the last line is JSON.
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
from monai.fl.utils.constants import ExtraItems, ModelType
from monai.fl.utils.exchange_object import ExchangeObject
from monai.networks import get_state_dict

Weights = dict[str, torch.Tensor]


def client(bundle: str, epochs: int, **settings: Any) -> MonaiAlgo:
    """A site, with MONAI's defaults; what it keeps goes to its own copy of the bundle."""
    root = Path(bundle)
    given = {"train_kwargs": dict(settings), "eval_kwargs": dict(settings)}
    made = MonaiAlgo(root.name, epochs, send_weight_diff=False, **given)
    made.initialize({ExtraItems.CLIENT_NAME: root.parent.name, ExtraItems.APP_ROOT: str(root.parent)})
    return made


def mean(parts: list[Weights]) -> Weights:
    """The average of several networks."""
    return {name: torch.stack([torch.as_tensor(part[name]).float() for part in parts]).mean(0) for name in parts[0]}


def run(rounds: int, epochs: int, given: list[dict[str, Any]], start: str | None = None) -> dict[str, Any]:
    """Train, average, evaluate; how the metric of the averaged network went."""
    models = [Path(settings["bundle"]) / "models" / "model.pt" for settings in given]
    sites = [client(epochs=epochs, **settings) for settings in given]
    states = [get_state_dict(site.trainer.network) for site in sites]
    weights = {name: tensor.clone() for name, tensor in states[0].items()}
    same = all(torch.equal(states[-1][name], tensor) for name, tensor in weights.items())
    if start:
        weights = dict(torch.load(start, weights_only=True))
    metrics, kept = [], []
    for _ in range(rounds):
        for site in sites:
            site.train(ExchangeObject(weights=weights), extra={})
        before = [digest(model) for model in models]
        weights = mean([site.get_weights(extra={}).weights for site in sites])
        metrics.append([dict(site.evaluate(ExchangeObject(weights=weights), extra={}).metrics) for site in sites])
        zero = {name: torch.zeros_like(tensor) for name, tensor in weights.items()}
        sites[0].evaluate(ExchangeObject(weights=zero), extra={})
        kept.append(before == [digest(model) for model in models])
    best = [site.get_weights(extra={ExtraItems.MODEL_TYPE: ModelType.BEST_MODEL}).weights for site in sites]
    for site in sites:
        site.finalize({})
    rates = [group["lr"] for group in sites[0].trainer.optimizer.param_groups]
    return {
        "same_start": same, "metrics": metrics, "weights_kept": kept, "last_rate": max(rates),
        "best": [len(found) for found in best], "tensors": len(weights),
    }  # fmt: skip


def digest(model: Path) -> str:
    """Of the best weights that a training has written."""
    return hashlib.sha256(model.read_bytes()).hexdigest()


if __name__ == "__main__":
    logging.disable(logging.INFO)
    torch.set_num_threads(1)
    found = run(int(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3]), *sys.argv[4:])
    print(json.dumps({"monai": version("monai"), **found}))

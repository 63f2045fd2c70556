"""A site of a federated training in NVIDIA FLARE: MONAI's own client runs the bundle; see `job.py`."""

import argparse
from pathlib import Path

import nvflare.client as flare
from monai.fl.client.monai_algo import MonaiAlgo
from monai.fl.utils.constants import ExtraItems, FlStatistics
from monai.fl.utils.exchange_object import ExchangeObject
from nvflare.apis.fl_constant import FLMetaKey


def main() -> None:
    """Evaluate the global network, train it on the site's own list, send it back; until the server has enough."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--bundle", type=Path, help="folder of the unpacked bundle")
    parser.add_argument("--dataset_dir", help="the site's images")
    parser.add_argument("--lists", type=Path, help="folder that holds <site>.json, the site's datalist")
    parser.add_argument("--out", type=Path, help="folder for <site>/, what the site keeps")
    parser.add_argument("--epochs", type=int, help="epochs of a round")
    parser.add_argument("--rounds", type=int, help="the learning rates fall over all of them")
    given = parser.parse_args()
    flare.init()
    site = flare.get_site_name()
    settings = {
        "dataset_dir": given.dataset_dir, "datalist": str(given.lists / f"{site}.json"), "init": "scratch",
        "output_dir": str(given.out / site), "model_dir": str(given.out / site), "num_workers": 0,
        "max_epochs": given.rounds * given.epochs, "warmup_epochs": 0,
    }  # fmt: skip
    algo = MonaiAlgo(
        given.bundle.name, given.epochs, send_weight_diff=False, train_kwargs=dict(settings), eval_kwargs=dict(settings)
    )
    algo.initialize({ExtraItems.CLIENT_NAME: site, ExtraItems.APP_ROOT: str(given.bundle.parent)})
    while flare.is_running():
        received = flare.receive()
        if received is None:
            break
        metrics = algo.evaluate(ExchangeObject(weights=received.params)).metrics
        algo.train(ExchangeObject(weights=received.params))
        made = algo.get_weights()
        steps = made.statistics[FlStatistics.NUM_EXECUTED_ITERATIONS]  # a site counts for as much as it has learnt from
        flare.send(
            flare.FLModel(
                params=made.weights,
                metrics={name: float(value) for name, value in metrics.items()},
                meta={FLMetaKey.NUM_STEPS_CURRENT_ROUND: steps},
            )
        )
    algo.finalize()


if __name__ == "__main__":
    main()

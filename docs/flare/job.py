"""A federated training of a bundle in NVIDIA FLARE's simulator: averaging over sites that keep their images.

`python docs/flare/job.py --bundle <unpacked bundle> --dataset_dir <images> --lists <folder of site-1.json, site-2.json>
--out <folder>`; for real sites hand the same recipe to another environment of FLARE's.
"""

import argparse
import sys
from pathlib import Path

import torch
from monai.bundle import ConfigParser
from nvflare.app_opt.pt.file_model_persistor import PTFileModelPersistor
from nvflare.app_opt.pt.recipes.fedavg import FedAvgRecipe
from nvflare.recipe import SimEnv


def first_weights(bundle: Path, datalist: Path, init: str, out: Path) -> Path:
    """Write the weights that every site starts from: those with which the bundle's own training would."""
    sys.path.insert(0, str(bundle))
    parser = ConfigParser()
    parser.read_config(bundle / "configs" / "train.json")
    parser.update({"bundle_root": str(bundle), "datalist": str(datalist), "init": init, "output_dir": str(out)})
    torch.manual_seed(0)
    out.mkdir(parents=True, exist_ok=True)
    torch.save(parser.get_parsed_content("initialised").state_dict(), out / "first_model.pt")
    return out / "first_model.pt"


def main() -> None:
    """Write the job and run it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--bundle", type=Path, required=True, help="folder of the unpacked bundle")
    parser.add_argument("--dataset_dir", required=True, help="the images; a real site has its own")
    parser.add_argument("--lists", type=Path, required=True, help="folder of a datalist a site, site-1.json and so on")
    parser.add_argument("--out", type=Path, required=True, help="folder for what server and sites write")
    parser.add_argument("--init", default="scratch", help="scratch, or mae: the pre-trained encoder in models/")
    parser.add_argument("--sites", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=1, help="epochs of a round")
    given = parser.parse_args()
    names = {"bundle": given.bundle.resolve(), "lists": given.lists.resolve(), "out": given.out.resolve()}
    first = first_weights(names["bundle"], names["lists"] / "site-1.json", given.init, names["out"])
    names |= {"dataset_dir": given.dataset_dir, "epochs": given.epochs, "rounds": given.rounds}
    recipe = FedAvgRecipe(
        name=given.bundle.name,
        min_clients=given.sites,
        num_rounds=given.rounds,
        model_persistor=PTFileModelPersistor(
            source_ckpt_file_full_name=str(first), global_model_file_name="global_model.pt"
        ),
        train_script=str(Path(__file__).with_name("client.py")),
        train_args=" ".join(f"--{name} {value}" for name, value in names.items()),
        key_metric="",
    )
    environment = SimEnv(num_clients=given.sites, num_threads=given.sites, workspace_root=str(given.out.resolve()))
    run = recipe.execute(environment)
    print(f"Result: {run.get_result()}")


if __name__ == "__main__":
    main()

"""Bundles by MONAI's own functions, all in one process and none on the path: needs MONAI alone.

`python anywhere_tool.py <JSON: {folder of a bundle: folder of its data}>`; the last line is JSON.
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from monai.bundle import create_workflow, load


def run(given: dict[str, str]) -> dict[str, Any]:
    """Where the code of each network lies, and what each bundle's inference writes, begun in turn and run in turn."""
    weights = [torch.load(Path(bundle) / "models" / "model.pt") for bundle in given]
    networks = [load(Path(bundle).name, bundle_dir=str(Path(bundle).parent), source="github") for bundle in given]
    loaded = [
        all(torch.equal(network.state_dict()[name], tensor) for name, tensor in stored.items())
        for network, stored in zip(networks, weights, strict=True)
    ]
    workflows = []
    for bundle, data in given.items():
        settings = {"dataset_dir": data, "datalist": f"{data}/datalist.json", "device": "cpu:0"}
        settings["output_dir"] = str(Path.cwd() / Path(bundle).name)
        workflows.append(create_workflow(config_file=f"{bundle}/configs/inference.json", **settings))
    for workflow in workflows:
        workflow.run()
    for workflow in workflows:
        workflow.finalize()
    return {
        "loaded": loaded,
        "homes": [type(network).forward.__code__.co_filename for network in networks],
        "ran": [type(workflow.network_def).forward.__code__.co_filename for workflow in workflows],
    }


if __name__ == "__main__":
    print(json.dumps({"monai": version("monai"), **run(json.loads(sys.argv[1]))}))

"""A unit test of a bundle in the Model Zoo's form, with the Zoo's own helper; nothing of this project on the path.

`python zoo_tool.py <checkout of the Zoo> <bundle> <dataset_dir>`; the last line is JSON.
"""

import json
import os
import sys
from importlib.metadata import version
from pathlib import Path

from monai.bundle import ConfigParser, ConfigWorkflow

# Files and kind of each workflow; the last is how the Zoo's own tests evaluate.
STAGES = {
    ("pretrain",): "train", ("train",): "train", ("evaluate",): "infer", ("inference",): "infer",
    ("train", "evaluate"): "train",
}  # fmt: skip


def run(bundle: Path, dataset_dir: str) -> list[str]:
    """Initialise, ask for MONAI's properties, run and finalise every stage, each after the one that it builds on."""
    from utils import check_workflow

    work = Path.cwd() / "work"
    given = {
        "dataset_dir": dataset_dir, "datalist": os.path.join(dataset_dir, "datalist.json"), "init": "mae",
        "max_epochs": 1, "warmup_epochs": 0, "val_interval": 1, "num_workers": 0, "model_dir": str(work),
        "device": "cpu:0",
    }  # fmt: skip
    for names, kind in STAGES.items():
        files = [str(bundle / "configs" / f"{name}.json") for name in names]
        known = ConfigParser.load_config_files(files)
        settings = {key: value for key, value in given.items() if key in known}
        workflow = ConfigWorkflow(
            workflow_type=kind,
            config_file=files,
            logging_file=str(bundle / "configs" / "logging.conf"),
            meta_file=str(bundle / "configs" / "metadata.json"),
            output_dir=str(work / "_".join(names)),
            **settings,
        )
        check_workflow(workflow, check_properties=True)
    return ["_".join(names) for names in STAGES]


if __name__ == "__main__":
    checkout, where, data = sys.argv[1:]
    sys.path.insert(0, os.path.join(checkout, "ci", "unit_tests"))
    done = run(Path(where).resolve(), data)
    print(json.dumps({"monai": version("monai"), "stages": done}))

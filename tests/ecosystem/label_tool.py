"""What MONAI Label makes of a bundle; runs in an environment with MONAI Label and without this project.

`python label_tool.py infer <bundle> <image> [classification]`, `train <bundle> <folder with images and labels>`,
`uncertain <bundle> <image>` or `two <bundle> <bundle> <image> <image>`; the last line is JSON.
"""

import json
import logging
import sys
import types
from importlib.machinery import ModuleSpec
from importlib.metadata import version
from pathlib import Path
from typing import Any


def _without_torchvision() -> None:
    """MONAI Label imports it for its click transforms, which no bundle uses; a build for this PyTorch may lack."""
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        for name, what in (("torchvision", ""), ("torchvision.utils", "make_grid save_image")):
            module = types.ModuleType(name)
            module.__spec__, module.__path__ = ModuleSpec(name, None), []  # type: ignore[attr-defined]
            vars(module).update(dict.fromkeys(what.split()))
            sys.modules[name] = module


_without_torchvision()
import nibabel as nib  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from monai.transforms import Invertd, SaveImaged  # noqa: E402
from monailabel.tasks.infer.bundle import BundleInferTask  # noqa: E402
from monailabel.tasks.train.bundle import BundleTrainTask  # noqa: E402


def infer(bundle: str, image: str, kind: str = "") -> dict[str, Any]:
    """Labels and result of one image."""
    return _ask(BundleInferTask(bundle, {"preload": "false"}, type=kind), bundle, image)


def _ask(task: BundleInferTask, bundle: str, image: str) -> dict[str, Any]:
    if not task.is_valid():
        raise SystemExit(f"{bundle} is no valid task")
    file, answer = task({"model": Path(bundle).name, "image": image, "device": "cpu"})
    told = {"labels": task.labels, "dimension": task.dimension, "prediction": answer.get("prediction")}
    if file is None:
        return told
    made, source = nib.load(file), nib.load(image)
    np.save("label_map.npy", np.asarray(made.dataobj))
    return {
        **told,
        "file": file,
        "same_grid": made.shape == source.shape[:3] and bool(np.allclose(made.affine, source.affine, atol=1e-3)),
        "values": {
            int(value): int(count) for value, count in zip(*np.unique(made.dataobj, return_counts=True), strict=True)
        },
    }


class Study:
    """A datastore as the training task sees it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def datalist(self) -> list[dict[str, Any]]:
        """Image and label of every case, with what else Label keeps of it."""
        images = sorted((self.folder / "images").iterdir())
        return [
            {"image": str(image), "label": str(self.folder / "labels" / image.name), "meta": {}} for image in images
        ]


def train(bundle: str, folder: str, epochs: str = "1") -> dict[str, Any]:
    """Weights before and after one call as Label makes it."""
    model = Path(bundle) / "models" / "model.pt"
    before = torch.load(model)
    task = BundleTrainTask(bundle, {})
    request = {
        "model": Path(bundle).name, "max_epochs": int(epochs), "val_split": 0.25, "device": "cpu", "pretrained": True,
    }  # fmt: skip
    task(request, Study(Path(folder)))
    after = torch.load(model)
    several = [name for name in task.const.multi_gpu_configs() if (Path(bundle) / "configs" / name).exists()]
    changed = sum(not torch.equal(before[name], tensor) for name, tensor in after.items())
    return {"tensors": len(after), "changed": changed, "multi_gpu": several}


def uncertain(bundle: str, image: str) -> dict[str, Any]:
    """Whether the network answers otherwise each time, as epistemic scoring wants it."""
    task = BundleInferTask(
        bundle, {}, train_mode=True, skip_writer=True, dropout=0.2, post_filter=[SaveImaged, Invertd]
    )
    request = {"model": Path(bundle).name, "image": image, "device": "cpu"}
    first, second = (np.asarray(task(dict(request))[1]["pred"]) for _ in range(2))
    return {"shape": list(first.shape), "different": int((first != second).sum())}


def two(one: str, other: str, image: str, another: str) -> dict[str, Any]:
    """Where the code of two bundles in one process comes from, after both were made, in turn."""
    tasks = [BundleInferTask(bundle, {"preload": "false"}) for bundle in (one, other)]
    answers = [
        _ask(task, bundle, file) for task, bundle, file in zip(tasks, (one, other), (image, another), strict=True)
    ]
    answers.append(_ask(tasks[0], one, image))
    homes = [type(task.network).forward.__code__.co_filename for task in tasks]
    return {"values": [answer["values"] for answer in answers], "homes": homes}


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    found = {"infer": infer, "train": train, "uncertain": uncertain, "two": two}[sys.argv[1]](*sys.argv[2:])
    print(json.dumps({"monailabel": version("monailabel"), "monai": version("monai"), **found}))

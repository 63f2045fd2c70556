"""What MONAI Label's own application for bundles makes of them; runs where this project is not installed.

`python label_tool.py <studies> <JSON: {name of a model: folder of a bundle}> <JSON: [[what, request], ...]>`: what
Label's clients ask for, one after the other in one process, by the functions below. The last line is JSON.
"""

import importlib
import json
import logging
import os
import shutil
import sys
import types
from importlib.machinery import ModuleSpec
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ |= {"MONAI_LABEL_AUTO_UPDATE_SCORING": "false", "MONAI_LABEL_SESSIONS": "false"}  # a server's, over HTTP


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


def _with_pydicom_3() -> None:
    """Label's reader of DICOM SEG, which no bundle uses, looks for a constant where pydicom 2 had it."""
    import pydicom.uid

    module = types.ModuleType("pydicom._storage_sopclass_uids")
    vars(module)["SegmentationStorage"] = pydicom.uid.SegmentationStorage
    sys.modules.setdefault(module.__name__, module)


_without_torchvision()
_with_pydicom_3()
import nibabel as nib  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402

Request = dict[str, Any]


def application(studies: str, bundles: dict[str, str]) -> Any:
    """The sample app `monaibundle`, every model of which can be asked for its uncertainty."""
    home = Path("app").resolve()
    for name, bundle in bundles.items():
        shutil.copytree(bundle, home / "model" / name)
    sys.path.insert(0, str(Path(sys.prefix) / "monailabel" / "sample-apps" / "monaibundle"))
    names = ",".join(bundles)
    doubtful = ",".join(name for name in bundles if "classification" not in name)
    settings = {"models": names, "epistemic_model": doubtful, "epistemic_simulation_size": "2"}
    settings |= {"zoo_source": "", "preload": "false", "sam2": "false"}  # nothing from the internet
    return importlib.import_module("main").MyApp(str(home), studies, settings)


def infer(app: Any, request: Request) -> Request:
    """Labels and result of one image; a label map goes to `<model>.npy`."""
    task, answer = app._infers[request["model"]], app.infer(request)
    told = {"labels": task.labels, "kind": getattr(task.type, "value", task.type)}
    told["prediction"] = answer["params"].get("prediction")
    told["code"] = type(task.network).forward.__code__.co_filename
    if answer["file"] is None:
        return told
    made, source = nib.load(answer["file"]), nib.load(request["image"])
    values, counts = np.unique(made.dataobj, return_counts=True)
    np.save(f"{request['model']}.npy", np.asarray(made.dataobj))
    same = made.shape == source.shape[:3] and bool(np.allclose(made.affine, source.affine, atol=1e-3))
    return {**told, "same_grid": same, "values": dict(zip(map(int, values), map(int, counts), strict=True))}


def train(app: Any, request: Request) -> Request:
    """How many tensors of the weights a training changed."""
    bin = Path("bin").resolve()  # torchrun of this interpreter
    bin.mkdir(exist_ok=True)
    (bin / "torchrun").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m torch.distributed.run "$@"\n')
    (bin / "torchrun").chmod(0o755)
    os.environ["PATH"] = f"{bin}{os.pathsep}{os.environ['PATH']}"
    model = Path(app.model_dir) / request["model"] / "models" / "model.pt"
    before = torch.load(model)
    app.train(request)
    after = torch.load(model)
    return {"tensors": len(after), "changed": sum(not torch.equal(before[name], after[name]) for name in after)}


def scoring(app: Any, request: Request) -> Request:
    """The uncertainty of every image without a label, by Label's own strategy."""
    told, store = app.scoring(request), app.datastore()
    entropies = {name: store.get_image_info(name).get("epistemic_entropy") for name in store.get_unlabeled_images()}
    return {"executed": told["executed"], "entropies": entropies}


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    running = application(sys.argv[1], json.loads(sys.argv[2]))
    answers = [globals()[what](running, request) for what, request in json.loads(sys.argv[3])]
    print(json.dumps({"monailabel": version("monailabel"), "monai": version("monai"), "answers": answers}))

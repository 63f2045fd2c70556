"""Packages as a stranger unpacks them, and the environments of other people's tools.

A tool is looked for in the interpreter that `LABEL_PYTHON`, `DEPLOY_PYTHON`, `FLARE_PYTHON` or `ONNX_PYTHON` names,
else in the one that runs the tests. This project must not be installed there: only the package's own files count.
"""

import contextlib
import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from mae_tools.demo_data import PAINTERS
from small_bundles import put_weights, small_bundle, unpacked

ROOT = Path(__file__).resolve().parents[2]
_DRAWN = {
    "btcv_unetr_mae": "abdomen", "brats_unetr_mae": "heads", "cxr14_mae": "radiographs", "histo_sdmae": "histology",
    "medcls_msmae": "lesions",
}  # fmt: skip


def run(command: list[object], folder: Path, timeout: float = 600) -> str:
    """What a command prints, started where this repository cannot be imported."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    words = [str(word) for word in command]
    done = subprocess.run(
        words, cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout, check=False
    )
    assert done.returncode == 0, f"{words}: {done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def interpreter(tool: str, module: str) -> str:
    """The interpreter of a tool; the test is skipped where it cannot import the module."""
    python = os.environ.get(f"{tool}_PYTHON", sys.executable)
    find = f"import importlib.util as u, sys; sys.exit(u.find_spec({module!r}) is None)"
    if subprocess.run([python, "-c", find], capture_output=True, check=False).returncode:
        pytest.skip(f"{module} is not installed: {tool}_PYTHON names no interpreter that has it")
    return python


class Packages:
    """The packages of all bundles, with the demo's sizes and drawn weights, and images for them: few, or `cases`."""

    def __init__(self, folder: Path, cases: int | None = None) -> None:
        self.folder, self.cases = folder, cases

    def bundle(self, name: str) -> Path:
        """The unpacked package; made at the first call."""
        found = self.folder / name
        if not found.exists():
            content = json.loads((self.data(name) / "datalist.json").read_text())
            named = {"class_names": content["class_names"]} if "class_names" in content else {}
            made = small_bundle(name, self.folder / "made", **named)
            put_weights(made, finished=True)
            unpacked(made, self.folder)
        return found

    def data(self, name: str) -> Path:
        """A drawn data set with its datalist."""
        folder = self.folder / "data" / name
        if not folder.exists():
            PAINTERS[_DRAWN[name]](folder, cases=self.cases or (8 if name.startswith("b") else 200))
        return folder

    def images(self, name: str) -> list[str]:
        """Images of its test list; the sequences of a head as one file, as these tools read them."""
        folder = self.data(name)
        items = json.loads((folder / "datalist.json").read_text())["test"]
        files = [item["image"] for item in items]
        if isinstance(files[0], str):
            return [str(folder / file) for file in files]
        nib.save(stack(folder, files[0]), folder / "head.nii.gz")
        return [str(folder / "head.nii.gz")]

    def study(self, name: str, folder: Path, cases: int = 4) -> Path:
        """A folder of images and labels with equal names, as MONAI Label keeps them; tissues by Label's own numbers."""
        data = self.data(name)
        items = json.loads((data / "datalist.json").read_text())
        for item in (items["training"] + items["validation"] + items["test"])[:cases]:
            label, files = nib.load(data / item["label"]), item["image"]
            if isinstance(files, list):
                image = stack(data, files)
                values = np.select([np.asarray(label.dataobj) == value for value in (2, 1, 4)], (1, 2, 3))
                label = nib.Nifti1Image(values.astype(np.uint8), label.affine)
            else:
                image = nib.load(data / files)
            for part, volume in (("images", image), ("labels", label)):
                (folder / part).mkdir(parents=True, exist_ok=True)
                nib.save(volume, folder / part / f"{item['patient_id']}.nii.gz")
        return folder

    def own(self, name: str, folder: Path) -> Path:
        """The folder of results of the bundle's own inference on its test list, run from elsewhere."""
        bundle, out = self.bundle(name), folder / "own"
        flags = {"config_file": bundle / "configs" / "inference.json", "output_dir": out, "device": "cpu:0"}
        flags |= {"dataset_dir": self.data(name), "datalist": self.data(name) / "datalist.json"}
        words = [part for key, value in flags.items() for part in (f"--{key}", value)]
        run([sys.executable, "-W", "ignore", "-m", "monai.bundle", "run", *words], folder)
        return out


def scores_of(image: str, results: Path) -> dict[str, float]:
    """What the bundle's own run said of an image, by class in small letters."""
    lines = (results / "predictions.csv").read_text().splitlines()
    rows = csv.DictReader(line for line in lines if not line.startswith("#"))
    row = next(row for row in rows if row["case"] in (Path(image).stem, image))
    numbers = {}
    for name, said in row.items():
        with contextlib.suppress(ValueError):
            numbers[name.lower()] = float(said)
    return numbers


def stack(folder: Path, files: list[str]) -> nib.Nifti1Image:
    """The sequences of a head, in the order of the network, as one file."""
    volumes = [nib.load(folder / file) for file in files]
    return nib.Nifti1Image(np.stack([np.asarray(volume.dataobj) for volume in volumes], axis=-1), volumes[0].affine)

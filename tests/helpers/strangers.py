"""Packages as a stranger unpacks them, and the environments of other people's tools.

A tool is looked for in the interpreter that `LABEL_PYTHON`, `DEPLOY_PYTHON`, `FLARE_PYTHON` or `ONNX_PYTHON` names,
else in the one that runs the tests. This project must not be installed there: only the package's own files count.
`CONTROL`, a bundle of the Model Zoo, goes through the same scripts as the packages: where it fails, the tool does.
"""

import contextlib
import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from bundle_runtime.data.schema import case_names
from mae_tools.demo_data import PAINTERS
from monai.bundle import ConfigParser
from small_bundles import put_weights, small_bundle, unpacked

ROOT = Path(__file__).resolve().parents[2]
CONTROL = "spleen_ct_segmentation"
_DRAWN = {
    "btcv_unetr_mae": "abdomen", "brats_unetr_mae": "heads", "cxr14_mae": "radiographs", "histo_sdmae": "histology",
    "medcls_msmae": "lesions", CONTROL: "abdomen",
}  # fmt: skip
_SPLEEN = 2  # in the labels of a drawn abdomen


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


def checkout() -> Path:
    """Of the Model Zoo, which `MODEL_ZOO` names; the test is skipped without one."""
    folder = os.environ.get("MODEL_ZOO")
    if not folder:
        pytest.skip("MODEL_ZOO names no checkout of the Model Zoo")
    return Path(folder)


class Packages:
    """The packages of all bundles, with the demo's sizes and drawn weights, and images for them: few, or `cases`."""

    def __init__(self, folder: Path, cases: int | None = None) -> None:
        self.folder, self.cases = folder, cases

    def bundle(self, name: str) -> Path:
        """The unpacked package; made at the first call."""
        found = self.folder / name
        if name == CONTROL and not found.exists():
            self._control(found)
        elif not found.exists():
            content = json.loads((self.data(name) / "datalist.json").read_text())
            named = {"class_names": content["class_names"]} if "class_names" in content else {}
            made = small_bundle(name, self.folder / "made", **named)
            put_weights(made, finished=True)
            unpacked(made, self.folder)
        return found

    def _control(self, bundle: Path) -> None:
        shutil.copytree(checkout() / "models" / CONTROL, bundle)
        (bundle / "large_files.yml").unlink()  # weights on the internet; drawn ones do
        parser = ConfigParser(ConfigParser.load_config_file(str(bundle / "configs" / "inference.json")))
        torch.manual_seed(0)
        (bundle / "models").mkdir()
        torch.save(parser.get_parsed_content("network_def").state_dict(), bundle / "models" / "model.pt")
        metadata = bundle / "configs" / "metadata.json"  # of an older schema, in which this key had another name
        metadata.write_text(metadata.read_text().replace("optional_packages_version", "required_packages_version"))

    def data(self, name: str) -> Path:
        """A drawn data set with its datalist."""
        folder = self.folder / "data" / name
        if not folder.exists():
            few = 200 if _DRAWN[name] in ("radiographs", "histology", "lesions") else 8
            PAINTERS[_DRAWN[name]](folder, cases=self.cases or few)
            for path in folder.glob("labels/*") if name == CONTROL else ():
                label = nib.load(path)
                nib.save(nib.Nifti1Image(np.uint8(np.asarray(label.dataobj) == _SPLEEN), label.affine), path)
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

    def study(self, name: str, folder: Path, cases: int = 4, labelled: int | None = None) -> Path:
        """A folder of images as MONAI Label keeps them, some with labels; tissues by Label's own numbers."""
        data = self.data(name)
        items = json.loads((data / "datalist.json").read_text())
        (folder / "labels" / "final").mkdir(parents=True)
        for number, item in enumerate((items["training"] + items["validation"] + items["test"])[:cases]):
            label, files = nib.load(data / item["label"]), item["image"]
            if isinstance(files, list):
                image = stack(data, files)
                label = nib.Nifti1Image(tissues(label), label.affine)
            else:
                image = nib.load(data / files)
            nib.save(image, folder / f"{item['patient_id']}.nii.gz")
            if labelled is None or number < labelled:
                nib.save(label, folder / "labels" / "final" / f"{item['patient_id']}.nii.gz")
        return folder

    def own(self, name: str, image: str | None = None) -> Path:
        """What the bundle's own inference, run from elsewhere, makes of the first case of its test list, or of a file.

        The label map, and of pictures the folder with the table of scores.
        """
        bundle, data, folder = self.bundle(name), self.data(name), self.folder / "own"
        datalist, out = data / "datalist.json", folder / name
        if image is not None:
            content = json.loads(datalist.read_text())
            datalist, out = folder / f"{name}.json", folder / f"{name}_{Path(image).stem}"
            folder.mkdir(exist_ok=True)
            datalist.write_text(json.dumps({**content, "test": [{**content["test"][0], "image": image}]}))
        if not out.exists():
            folder.mkdir(exist_ok=True)
            flags = {"config_file": bundle / "configs" / "inference.json", "output_dir": out, "device": "cpu:0"}
            flags |= {"dataset_dir": data, "datalist": datalist}
            words = [part for key, value in flags.items() for part in (f"--{key}", value)]
            run([sys.executable, "-W", "ignore", "-m", "monai.bundle", "run", *words], folder)
        label_map = out / f"{case_names(json.loads(datalist.read_text()))['test'][0]}_seg.nii.gz"
        return label_map if label_map.is_file() else out


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


def tissues(label: nib.Nifti1Image) -> np.ndarray:
    """A tumour's label in the values that tools are told of: 1 oedema, 2 non-enhancing core, 3 enhancing tumour."""
    values = np.asarray(label.dataobj)  # of BraTS 2018
    return np.select([values == value for value in (2, 1, 4)], (1, 2, 3)).astype(np.uint8)


def stack(folder: Path, files: list[str]) -> nib.Nifti1Image:
    """The sequences of a head, in the order of the network, as one file."""
    volumes = [nib.load(folder / file) for file in files]
    return nib.Nifti1Image(np.stack([np.asarray(volume.dataobj) for volume in volumes], axis=-1), volumes[0].affine)

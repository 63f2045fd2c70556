"""Packages with the sizes of the demo written into their configs, as a team would hand them on."""

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import torch
import yaml
from bundle_runtime.data.record import Images, Record
from bundle_runtime.weights.save import save_encoder, save_network
from mae_tools.agree import METADATA, agreeing, describe, read_metadata
from mae_tools.package import package
from monai.bundle import ConfigParser

ROOT = Path(__file__).resolve().parents[2]


def small_bundle(name: str, folder: Path, **settings: Any) -> Path:
    """A copy of a bundle in `folder` with the demo's settings, others on top, in every stage and in the metadata."""
    bundle = shutil.copytree(ROOT / "bundles" / name, folder / name, ignore=shutil.ignore_patterns("models", "eval"))
    overlay = {**yaml.safe_load((bundle / "configs" / "demo.yaml").read_text()), "label_fraction": 1.0, **settings}
    for path in (bundle / "configs").glob("*.yaml"):
        content = yaml.safe_load(path.read_text())
        if "stage" in content:
            content |= {key: value for key, value in overlay.items() if key in content}
            path.write_text(yaml.safe_dump(content, sort_keys=False, width=1000))
    metadata = agreeing(read_metadata(bundle), describe(bundle, weights=False))
    (bundle / METADATA).write_text(json.dumps(metadata, indent=4) + "\n")
    return bundle


def put_weights(bundle: Path, seed: int = 0, **sidecar: Any) -> None:
    """Weights drawn at random in `models/`, which are said to have learnt every class from three cases."""
    parser = ConfigParser(ConfigParser.load_config_file(str(bundle / "configs" / "inference.yaml")))
    parser["bundle_root"] = str(bundle)
    torch.manual_seed(seed)
    network = parser.get_parsed_content("network_def")
    about = {key: parser.get_parsed_content(key) for key in ("normalisation",) if key in parser}
    names = parser.get_parsed_content("classes")
    record = Record(names, {}, {}, "sequences" in parser, 3, 3, True, Images(), {})
    about |= {"class_names": names, "training": record.to_plain(), **sidecar}
    save_network(bundle / "models" / "model.pt", network, about)
    save_encoder(bundle / "models" / "pretrained_encoder.safetensors", network, {})


def unpacked(bundle: Path, folder: Path, **options: Any) -> Path:
    """What the package of a bundle unpacks to in `folder`."""
    with zipfile.ZipFile(package(bundle, folder / "dist", **options)) as archive:
        archive.extractall(folder)
    return folder / bundle.name

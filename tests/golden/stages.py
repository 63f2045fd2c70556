"""Runs of every stage of a bundle on tiny networks, through MONAI's command line."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..helpers import launch
from . import draw_inputs as draw

ROOT = Path(__file__).resolve().parents[2]
Settings = Mapping[str, Any]

_ALL: Settings = {"seed": 0, "device": "cpu", "amp": "off", "compile": False, "num_workers": 0, "pictures": 0}
_SMALL: Settings = {
    "hidden_size": 12, "mlp_dim": 24, "num_layers": 3, "num_heads": 2, "decoder_size": 12, "decoder_layers": 1,
    "decoder_heads": 2, "warmup_epochs": 1, "val_interval": 1, "activation_checkpointing": False,
    "picture_mask_ratio": None,
}  # fmt: skip
_VOLUME: Settings = {
    **_SMALL, "roi_size": [16, 16, 16], "patch_size": 8, "feature_size": 4, "batch_size": 4, "crops_per_volume": 2,
    "sw_batch_size": 4, "cache": "ram",
}  # fmt: skip
_PICTURE: Settings = {
    **_SMALL, "cache_size": 40, "img_size": 32, "patch_size": 8, "batch_size": 8, "probe_interval": 1,
}  # fmt: skip
_SEGMENTED: Settings = {
    **_SMALL, "img_size": 32, "patch_size": 8, "batch_size": 3, "head_channels": 8, "cache": "ram",
}  # fmt: skip
_CACHED: Settings = {"cache": "folder"}


@dataclass(frozen=True)
class Stage:
    """One run.

    Attributes:
        name: the config file.
        data: which drawn folder it reads.
        sizes: the overlay.
        settings: given on the command line.
    """

    name: str
    data: str
    sizes: Settings
    settings: Settings = field(default_factory=dict)


def _stages(data: str, sizes: Settings, **settings: Settings) -> list[Stage]:
    return [Stage(name, data, {**_ALL, **sizes}, given) for name, given in settings.items()]


# The folders that a bundle's stages read, and its stages in their order.
# fmt: off
BUNDLES: dict[str, tuple[dict[str, Callable[[Path], None]], Sequence[Stage]]] = {
    "btcv_unetr_mae": (
        {"abdomens": draw.abdomens},
        _stages(
            "abdomens",
            {**_VOLUME, "class_names": draw.ORGANS, "spacing": [10.0, 10.0, 10.0]},
            pretrain={"max_epochs": 3, "val_interval": 3, "learning_rate": 2e-3},
            train={"max_epochs": 10, "val_interval": 5, "learning_rate": 3e-3},
            evaluate={"flip_axes": [0]},
            inference={"datalist": "datalist.json", "save_probabilities": True},
        ),
    ),
    "brats_unetr_mae": (
        {"heads": draw.heads},
        _stages(
            "heads",
            {**_VOLUME, "spacing": [7.0, 7.0, 7.0]},
            pretrain={"max_epochs": 3, "val_interval": 3, "learning_rate": 2e-3},
            train={"max_epochs": 12, "val_interval": 6, "learning_rate": 1e-2, "lambda_bce": 0.5},
            evaluate={},
            inference={"datalist": "datalist.json", "save_probabilities": True},
        ),
    ),
    "cxr14_mae": (
        {"radiographs": draw.radiographs},
        _stages(
            "radiographs",
            {**_PICTURE, "class_names": draw.FINDINGS},
            pretrain={**_CACHED, "max_epochs": 3, "val_interval": 3, "learning_rate": 2e-3},
            linear_probe=_CACHED,
            train={**_CACHED, "max_epochs": 10, "val_interval": 5, "learning_rate": 5e-3},
            evaluate=_CACHED,
            inference={"datalist": "datalist.json"},
        ),
    ),
    "histo_sdmae": (
        {"tiles": draw.tiles, "nuclei": draw.nuclei, "slides": draw.slides},
        [
            *_stages(
                "tiles",
                {
                    **_PICTURE, "class_names": draw.TISSUES, "prototypes": 16, "projector_size": 12, "bottleneck": 6,
                    "class_token": True, "num_layers": 4,
                },
                pretrain={
                    **_CACHED, "max_epochs": 3, "val_interval": 3, "learning_rate": 2e-3, "stain_jitter": 0.05,
                    "flip_prob": [0.5, 0.5],
                },
                linear_probe=_CACHED,
                train={**_CACHED, "max_epochs": 16, "val_interval": 4, "learning_rate": 1e-2},
                evaluate=_CACHED,
                inference={"datalist": "datalist.json"},
            ),
            *_stages(
                "slides",
                {
                    **_PICTURE, "class_names": draw.TISSUES, "class_token": True, "num_layers": 4,
                    "target": ["tumour"], "mpp": 0.5,
                    "tile_size": 40, "stride": 24, "nms_distance": 30, "itc_diameter": 0, "grow_distance": 20,
                },
                detect={"annotations": ".", "threshold": 0.35},
            ),
            *_stages(
                "nuclei",
                {**_SEGMENTED, "num_layers": 4, "auxiliary_channels": 8, "class_token": True, "border_width": 1},
                train_segmentation={
                    "max_epochs": 16, "val_interval": 8, "learning_rate": 3e-2, "border_weight": 1.0, "loss_dice": 1.0
                },
                evaluate_segmentation={},
                inference_segmentation={"datalist": "datalist.json"},
            ),
        ],
    ),
    "medcls_msmae": (
        {"lesions": draw.lesions, "lesion_masks": draw.lesion_masks},
        [
            *_stages(
                "lesions",
                {**_PICTURE, "class_names": draw.LESIONS, "mask_warmup_epochs": 1, "refresh_interval": 1},
                pretrain={**_CACHED, "max_epochs": 3, "val_interval": 3, "learning_rate": 2e-3},
                linear_probe=_CACHED,
                train={**_CACHED, "max_epochs": 12, "val_interval": 6, "learning_rate": 1e-2},
                evaluate=_CACHED,
                inference={"datalist": "datalist.json", "eval_tokens": "kept"},
            ),
            *_stages(
                "lesion_masks",
                {**_SEGMENTED, "class_names": ["background", "lesion"]},
                train_segmentation={"max_epochs": 10, "val_interval": 5, "learning_rate": 4e-3},
                evaluate_segmentation={"parity": True},
                inference_segmentation={"datalist": "datalist.json"},
            ),
        ],
    ),
}
# fmt: on


def run_bundle(bundle: str, folder: Path) -> None:
    """Draw the inputs into `folder/<data>` and run all stages; `folder/run` gets the weights and a folder a stage.

    Raises:
        AssertionError: a stage failed, with the end of what it printed.
    """
    inputs, stages = BUNDLES[bundle]
    for name, drawing in inputs.items():
        drawing(folder / name)
    (folder / "run").mkdir()
    for stage in stages:
        done = launch.run("monai.bundle", *_arguments(ROOT / "bundles" / bundle, stage, folder), cwd=folder / "run")
        (folder / f"{stage.name}.log").write_text(done.stdout + done.stderr)
        assert done.returncode == 0, f"{bundle}, {stage.name}: {done.stdout[-2000:]}{done.stderr[-5000:]}"


def _arguments(bundle: Path, stage: Stage, folder: Path) -> list[str]:
    """What `monai.bundle` gets for one stage."""
    out, data = folder / "run", folder / stage.data
    overlay = folder / f"{stage.name}.yaml"
    overlay.write_text(json.dumps(dict(stage.sizes)))  # JSON is YAML
    settings = {
        "bundle_root": bundle, "dataset_dir": data, "output_dir": out / stage.name, "model_dir": out, **stage.settings
    }  # fmt: skip
    for key in {"datalist", "annotations"} & set(stage.settings):
        settings[key] = data / stage.settings[key]
    if settings.get("cache") == "folder":
        settings["cache"] = folder / "cache"
    files = str([str(bundle / "configs" / f"{stage.name}.yaml"), str(overlay)])
    flags = [part for key, value in settings.items() for part in (f"--{key}", str(value))]
    return ["run", "--config_file", files, *flags]

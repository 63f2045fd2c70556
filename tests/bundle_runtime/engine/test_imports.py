"""What a run imports: no part of another kind of images."""

from pathlib import Path

import launch
import pytest

ROOT = Path(__file__).resolve().parents[3]
PICTURES_ONLY = {  # beginnings of names, by room
    "bundle_runtime.data": ("image_", "load_picture", "mask_file", "verify_masks", "verify_pictures"),
    "bundle_runtime.dicom": ("picture",),
    "bundle_runtime.engine": ("attention_refresh", "collapse", "distillation"),
    "bundle_runtime.figures": ("attention", "classification", "detection", "outlines", "split_pictures"),
    "bundle_runtime.probes": ("linear", "online_pictures"),
    "bundle_runtime.scores": ("classification", "instance", "key_metric", "object_table", "prediction_table",
                              "resampling", "thresholds"),
    "bundle_runtime.slides": ("",),
    "custom_components": ("attention_maps",),
    "custom_components.augment": ("",),
    "custom_components.losses": ("classification", "dense", "distillation"),
    "custom_components.networks": ("classifier", "dense_", "ms_mae", "sd_mae", "setr", "token_classifier"),
    "custom_components.training": ("picture_batches",),
    "custom_components.transforms": ("instance_split", "objects", "scaled_crop"),
}  # fmt: skip


def pictures_only() -> set[str]:
    """The modules that `PICTURES_ONLY` names, of each of which there has to be one."""
    found = set()
    for room, beginnings in PICTURES_ONLY.items():
        for beginning in beginnings:
            paths = list((ROOT / room.replace(".", "/")).glob(f"{beginning}*.py"))
            assert paths, f"{room}.{beginning}"
            found |= {room if path.stem == "__init__" else f"{room}.{path.stem}" for path in paths}
    return found


@pytest.mark.parametrize("stage", ["pretrain", "train", "evaluate", "inference"])
def test_a_run_on_ct_imports_nothing_for_pictures(stage: str) -> None:
    file = ROOT / "bundles" / "btcv_unetr_mae" / "configs" / f"{stage}.yaml"
    modules = launch.imported_by(file)
    assert "bundle_runtime.config" in modules
    assert not pictures_only() & modules

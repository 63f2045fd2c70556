"""The packages run from any folder, without a PYTHONPATH, and all of them in one process."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from strangers import Packages, interpreter, run

pytestmark = pytest.mark.slow
NAMES = ["btcv_unetr_mae", "brats_unetr_mae", "cxr14_mae", "histo_sdmae", "medcls_msmae"]


def test_five_bundles_in_one_process_run_their_own_code(
    packages: Packages, ask: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    given = {str(packages.bundle(name)): str(packages.data(name)) for name in NAMES}
    found = ask(interpreter("ZOO", "monai"), "anywhere_tool.py", json.dumps(given))
    assert found["loaded"] == [True] * len(NAMES)
    for home, ran, bundle in zip(found["homes"], found["ran"], given, strict=True):
        assert Path(bundle) in Path(home).parents
        assert Path(bundle) in Path(ran).parents
    for name in NAMES:
        written = tmp_path / name
        assert (written / "report.html").is_file()
        assert list(written.glob("*_seg.nii.gz")) or (written / "predictions.csv").is_file()


@pytest.mark.parametrize("name", NAMES)
def test_every_stage_takes_root_and_device_as_text(packages: Packages, tmp_path: Path, name: str) -> None:
    bundle, data = packages.bundle(name), packages.data(name)
    common = {"bundle_root": bundle, "dataset_dir": data, "datalist": data / "datalist.json", "device": "cpu:0"}
    common |= {"amp": "bf16", "model_dir": tmp_path / "models", "num_workers": 0}
    epochs = {"max_epochs": 1, "warmup_epochs": 0, "val_interval": 1}
    for stage, more in {"pretrain": epochs, "train": epochs, "evaluate": {}, "inference": {}}.items():
        flags = {"config_file": bundle / "configs" / f"{stage}.json", **common, **more, "output_dir": tmp_path / stage}
        words = [part for key, value in flags.items() for part in (f"--{key}", value)]
        run([interpreter("ZOO", "monai"), "-W", "ignore", "-m", "monai.bundle", "run", *words], tmp_path)
    assert (tmp_path / "evaluate" / "scores.json").is_file()
    assert (tmp_path / "inference" / "report.html").is_file()

"""Whole runs of a bundle through the real command line, on a small synthetic set and a tiny network."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from custom_components.data.demo import make_abdomen

BUNDLE = Path(__file__).resolve().parents[2] / "bundles" / "btcv_unetr_mae"
TINY = {
    "spacing": [10.0, 10.0, 10.0], "roi_size": [16, 16, 16], "hidden_size": 12, "mlp_dim": 24, "num_layers": 3,
    "num_heads": 2, "feature_size": 4, "batch_size": 4, "decoder_size": 12, "decoder_layers": 1, "decoder_heads": 2,
    "warmup_epochs": 0, "val_interval": 1, "mask_ratio": 0.5,
}  # fmt: skip


@pytest.fixture(scope="session")
def abdomens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight synthetic abdomens with a datalist."""
    folder = tmp_path_factory.mktemp("abdomens")
    make_abdomen(folder, cases=8)
    return folder


@pytest.fixture(scope="session")
def tiny_overlay(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("overlay") / "tiny.yaml"
    path.write_text("".join(f"{key}: {value}\n" for key, value in TINY.items()))
    return path


@pytest.fixture(scope="session")
def command_of(abdomens: Path, tiny_overlay: Path) -> Callable[..., list[str]]:
    """The command line of one stage; keyword arguments become overrides, `processes` starts torchrun."""

    def command(stage: str, out: Path, processes: int = 0, **settings: object) -> list[str]:
        configs = BUNDLE / "configs"
        overlays = [configs / f"{stage}.yaml", configs / "demo.yaml", tiny_overlay]
        launcher = [sys.executable]
        if processes:
            launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
            overlays.append(configs / "multi_gpu.yaml")
        values = {
            "bundle_root": BUNDLE, "dataset_dir": abdomens, "output_dir": out / stage, "model_dir": out, **settings
        }  # fmt: skip
        flags = [part for key, value in values.items() for part in (f"--{key}", str(value))]
        files = str([str(path) for path in overlays])
        return [*launcher, "-m", "monai.bundle", "run", "--config_file", files, *flags]

    return command


@pytest.fixture(scope="session")
def run_stage(command_of: Callable[..., list[str]]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run one stage from a foreign folder and expect an exit code."""

    def run(stage: str, out: Path, expect: int = 0, **settings: object) -> subprocess.CompletedProcess[str]:
        command = command_of(stage, out, **settings)
        result = subprocess.run(command, cwd=out, capture_output=True, text=True, check=False, timeout=240)
        assert result.returncode == expect, f"{stage}: {result.stdout[-3000:]}\n{result.stderr[-5000:]}"
        return result

    return run

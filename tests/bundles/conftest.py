"""Whole runs of a bundle through the real command line, on a small synthetic set and a tiny network."""

import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import launch
import pytest
from mae_tools.demo_data import make_abdomen, make_heads, make_histology, make_radiographs

BUNDLES = Path(__file__).resolve().parents[2] / "bundles"
TINY = {
    "spacing": [10.0, 10.0, 10.0], "roi_size": [16, 16, 16], "hidden_size": 12, "mlp_dim": 24, "num_layers": 3,
    "num_heads": 2, "feature_size": 4, "batch_size": 4, "decoder_size": 12, "decoder_layers": 1, "decoder_heads": 2,
    "warmup_epochs": 0, "val_interval": 1, "mask_ratio": 0.5, "picture_mask_ratio": "null", "label_fraction": 1.0,
}  # fmt: skip


@dataclass(frozen=True)
class Runner:
    """Runs the stages of one bundle with the demo overlay and a tiny network.

    Attributes:
        bundle: the bundle's folder.
        data: a folder with a datalist.
        overlay: YAML file with the tiny sizes.
        demo: the overlay of the bundle that comes before it.
    """

    bundle: Path
    data: Path
    overlay: Path
    demo: str = "demo.yaml"

    def command(self, stage: str, out: Path, processes: int = 0, **settings: object) -> list[str]:
        """The command line of one stage; keyword arguments become overrides, `processes` starts torchrun."""
        configs = self.bundle / "configs"
        overlays = [configs / f"{stage}.yaml", configs / self.demo, self.overlay]
        launcher = [sys.executable]
        if processes:
            launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
            overlays.append(configs / "multi_gpu_train.yaml")
        values = {
            "bundle_root": self.bundle, "dataset_dir": self.data, "output_dir": out / stage, "model_dir": out,
            **settings,
        }  # fmt: skip
        flags = [part for key, value in values.items() for part in (f"--{key}", str(value))]
        files = str([str(path) for path in overlays])
        return [*launcher, "-m", "monai.bundle", "run", "--config_file", files, *flags]

    def run(
        self, stage: str, out: Path, expect: int = 0, processes: int = 0, first: str = "", **settings: object
    ) -> subprocess.CompletedProcess[str]:
        """Run one stage from a foreign folder and expect an exit code."""
        command = self.command(stage, out, processes, **settings)
        words = command[command.index("monai.bundle") :]
        result = launch.run(*words, cwd=out, processes=processes, first=first)
        assert result.returncode == expect, f"{stage}: {result.stdout[-3000:]}\n{result.stderr[-5000:]}"
        return result


def _overlay(folder: Path, values: Mapping[str, object]) -> Path:
    path = folder / "tiny.yaml"
    path.write_text("".join(f"{key}: {value}\n" for key, value in values.items()))
    return path


@pytest.fixture(scope="session")
def abdomens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight synthetic abdomens with a datalist."""
    folder = tmp_path_factory.mktemp("abdomens")
    make_abdomen(folder, cases=8, shape=(48, 40, 40))
    return folder


@pytest.fixture(scope="session")
def btcv(abdomens: Path, tmp_path_factory: pytest.TempPathFactory) -> Runner:
    """The abdominal CT bundle."""
    return Runner(BUNDLES / "btcv_unetr_mae", abdomens, _overlay(tmp_path_factory.mktemp("btcv"), TINY))


@pytest.fixture(scope="session")
def btcv_from_scratch(btcv: Runner, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The abdominal CT bundle trained from scratch for an epoch, one crop a volume; to be read, not written to."""
    out = tmp_path_factory.mktemp("scratch")
    btcv.run("train", out, init="scratch", max_epochs=1, crops_per_volume=1)
    return out


@pytest.fixture(scope="session")
def command_of(btcv: Runner) -> Callable[..., list[str]]:
    """`Runner.command` of the abdominal CT bundle."""
    return btcv.command


@pytest.fixture(scope="session")
def run_stage(btcv: Runner) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`Runner.run` of the abdominal CT bundle."""
    return btcv.run


@pytest.fixture(scope="session")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six synthetic heads with a datalist."""
    folder = tmp_path_factory.mktemp("heads")
    make_heads(folder, cases=6, shape=(48, 54, 42))
    return folder


@pytest.fixture(scope="session")
def brats(heads: Path, tmp_path_factory: pytest.TempPathFactory) -> Runner:
    """The brain tumour MRI bundle."""
    return Runner(BUNDLES / "brats_unetr_mae", heads, _overlay(tmp_path_factory.mktemp("brats"), TINY))


@pytest.fixture(scope="session")
def xrays(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Synthetic radiographs with a datalist."""
    folder = tmp_path_factory.mktemp("xrays")
    make_radiographs(folder, cases=60, size=(96, 96))
    return folder


@pytest.fixture(scope="session")
def cxr(xrays: Path, tmp_path_factory: pytest.TempPathFactory) -> Runner:
    """The chest X-ray bundle, with a cache of its own."""
    tiny = {key: value for key, value in TINY.items() if key not in ("spacing", "roi_size", "feature_size")}
    folder = tmp_path_factory.mktemp("cxr")
    values = {
        **tiny, "cache_size": 40, "img_size": 32, "patch_size": 8, "batch_size": 16, "cache": folder / "cache",
    }  # fmt: skip
    return Runner(BUNDLES / "cxr14_mae", xrays, _overlay(folder, values))


@pytest.fixture(scope="session")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Synthetic H&E tiles of four classes with a datalist."""
    folder = tmp_path_factory.mktemp("tiles")
    make_histology(folder, cases=96, size=48, nuclei_cases=0)
    return folder


@pytest.fixture(scope="session")
def histo(tiles: Path, tmp_path_factory: pytest.TempPathFactory) -> Runner:
    """The histopathology bundle, with a cache of its own."""
    tiny = {key: value for key, value in TINY.items() if key not in ("spacing", "roi_size", "feature_size")}
    folder = tmp_path_factory.mktemp("histo")
    heads = {"prototypes": 16, "projector_size": 12, "bottleneck": 6}
    values = {**tiny, **heads, "cache_size": 40, "img_size": 32, "batch_size": 16, "cache": folder / "cache"}
    return Runner(BUNDLES / "histo_sdmae", tiles, _overlay(folder, values))

"""The classification stages of the histopathology bundle through the real command line."""

import csv
import json
import math
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from bundle_runtime.data.datalist import parse
from bundle_runtime.engine.checkpoint import read_checkpoint
from bundle_runtime.failures import find_input_error
from bundle_runtime.weights.save import save_network
from custom_components.augment import RandomFlip
from monai.bundle import ConfigParser
from PIL import Image
from safetensors.torch import load_file

from .conftest import BUNDLES, Runner

CONFIGS = BUNDLES / "histo_sdmae" / "configs"
NATIVE_PCAM = {"cache_size": 96, "img_size": 96, "patch_size": 8}  # as docs/README.md gives it
STAGES = ("pretrain", "train", "evaluate", "inference", "linear_probe")


def rows(path: Path) -> list[dict[str, str]]:
    """Rows of a table behind its comment lines."""
    with path.open() as stream:
        return list(csv.DictReader(line for line in stream if not line.startswith("#")))


def config(stage: str, **settings: object) -> ConfigParser:
    parser = ConfigParser(ConfigParser.load_config_file(str(CONFIGS / f"{stage}.yaml")))
    parser.update({"class_names": ["TUM", "STR"], **settings})
    return parser


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("settings", [{}, NATIVE_PCAM])
def test_networks_of_all_stages_are_the_papers(stage: str, settings: dict[str, int]) -> None:
    """ViT-S without a class token: 196 patches of 16 at 224 pixels, or 144 of 8 at 96 (the released configs)."""
    with torch.device("meta"):
        network = config(stage, **settings).get_parsed_content("network_def")
    vit = network.encoder if stage == "pretrain" else network.vit
    assert (vit.hidden_size, vit.num_layers, vit.num_heads, vit.class_token) == (384, 12, 6, False)
    assert math.prod(vit.grid) == (144 if settings else 196)
    if stage == "pretrain":
        assert network.teacher_grad is False
        visible, hidden = network.split(torch.empty(1), torch.rand(1, math.prod(vit.grid)))
        assert (visible.shape[1], hidden.shape[1]) == ((58, 86) if settings else (79, 117))


@pytest.mark.parametrize("mpp", [0.5, None])
def test_a_model_of_tiles_that_say_their_resolution_says_it(tmp_path: Path, mpp: float | None) -> None:
    content = {"training": [], **({} if mpp is None else {"mpp": mpp})}
    (tmp_path / "datalist.json").write_text(json.dumps(content))
    training = config("train", bundle_root=str(CONFIGS.parent), dataset_dir=str(tmp_path))
    assert training.get_parsed_content("tile_mpp") == mpp
    (best,) = [part for part in training["train"]["handlers"] if part["_target_"].endswith("best.BestModel")]
    assert best["sidecar"]["mpp"] == "@tile_mpp"


def test_slides_are_not_opened_for_a_network_of_another_resolution(tmp_path: Path) -> None:
    small = {"hidden_size": 12, "mlp_dim": 24, "num_layers": 3, "num_heads": 2}
    places = {"bundle_root": str(CONFIGS.parent), "model_dir": str(tmp_path), "dataset_dir": str(tmp_path / "none")}

    def detection(**settings: object) -> ConfigParser:
        return config("detect", **small, **places, **settings)

    network = detection().get_parsed_content("network_def")
    save_network(tmp_path / "model.pt", network, {"mpp": 0.25})
    for settings, sentence in (({"mpp": 0.5}, "trained on tiles of 0.25"), ({"mpp": 0.25}, "none: does not exist")):
        with pytest.raises(Exception, match=r".") as caught:
            detection(**settings).get_parsed_content("inputs")
        assert sentence in str(find_input_error(caught.value))


@pytest.mark.parametrize(
    ("bundle", "epochs", "warmup"),
    [("histo_sdmae", 80, 2), ("histo_sdmae", 4, 0), ("medcls_msmae", 30, 3), ("medcls_msmae", 3, 0)],
)
def test_the_warm_up_of_the_segmentation_demo_fits_into_its_epochs(bundle: str, epochs: int, warmup: int) -> None:
    configs = CONFIGS.parents[1] / bundle / "configs"
    files = [str(configs / f"{name}.yaml") for name in ("train_segmentation", "demo_segmentation")]
    parser = ConfigParser(ConfigParser.load_config_files(files))
    if warmup:
        assert parser.get("max_epochs") == epochs
    parser.update({"max_epochs": epochs})
    assert parser.get_parsed_content("warmup_epochs") == warmup


def test_parity_is_the_released_form() -> None:
    released = config("pretrain", parity=True)
    loss = released.get_parsed_content("loss")
    assert loss.teacher_grad is True
    assert loss.centre_on == "probabilities"
    with torch.device("meta"):
        network = released.get_parsed_content("network_def")
    assert network.encoder.pos_embed_type == "sinusoid_1d"
    assert network.norm_pix_variance == "unbiased"
    assert network._eps is not None
    default = config("pretrain").get_parsed_content("loss")
    assert (default.weight, default.student_temperature, default.teacher_temperature) == (0.2, 0.1, 0.04)
    assert (default.centre_on, default.teacher_grad, len(default.centre)) == ("logits", False, 4096)


@pytest.mark.parametrize(("parity", "vertical"), [(True, 0.0), (False, 0.5)])
def test_fine_tuning_flips_left_right_as_the_released_code_and_upside_down_on_top(
    parity: bool, vertical: float
) -> None:
    """timm's `create_transform` flips left-right by default; parity kept the other flip as well."""
    steps = config("train", parity=parity).get_parsed_content("train::augmentation").steps
    flip = next(step for step in steps if isinstance(step, RandomFlip))
    assert (flip.horizontal, flip.vertical) == (0.5, vertical)


def test_pretraining_logs_what_the_teacher_says_and_keeps_the_centre(histo: Runner, tmp_path: Path) -> None:
    """The one run of the default suite: two updates an epoch, colour pictures, the centre in the checkpoint."""
    histo.run("pretrain", tmp_path, max_epochs=2, stain_jitter=0.05, flip_prob="[0.5,0.5]", mask_strategy="block")
    history = rows(tmp_path / "pretrain" / "history.csv")
    assert len(history) == 2
    for row in history:
        assert 0 <= float(row["teacher_information"]) <= math.log(16)
        assert 1 <= float(row["teacher_prototypes"]) <= 16
        assert row["teacher_constant"] in ("0.0", "1.0")
        assert row["val_loss"]
    centre = read_checkpoint(tmp_path / "pretrain" / "training_state.pt")["stateful"]["distillation"]["centre"]
    assert centre.shape == (16,)
    assert centre.abs().max() == pytest.approx(float(history[1]["teacher_centre"]))
    sidecar = json.loads((tmp_path / "pretrained_encoder.json").read_text())
    assert sidecar["normalisation"]["mean"] == [0.485, 0.456, 0.406]
    assert sidecar["mask_strategy"] == "block"
    assert not any("projector" in name for name in load_file(tmp_path / "pretrained_encoder.safetensors"))
    picture = np.asarray(Image.open(sorted((tmp_path / "pretrain" / "pictures").glob("*.png"))[-1]).convert("RGB"))
    tissue = picture[picture.max(axis=2) - picture.min(axis=2) > 40]
    assert len(tissue) > 1000, "the tile is shown in colour"


@pytest.fixture(scope="module")
def trained(histo: Runner, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pre-training with a probe, fine-tuning from it with every augmentation, and evaluation."""
    out = tmp_path_factory.mktemp("run")
    histo.run("pretrain", out, max_epochs=2, probe_interval=1)
    changes = {"mixup": 0.8, "cutmix": 1.0, "erasing_prob": 0.25, "rand_augment": True, "stain_jitter": 0.05}
    histo.run("train", out, max_epochs=2, **changes)
    histo.run("evaluate", out)
    return out


@pytest.mark.slow
def test_fine_tuning_loads_the_whole_encoder_and_evaluation_scores_classes(trained: Path) -> None:
    report = json.loads((trained / "train" / "weights_report.json").read_text())
    assert report["encoder_loaded"] == report["encoder_total"]
    assert rows(trained / "train" / "history.csv")[1]["val_macro_auc"]
    scores = json.loads((trained / "evaluate" / "scores.json").read_text())
    assert set(scores["classes"]) == {"normal", "tumour", "lymphocytes", "stroma"}
    assert (trained / "evaluate" / "confusion.png").exists()
    assert len(rows(trained / "pretrain" / "probe.csv")) == 2


@pytest.mark.slow
def test_the_final_norm_starts_afresh_or_is_loaded(trained: Path, histo: Runner, tmp_path: Path) -> None:
    """SD-MAE's released fine-tuning throws the pre-trained norm away; here that is a choice."""
    stored = load_file(trained / "pretrained_encoder.safetensors")
    assert stored["norm.bias"].abs().max() > 1e-4
    encoder = trained / "pretrained_encoder.safetensors"
    for choice in ("new", "loaded"):
        settings = {"encoder_norm": choice, "encoder_file": encoder, "model_dir": tmp_path / choice, "max_epochs": 1}
        histo.run("train", tmp_path, output_dir=tmp_path / f"train_{choice}", learning_rate=1e-9, **settings)
        norm = torch.load(tmp_path / choice / "model.pt", weights_only=True)["vit.norm.bias"]
        expected = torch.zeros(12) if choice == "new" else stored["norm.bias"]
        torch.testing.assert_close(norm, expected, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_inference_and_linear_probe(trained: Path, histo: Runner, tiles: Path, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    source = tiles / parse(tiles / "datalist.json")["test"][0]["image"]
    shutil.copy(source, folder / "a.png")
    Image.open(source).convert("CMYK").save(folder / "b.tif")
    (folder / "broken.png").write_bytes(source.read_bytes()[:200])
    failed = histo.run("inference", trained, expect=1, dataset_dir=folder, output_dir=tmp_path / "out")
    assert "broken.png" in failed.stderr
    assert len(rows(tmp_path / "out" / "predictions.csv")) == 2
    assert "logistic" in histo.run("linear_probe", trained).stdout


@pytest.mark.slow
def test_plain_autoencoder_released_form_patch_level_and_native_pcam(histo: Runner, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    histo.run("pretrain", tmp_path, max_epochs=1, distillation_weight=0, output_dir=tmp_path / "mae",
              model_dir=tmp_path / "mae")  # fmt: skip
    assert "teacher_information" not in rows(tmp_path / "mae" / "history.csv")[0]
    assert rows(tmp_path / "mae" / "history.csv")[0]["reconstruction"]
    for name, settings in {
        "released": {"parity": True},
        "patch": {"distillation_level": "patch", "micro_batch": 5, "amp": "bf16"},
        "pcam": {**NATIVE_PCAM, "cache": cache, "stain": "macenko"},
    }.items():
        histo.run("pretrain", tmp_path, max_epochs=1, output_dir=tmp_path / name, model_dir=tmp_path / name, **settings)
        assert rows(tmp_path / name / "history.csv")[0]["teacher_information"]
    assert json.loads((cache / "settings.json").read_text())["stain"] == "macenko"


@pytest.mark.slow
def test_a_wrong_share_of_distillation_is_refused(histo: Runner, tmp_path: Path) -> None:
    refused = histo.run("pretrain", tmp_path, expect=1, distillation_weight=1.5)
    assert "distillation_weight (p) is 1.5" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_weights(histo: Runner, tmp_path: Path) -> None:
    """SD-MAE's released code loses the centre and skips an epoch."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut):
        folder.mkdir()
    histo.run("pretrain", whole, max_epochs=6)
    with subprocess.Popen(histo.command("pretrain", cut, max_epochs=6), cwd=cut, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 200
        while not (cut / "pretrain" / "training_state.pt").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    histo.run("pretrain", cut, max_epochs=6, resume=True)
    states = [read_checkpoint(folder / "pretrain" / "training_state.pt") for folder in (whole, cut)]
    centres = [state["stateful"]["distillation"]["centre"] for state in states]
    assert torch.equal(*centres)
    assert all(torch.equal(tensor, states[1]["network"][name]) for name, tensor in states[0]["network"].items())
    histories = [(folder / "pretrain" / "history.csv").read_text() for folder in (whole, cut)]
    assert histories[0] == histories[1]


@pytest.mark.slow
def test_two_processes_train_without_unused_parameters(histo: Runner, tmp_path: Path) -> None:
    histo.run("pretrain", tmp_path, max_epochs=1, processes=2)
    histo.run("train", tmp_path, max_epochs=1, processes=2)
    assert rows(tmp_path / "pretrain" / "history.csv")[0]["teacher_information"]

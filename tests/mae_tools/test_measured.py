"""What was measured of weights reaches their package, and nothing that was measured of others."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import scored_images
import torch
from bundle_runtime.files import write_csv, write_json
from bundle_runtime.weights.io import sha256_of
from bundle_runtime.weights.save import save_network
from mae_tools.agree import METADATA, read_metadata
from mae_tools.measured import CARD, measured

ROOT = Path(__file__).resolve().parents[2]
BEST = {"metric": "val_macro_auc", "value": 0.625, "epoch": 2}
RUN: dict[str, Any] = {
    "status": "finished", "started": "2026-03-01T12:00:00+00:00", "seed": 7, "processes": 1,
    "device": "cpu (4 threads)", "data_fingerprint": "f1f2", "config": {"section": "test"},
}  # fmt: skip
TRAINING = {"best": BEST, "epochs": 3, "iterations": 12, "seconds": 90.0, "peak_host_mib": 1234.5, "earlier_runs": []}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle with weights that two epochs have made, evaluated."""
    root = shutil.copytree(
        ROOT / "bundles" / "cxr14_mae", tmp_path / "b", ignore=shutil.ignore_patterns("models", "eval")
    )
    about = {"epoch": BEST["epoch"], "validation": {BEST["metric"]: BEST["value"]}, "class_names": ["a"]}
    save_network(root / "models" / "model.pt", torch.nn.Linear(1, 1), about)
    write_json(root / "eval" / "train" / "manifest.json", {**RUN, **TRAINING})
    rows = [[1, 0.9, ""], [2, 0.7, 0.625], [3, 0.6, 0.5]]
    write_csv(root / "eval" / "train" / "history.csv", ["epoch", "train_loss", "val_macro_auc"], rows)
    scored_images.report("multi_label").write(root / "eval" / "evaluate")
    evaluated(root)
    return root


def evaluated(root: Path, **other: Any) -> None:
    digest = {"weights_sha256": sha256_of(root / "models" / "model.pt"), "metrics": {"macro_auc": 0.58539}}
    write_json(root / "eval" / "evaluate" / "manifest.json", {**RUN, **digest, **other})


def found(root: Path) -> dict[str, bytes]:
    return measured(root, {"models/model.pt": root / "models" / "model.pt"}, read_metadata(root))


def test_scores_times_memory_and_curve_stand_in_metadata_and_card(bundle: Path) -> None:
    made = found(bundle)
    assert json.loads(made[METADATA]) == read_metadata(bundle) | {"eval_metrics": {"macro_auc": 0.5854}}
    card, scores = made[CARD].decode(), json.loads((bundle / "eval" / "evaluate" / "scores.json").read_text())
    auc = scores["macro"]["auc"]
    said = (
        f"{auc['mean']:.4g} [{auc['low']:.4g}, {auc['high']:.4g}]",
        "120 test cases of 40 patients",
        "seed 7",
        "f1f2",
    )
    for text in (
        *said,
        "3 epochs, 12 updates",
        "1.5 minutes on 1 x cpu (4 threads)",
        "1,234 MiB",
        "0.625 (val_macro_auc)",
    ):
        assert text in card, text
    assert "Not yet measured at full size. `eval_metrics`" not in card
    assert "(train_curve.png)" in card
    assert made["docs/train_curve.png"].startswith(b"\x89PNG")
    for path, content in made.items():
        (bundle / path).write_bytes(content)
    assert found(bundle) == made  # a package that is packed again says it once


@pytest.mark.parametrize(
    "other", [{"weights_sha256": "0" * 64}, {"status": "interrupted"}, {"config": {"section": "validation"}}]
)
def test_what_is_not_an_evaluation_of_these_weights_on_the_test_list_does_not_count(
    bundle: Path, other: dict[str, Any]
) -> None:
    evaluated(bundle, **other)
    write_json(bundle / "eval" / "train" / "manifest.json", {**RUN, **TRAINING, "best": {**BEST, "value": 0.626}})
    assert found(bundle) == {}


def test_a_training_alone_gives_no_metrics(bundle: Path) -> None:
    shutil.rmtree(bundle / "eval" / "evaluate")
    made = found(bundle)
    assert json.loads(made[METADATA])["eval_metrics"] == {}
    assert "12 updates" in made[CARD].decode()

"""The efficiency benchmark at toy sizes: what it writes, and that operations of the attention are counted."""

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch
from custom_components.networks.token_classifier import TokenClassifier
from custom_components.networks.vit import ViT

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))


def test_it_writes_numbers_a_table_and_the_curve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ["--quick", "--repeats", "2", "--threads", "1", "--ratios", "0.25", "1", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["efficiency", *options])
    runpy.run_path(str(FOLDER / "efficiency.py"), run_name="__main__")
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".md", ".png"}
    rows = json.loads((tmp_path / "efficiency_cpu_quick.json").read_text())["rows"]
    assert rows[0]["eval_tokens"] == "all"
    assert rows[0]["flops_share"] == 1
    yardsticks = {row["eval_tokens"]: row for row in rows if row["eval_tokens"] not in ("all", "kept")}
    assert list(yardsticks) == ["MONAI ViT", "MAE"]  # in the quick run both have the same weights
    assert all(row["difference"]["mean"] == 0 and row["tokens"] == 64 for row in yardsticks.values())
    assert yardsticks["MAE"]["memory"] == rows[0]["memory"] > 0
    for row in rows[1:]:
        if row["eval_tokens"] != "kept":
            continue
        if row["keep_ratio"] == 1:  # all patches: the same answers, and the choice comes on top
            assert row["difference"]["mean"] == 0
            assert row["flops_share"] > 1
        else:
            assert row["flops_share"] < 0.75
            assert row["memory"] > 0


def test_memory_is_what_lives_at_a_time() -> None:
    class Chain(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            for _ in range(3):  # each time the sum lives beside what it came from
                image = image + 1
            return image[:, :1]  # a view: no bytes of its own

    memory = runpy.run_path(str(FOLDER / "efficiency.py"))["memory"]
    batch = torch.zeros(2, 8)
    assert memory(Chain(), batch) == 2 * batch.numel() * 4


def test_attention_is_counted() -> None:
    """PyTorch's counter knows no fused attention of a CPU and would leave its two products out."""
    operations = runpy.run_path(str(FOLDER / "efficiency.py"))["operations"]
    width, depth, patches = 32, 2, 64
    network = TokenClassifier(ViT(3, 32, 4, width, 64, depth, 2, spatial_dims=2), 3).eval()
    tokens = patches + 1
    linear = tokens * (3 * width * width + width * width + 2 * width * 64)
    attention = 2 * tokens * tokens * width
    expected = 2 * (patches * 48 * width + depth * (linear + attention) + width * 3)
    assert operations(network, torch.rand(1, 3, 32, 32)) == expected

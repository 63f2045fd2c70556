"""The control rows: what each row sets, and the paired comparison; a whole (slow) run at toy sizes."""

import csv
import json
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from bundle_runtime.data.datalist import write
from PIL import Image

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.syspath_prepend(str(FOLDER))
    return runpy.run_path(str(FOLDER / "control_rows.py"))


def evaluation(folder: Path, right: list[int]) -> dict[str, Any]:
    (folder / "evaluate").mkdir(parents=True)
    with (folder / "evaluate" / "cases.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["case", "patient_id", "label", "predicted"])
        writer.writerows([[f"c{i}", f"p{i // 2}", "a", "a" if hit else "b"] for i, hit in enumerate(right)])
    scores = {"overall": {"accuracy": {"mean": sum(right) / len(right)}, "balanced_accuracy": {"mean": 0.5}},
              "macro": {"auc": {"mean": 0.6}}}  # fmt: skip
    return {"folder": folder, "seed": 0, "seconds": 1.0, "scores": scores}


def test_differences_are_paired_over_images_and_seeds(script: dict[str, Any], tmp_path: Path) -> None:
    ours = [evaluation(tmp_path / "a0", [1, 1, 1, 1, 0, 0]), evaluation(tmp_path / "a1", [1, 1, 1, 0, 0, 0])]
    theirs = [evaluation(tmp_path / "b0", [1, 0, 1, 0, 0, 0]), evaluation(tmp_path / "b1", [1, 0, 1, 0, 0, 0])]
    found = script["summarise"]("MAE", ours, theirs)
    assert found["accuracy"]["mean"] == pytest.approx(7 / 12)
    assert found["difference"]["mean"] == pytest.approx(3 / 12)
    assert found["difference"]["low"] <= 3 / 12 <= found["difference"]["high"]
    assert script["summarise"](script["REFERENCE"], ours, theirs)["difference"] is None


def test_each_setting_of_a_row_is_one_of_the_stage(script: dict[str, Any]) -> None:
    stages = [
        yaml.safe_load((script["BUNDLE"] / "configs" / f"{name}.yaml").read_text()) for name in ("pretrain", "train")
    ]
    assert len(script["ROWS"]) == 6
    for settings in script["ROWS"].values():
        for given, stage in zip(settings, stages, strict=True):
            assert set(given) <= set(stage)


@pytest.mark.slow
def test_a_whole_run(script: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    lists: dict[str, list[dict[str, object]]] = {"training": [], "validation": [], "test": []}
    for i in range(48):
        section = ["training", "training", "validation", "test"][i // 2 % 4]
        Image.fromarray(random.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(tmp_path / f"{i}.png")
        lists[section].append({"image": f"{i}.png", "label": i % 2, "patient_id": str(i)})
    write(tmp_path / "list.json", {"task": "multi_class", "class_names": ["a", "b"], **lists})
    paths = {"dataset_dir": tmp_path, "datalist": tmp_path / "list.json", "work": tmp_path / "work",
             "out": tmp_path / "out"}  # fmt: skip
    options = ["--quick", "--seeds", "0", "--rows", "MAE", "uniform in both"]
    options += [part for key, path in paths.items() for part in (f"--{key}", str(path))]
    monkeypatch.setattr(sys, "argv", ["control_rows", *options])
    script["main"]()
    rows = json.loads((tmp_path / "out" / "control_rows_cpu_quick.json").read_text())["rows"]
    assert [row["row"] for row in rows] == ["MAE", "uniform in both"]
    assert rows[0]["difference"]["mean"] == pytest.approx(rows[0]["accuracy"]["mean"] - rows[1]["accuracy"]["mean"])
    assert "MAE" in (tmp_path / "out" / "control_rows_cpu_quick.md").read_text()

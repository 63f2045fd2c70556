"""The handler on an engine's lists of dicts."""

import json
from pathlib import Path

import pytest
import torch
from bundle_runtime.scores.instance_handler import ScoreInstances
from custom_components.errors import InputError
from ignite.engine import Engine


def run(handler: ScoreInstances, items: list[tuple[dict, dict]]) -> Engine:
    def step(engine: Engine, pair: tuple[dict, dict]) -> list[dict]:
        engine.state.batch = [pair[0]]
        return [pair[1]]

    engine = Engine(step)
    handler.attach(engine)
    engine.run(items)
    return engine


def item(case: str, shift: int = 0) -> tuple[dict, dict]:
    label = torch.zeros(1, 10, 20, dtype=torch.uint8)
    label[:, 2:6, 2:6] = 1
    prediction = label.roll(shift, dims=2)
    batch = {"case": case, "patient_id": case, "label": label, "instances": label.int() * 400}
    return batch, {"pred": prediction.float(), "pred_instances": prediction.int()}


def test_scores_are_written_and_shown_to_other_handlers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    engine = run(ScoreInstances(["background", "nucleus"], tmp_path, split="given"), [item("a"), item("b", 1)])
    assert engine.state.metrics["dice"] == pytest.approx((1 + 24 / 32) / 2)
    assert engine.state.metrics["pooled_object_f1"] == 1.0
    assert "object F1" in capsys.readouterr().out
    saved = json.loads((tmp_path / "scores.json").read_text())
    assert saved["classes"]["nucleus"]["per_image"]["aji"]["n"] == 2


def test_pixels_alone_need_no_objects(tmp_path: Path) -> None:
    batch, output = item("a")
    pair = {key: batch[key] for key in ("case", "label")}, {"pred": output["pred"]}
    engine = run(ScoreInstances(["background", "lesion"], tmp_path, score_objects=False), [pair])
    assert engine.state.metrics["pooled_iou"] == 1.0
    assert "aji" not in engine.state.metrics


def test_a_mistake_names_the_case(tmp_path: Path) -> None:
    batch, output = item("a")
    with pytest.raises(InputError, match=r"^a: prediction"):
        run(ScoreInstances(["background", "nucleus"], tmp_path), [(batch, {**output, "pred": output["pred"] * 5})])
    engine = Engine(lambda engine, batch: {"pred": batch})
    ScoreInstances(["background", "nucleus"], tmp_path).attach(engine)
    with pytest.raises(TypeError, match="decollate"):
        engine.run([torch.zeros(1)])

"""The handler on an evaluator's lists of dicts."""

import json

import pytest
import torch
from bundle_runtime.scores.segmentation import score_case
from bundle_runtime.scores.segmentation_handler import ScoreSegmentation
from bundle_runtime.scores.segmentation_report import SegmentationReport
from custom_components.errors import InputError
from ignite.engine import Engine, Events
from monai.data import MetaTensor
from segmented_volumes import LABEL, NAMES, ONLY_LIVER, SHIFTED, SPACING


def run_handler(handler, batches):
    """An engine that hands over (batch, output) pairs as MONAI's evaluator does after decollating."""
    engine = Engine(lambda engine, pair: pair[1])

    def show_batch(engine):
        engine.state.batch = engine.state.batch[0]

    engine.add_event_handler(Events.ITERATION_COMPLETED, show_batch)
    handler.attach(engine)
    return engine.run(batches, max_epochs=1)


def items(prediction, affine=None, **extra):
    affine = torch.diag(torch.tensor([*SPACING, 1.0])) if affine is None else affine
    label = MetaTensor(torch.from_numpy(LABEL)[None], affine=affine)
    output = {"pred": MetaTensor(torch.from_numpy(prediction)[None].float(), affine=affine), "label": label}
    return [extra], [output]


def test_handler_scores_writes_and_sets_metrics(tmp_path, capsys):
    flipped = torch.diag(torch.tensor([-SPACING[0], -SPACING[1], SPACING[2], 1.0]))
    batches = [
        items(SHIFTED, case="one", patient_id="p1"),
        items(ONLY_LIVER, flipped, case="two", patient_id="p2", unlabelled=["spleen"]),
    ]
    handler = ScoreSegmentation(NAMES, tmp_path, chosen=["liver"], header={"seed": 3})
    for _ in range(2):  # a second run starts afresh
        state = run_handler(handler, batches)
    direct = score_case(SHIFTED, LABEL, SPACING, NAMES)
    assert state.metrics["mean_dice"] == pytest.approx(((direct[0].dice + direct[1].dice) / 2 + 1.0) / 2)
    assert state.metrics["mean_hd95"] == pytest.approx((direct[0].hd95 + direct[1].hd95) / 4, rel=1e-5)
    assert state.metrics["mean_dice_1"] == pytest.approx((direct[0].dice + 1.0) / 2)
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["header"] == {"seed": 3}
    assert scores["organs"]["spleen"]["unlabelled"] == 1
    printed = capsys.readouterr().out
    assert "liver" in printed
    assert "HD95 is the larger" in printed


def test_handlers_that_log_at_the_end_of_the_epoch_see_the_scores(tmp_path):
    """MONAI's MLflow, TensorBoard and log handlers read `state.metrics` there; the manifest at COMPLETED."""
    seen = {}

    class Scores(ScoreSegmentation):
        def attach(self, engine):
            super().attach(engine)
            engine.add_event_handler(Events.EPOCH_COMPLETED, lambda: seen.update(engine.state.metrics))

    run_handler(Scores(NAMES, tmp_path, chosen=["liver"]), [items(LABEL, case="one")])
    assert seen == {"mean_dice": 1.0, "mean_hd95": 0.0, "mean_dice_1": 1.0, "mean_hd95_1": 0.0}


def test_handler_takes_the_mask_and_the_target_of_the_training_batch(tmp_path):
    batch, output = items(ONLY_LIVER, case="one")
    output[0]["label"] = {"label": output[0]["label"], "unlabelled": torch.tensor([False, False, True, False])}
    assert run_handler(ScoreSegmentation(NAMES, tmp_path), [(batch, output)]).metrics["mean_dice"] == 1.0
    assert SegmentationReport.read(tmp_path).cases["", "one"][1].outcome == "unlabelled"


def test_handler_names_the_case_in_its_errors(tmp_path):
    affine = torch.diag(torch.tensor([1.0, 1.0, 5.0, 1.0]))
    batch, output = items(SHIFTED, case="abd007")
    output[0]["pred"].affine = affine
    with pytest.raises(InputError, match=r"abd007: prediction and label have different affines"):
        run_handler(ScoreSegmentation(NAMES, tmp_path), [(batch, output)])
    output[0]["label"] = output[0]["label"].as_tensor()
    with pytest.raises(InputError, match=r"abd007: the label carries no affine"):
        run_handler(ScoreSegmentation(NAMES, tmp_path), [(batch, output)])
    assert not list(tmp_path.iterdir())
    run_handler(ScoreSegmentation(NAMES, tmp_path, parity=True), [(batch, output)])
    assert (tmp_path / "scores.json").exists()
    with pytest.raises(TypeError, match="decollate"):
        run_handler(ScoreSegmentation(NAMES, tmp_path), [({}, {"pred": 1})])

"""Attention pictures of an evaluator."""

from pathlib import Path
from typing import Any

import pytest
import torch
from bundle_runtime.data.inference import InferenceInputs
from bundle_runtime.figures.attention_pictures import AttentionPictures
from custom_components.errors import InputError
from custom_components.networks.classifier import ViTClassifier
from custom_components.networks.token_classifier import TokenClassifier
from encoders import on_vit
from monai.engines import SupervisedEvaluator
from torch import nn

SIZES = {"hidden_size": 24, "mlp_dim": 32, "num_layers": 2, "num_heads": 2, "spatial_dims": 2}
NAMES = ["mass", "nodule, small"]
ITEMS = [{"file": f"/x/{number}.png", "case": f"case {number}", "patient_id": f"p{number // 2}"} for number in range(3)]


def evaluate(handlers: list[Any], network: nn.Module, inputs: InferenceInputs | None = None) -> SupervisedEvaluator:
    batches = []
    for part in ((2, 0), (1,)):
        index = torch.tensor(part)
        batches.append({"image": index.float()[:, None, None, None].expand(-1, 1, 16, 16), "index": index})
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=batches,
        network=network,
        prepare_batch=lambda batch, *_, **__: (batch["image"], None),
        val_handlers=handlers,
        decollate=False,
        iteration_update=None if inputs is None else inputs.iteration,
    )
    evaluator.run()
    return evaluator


@pytest.mark.parametrize(("token", "pool", "said"), [(True, "cls", "class-token"), (False, "mean", "mean")])
def test_a_network_without_a_class_token_has_attention_pictures_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: bool, pool: str, said: str
) -> None:
    titles: list[list[str]] = []
    monkeypatch.setattr(
        "bundle_runtime.figures.attention_pictures.attention_figure", lambda *arguments: titles.append(arguments[3])
    )
    network = on_vit(ViTClassifier, 1, 16, 8, num_classes=2, pool=pool, class_token=token, **SIZES)
    evaluate([AttentionPictures(network, tmp_path, NAMES, ITEMS, 1)], network)
    assert titles[0][1].startswith(f"{said} attention")


@pytest.mark.parametrize(
    ("wanted", "drawn"),
    [(0, []), (2, ["0_case_0.png", "2_case_2.png"]), (9, ["0_case_0.png", "1_case_1.png", "2_case_2.png"])],
)
def test_attention_pictures_are_spread_over_the_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: int, drawn: list[str]
) -> None:
    import bundle_runtime.figures.attention_pictures as module

    given: list[Any] = []
    original = module.attention_figure
    monkeypatch.setattr(module, "attention_figure", lambda *arguments: (given.append(arguments), original(*arguments)))
    torch.manual_seed(0)
    network = on_vit(ViTClassifier, 1, 16, 8, num_classes=2, **SIZES)
    pixels = {"mean": 0.5, "std": 0.25}
    state = evaluate([AttentionPictures(network, tmp_path, NAMES, ITEMS, wanted, pixels=pixels)], network).state
    assert sorted(path.name for path in tmp_path.iterdir()) == drawn
    assert all(arguments[4:] == (pixels, None) for arguments in given)
    if wanted == 9:
        values = state.output["pred"].sigmoid()[0]
        best = int(values.argmax())
        assert given[-1][3][0].startswith(f"case 1\n{NAMES[best]} {values[best]:.2f}, ")


def test_a_picture_that_cannot_be_drawn_costs_no_prediction(tmp_path: Path) -> None:
    network = on_vit(ViTClassifier, 1, 16, 8, num_classes=2, **SIZES)
    (tmp_path / "pictures").write_text("in the way")
    with pytest.raises(FileExistsError):
        evaluate([AttentionPictures(network, tmp_path / "pictures", NAMES, ITEMS, 1)], network)
    inputs = InferenceInputs(tmp_path)
    handlers = [AttentionPictures(network, tmp_path / "pictures", NAMES, ITEMS, 2)]
    state = evaluate(handlers, network, inputs=inputs).state
    assert state.iteration == 2
    assert [problem.case for problem in inputs.problems] == ["case 2", "case 0"]
    assert "it could not be drawn (" in inputs.problems[0].message
    assert "pictures cannot be used (File exists)" in inputs.problems[0].message


def test_one_that_cannot_be_drawn_costs_itself_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = on_vit(ViTClassifier, 1, 16, 8, num_classes=2, **SIZES)
    import bundle_runtime.figures.attention_pictures as module

    original = module.attention_figure

    def figure(image: Any, maps: Any, path: Path, titles: Any, *rest: Any) -> None:
        if titles[0].startswith("case 2"):
            raise ValueError("no map")
        original(image, maps, path, titles, *rest)

    monkeypatch.setattr(module, "attention_figure", figure)
    inputs = InferenceInputs(tmp_path)
    evaluate([AttentionPictures(network, tmp_path / "pictures", NAMES, ITEMS, 3)], network, inputs=inputs)
    assert [problem.case for problem in inputs.problems] == ["case 2"]
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == ["0_case_0.png", "1_case_1.png"]


def test_attention_pictures_show_the_patches_that_were_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import bundle_runtime.figures.attention_pictures as module

    given: list[Any] = []
    monkeypatch.setattr(module, "attention_figure", lambda *arguments: given.append(arguments))
    torch.manual_seed(0)
    tokens = {"eval_tokens": "kept", "keep_ratio": 0.5, "select_block": 1}
    network = on_vit(TokenClassifier, 1, 16, 8, num_classes=2, **tokens, **SIZES)
    evaluate([AttentionPictures(network, tmp_path, NAMES, ITEMS)], network)
    assert len(given) == 3
    for arguments in given:
        assert arguments[5].shape == (2, 2)
        assert arguments[5].sum() == 2
        assert "of a pass over all patches" in arguments[3][1]


def test_an_unknown_task(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="task is 'segmentation'"):
        AttentionPictures(nn.Identity(), tmp_path, NAMES, ITEMS, task="segmentation")

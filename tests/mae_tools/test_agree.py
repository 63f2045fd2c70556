import json
import shutil
from pathlib import Path

import pytest
from custom_components.errors import InputError
from mae_tools.agree import agreeing, describe, metadata_problems, read_metadata, refuse_disagreement, stage_problems

BUNDLES = Path(__file__).parents[2] / "bundles"
ALL = sorted(path.parents[1].name for path in BUNDLES.glob("*/configs/metadata.json"))


@pytest.mark.parametrize("name", ALL)
def test_the_bundles_agree_with_themselves(name: str) -> None:
    root = BUNDLES / name
    assert list(stage_problems(root)) == []
    metadata = read_metadata(root)
    assert list(metadata_problems(metadata, describe(root, weights=False))) == []
    card = (root / "docs" / "README.md").read_text()
    assert all(f"\n- {version}: {what}\n" in card for version, what in metadata["changelog"].items())
    for channel in metadata["network_data_format"]["outputs"]["pred"]["channel_def"].values():
        assert channel in card


@pytest.mark.parametrize(
    ("group", "key", "value", "said"),
    [
        ("outputs", "channel_def", {"0": "background", "1": "liver"}, "channel 1 of outputs.pred is 'liver'"),
        ("outputs", "num_channels", 3, "num_channels of outputs.pred is 3, the network's is 14"),
        ("inputs", "num_channels", 4, "num_channels of inputs.image is 4, the network's is 1"),
        (
            "inputs",
            "spatial_shape",
            [32, 32, 32],
            "spatial_shape of inputs.image is [32, 32, 32], the network's is [96",
        ),
    ],
)
def test_what_the_metadata_say_wrongly_is_named(group: str, key: str, value: object, said: str, tmp_path: Path) -> None:
    root = BUNDLES / "btcv_unetr_mae"
    metadata = read_metadata(root)
    part = "pred" if group == "outputs" else "image"
    described = describe(root, weights=False)
    metadata["network_data_format"][group][part][key] = value
    if key == "num_channels" and group == "outputs":
        metadata["network_data_format"][group][part]["channel_def"] = dict(enumerate("abc"))
    problems = list(metadata_problems(metadata, described))
    assert any(problem.startswith(said) for problem in problems), problems
    assert list(metadata_problems(agreeing(metadata, described), described)) == []


def test_exchanged_names_are_found(tmp_path: Path) -> None:
    root = shutil.copytree(BUNDLES / "cxr14_mae", tmp_path / "b", ignore=shutil.ignore_patterns("models", "eval"))
    path = root / "configs" / "metadata.json"
    metadata = read_metadata(root)
    names = metadata["network_data_format"]["outputs"]["pred"]["channel_def"]
    described = describe(root)
    names["0"], names["1"] = names["1"], names["0"]
    path.write_text(json.dumps(metadata))
    assert next(metadata_problems(metadata, described)).startswith("channel 0 of outputs.pred is 'Cardiomegaly'")


def test_stages_that_differ_are_named(tmp_path: Path) -> None:
    root = shutil.copytree(BUNDLES / "btcv_unetr_mae", tmp_path / "b", ignore=shutil.ignore_patterns("models", "eval"))
    path = root / "configs" / "evaluate.yaml"
    path.write_text(path.read_text().replace("spacing: [1.5, 1.5, 2.0]", "spacing: [1.0, 1.0, 2.0]"))
    with pytest.raises(InputError, match=r"spacing is \[1\.0, 1\.0, 2\.0\] in evaluate\.yaml, \[1\.5, 1\.5, 2\.0\] in"):
        refuse_disagreement(root)

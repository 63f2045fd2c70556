import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from bundle_runtime.weights.scale import network_scale


def of(*sides: float) -> SimpleNamespace:
    return SimpleNamespace(facts=[{"picture": {"side": side, "grey": False}} for side in sides])


def encoder(folder: Path, scale: dict[str, float | None]) -> Path:
    (folder / "encoder.json").write_text(json.dumps({"scale": scale}))
    return folder / "encoder.safetensors"


def test_what_a_pixel_of_the_network_is() -> None:
    assert network_scale(of(512, 1024, 600), 112) == {"pixels": 600 / 112, "mpp": None}
    assert network_scale(of(512), 256, mpp=0.25) == {"pixels": 2.0, "mpp": 0.5}
    assert network_scale(of(512), mpp=0.25) == {"pixels": 1.0, "mpp": 0.25}
    assert network_scale(of(), 112) == {"pixels": None, "mpp": None}


@pytest.mark.parametrize(
    ("before", "mpp", "sentence"),
    [
        ({"pixels": 512 / 112, "mpp": None}, None, "is 1 pixels of a picture here and was 4.57 in the pre-training"),
        ({"pixels": 1.5, "mpp": None}, None, ""),
        ({"pixels": 4.0, "mpp": 0.3}, 0.25, ""),  # micrometres count where both know them
        ({"pixels": 1.0, "mpp": 2.0}, 0.25, "is 0.25 micrometres here and was 2 in"),
        ({"pixels": 4.0, "mpp": None}, 0.25, "is 1 pixels of a picture here and was 4 in"),
    ],
)
def test_another_scale_is_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture, before: dict, mpp: float | None, sentence: str
) -> None:
    path = encoder(tmp_path, before)
    network_scale(of(512), mpp=mpp, init="mae", pretrained_encoder=path)
    printed = capsys.readouterr().out
    assert sentence in printed
    assert bool(printed) == bool(sentence)
    network_scale(of(512), mpp=mpp, init=str(path))
    assert capsys.readouterr().out == printed
    network_scale(of(512), mpp=mpp, init="scratch", pretrained_encoder=path)
    assert capsys.readouterr().out == ""

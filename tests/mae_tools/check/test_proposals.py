import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from custom_components.errors import InputError
from mae_tools.check import proposals
from mae_tools.check.command import check
from mae_tools.check.proposals import Proposal, write_overlay
from nifti_files import NAMES, datalist, pair
from picture_files import png, shades
from small_bundles import small_bundle


def test_check_prints_and_writes_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    items = [pair(tmp_path, name, image={"seed": seed}) for seed, name in enumerate("abc")]
    path = datalist(tmp_path, training=items)
    mine = tmp_path / "mine.yaml"
    result = check(path, class_names=NAMES, bundle="btcv_unetr_mae", write_overlay=str(mine))
    assert result["fingerprint"]["cases"] == 3
    assert result["fingerprint"]["size"][1] == [12, 10, 8]
    overlay = yaml.safe_load(mine.read_text())
    assert overlay["spacing"] == [2.0, 2.0, 3.0]
    assert overlay["roi_size"] == [16, 16, 16]
    assert "# the median volume is 12 x 10 x 8 voxels" in mine.read_text()
    assert {p["key"] for p in json.loads((tmp_path / "check" / "check.json").read_text())["proposals"]} >= set(overlay)
    shown = capsys.readouterr().out
    assert "because" in shown
    assert re.search(r"3 cases +lowest +median +highest\nspacing mm +2 2 3 +2 2 3 +2 2 3\nsize +12 10 8 ", shown)
    with pytest.raises(InputError, match=r"mine\.yaml is there already"):
        check(path, class_names=NAMES, write_overlay=str(mine))


def test_check_of_pictures_proposes_what_their_bundle_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    items = [
        {"image": str(png(tmp_path / f"{n}.png", shades(seed=n))), "label": n % 2, "patient_id": str(n)}
        for n in range(8)
    ]
    path = tmp_path / "datalist.json"
    path.write_text(json.dumps({"task": "multi_class", "class_names": ["a", "b"], "training": items}))
    check(path, bundle="cxr14_mae", write_overlay=str(tmp_path / "mine.yaml"), num_workers=0)
    overlay = yaml.safe_load((tmp_path / "mine.yaml").read_text())
    assert overlay.pop("pixel_mean") == pytest.approx(0.5, abs=0.1)  # of equalised pictures, whatever they were
    assert overlay.pop("pixel_std") == pytest.approx(0.289, abs=0.05)
    assert overlay == {"task": "multi_class", "img_size": 32, "cache_size": 40, "batch_size": 2, "equalise": "hist"}
    text = (tmp_path / "mine.yaml").read_text()
    assert re.search(r"^equalise: hist +# .*mean brightness from 0\.\d\d to 0\.\d\d, contrast", text, re.MULTILINE)
    assert re.search(r"^pixel_mean: 0\.\d+ +# the mean of the equalised pictures", text, re.MULTILINE)
    shown = capsys.readouterr().out
    assert re.search(r"8 pictures +lowest +median +highest\nshorter side, pixels +40 +40 +40\nbrightness", shown)


@pytest.mark.parametrize(
    ("name", "wanted", "names", "shape", "outputs"),
    [
        ("btcv_unetr_mae", {"roi_size": [32, 32, 48]}, ["background", "liver", "spleen"], [1, 32, 32, 48], 3),
        ("brats_unetr_mae", {"roi_size": [32, 32, 32]}, None, [4, 32, 32, 32], 3),
        ("cxr14_mae", {"img_size": 48, "in_channels": 3}, ["a", "b"], [3, 48, 48], 2),
    ],
)
def test_what_fits_on_the_card(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, wanted: Any, names: Any, shape: list[int], outputs: int
) -> None:
    """Of the network as it is proposed; nine tenths of what is free, less gradients and averages of the weights."""
    seen: list[Any] = []
    root = small_bundle(name, tmp_path)
    given = [Proposal(key, value, "x") for key, value in {**wanted, "batch_size": 24}.items()]
    monkeypatch.setattr(proposals.torch.cuda, "is_available", lambda: False)
    assert proposals.of_card(root, "train", given, names) == []
    monkeypatch.setattr(proposals, "_grows_by", lambda network, size: seen.append((network, size)) or 2**30)
    for key, value in {"is_available": True, "mem_get_info": (10 * 2**30, 0), "get_device_name": "card"}.items():
        monkeypatch.setattr(proposals.torch.cuda, key, lambda value=value: value)
    (fits,) = proposals.of_card(root, "train", given, names)
    assert fits[:2] == ("micro_batch", 8)
    assert fits.reason.endswith("takes 1.00 GB on this card, 8 fit (measured in bf16)")
    network, size = seen[0]
    assert size == shape
    out = network(torch.zeros(1, *size))
    assert out.shape[1] == outputs
    (whole,) = proposals.of_card(root, "train", [*given[:-1], Proposal("batch_size", 8, "x")], names)
    assert whole.value is None, "all of a batch fits"
    monkeypatch.setattr(proposals.torch.cuda, "mem_get_info", lambda: (2**20, 0))
    assert proposals.of_card(root, "train", given, names)[0].value == 1
    assert proposals.of_card(None, "", given, names) == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_card_is_measured() -> None:
    """A convolution whose activations are known: two inputs take what one takes and as much again."""
    network = torch.nn.Conv2d(1, 64, 3, padding=1)
    grown = proposals._grows_by(network, [1, 512, 512])
    assert 64 * 512 * 512 * 2 <= grown <= 20 * 64 * 512 * 512 * 2


def test_an_overlay_holds_only_what_the_bundle_has(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not written"):
        write_overlay(tmp_path / "mine.yaml", [], None)
    root = Path(__file__).parents[3] / "bundles" / "cxr14_mae"
    write_overlay(tmp_path / "mine.yaml", [Proposal("mpp", 1.0, "x"), Proposal("task", "multi_class", "y")], root)
    assert yaml.safe_load((tmp_path / "mine.yaml").read_text()) == {"task": "multi_class"}

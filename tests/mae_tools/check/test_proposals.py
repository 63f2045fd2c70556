import json
import re
from pathlib import Path

import pytest
import yaml
from custom_components.errors import InputError
from mae_tools.check.command import check
from mae_tools.check.proposals import Proposal, write_overlay
from nifti_files import NAMES, datalist, pair
from picture_files import png, shades


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


def test_check_of_pictures_proposes_what_their_bundle_has(tmp_path: Path) -> None:
    items = [
        {"image": str(png(tmp_path / f"{n}.png", shades(seed=n))), "label": n % 2, "patient_id": str(n)}
        for n in range(8)
    ]
    path = tmp_path / "datalist.json"
    path.write_text(json.dumps({"task": "multi_class", "class_names": ["a", "b"], "training": items}))
    check(path, bundle="cxr14_mae", write_overlay=str(tmp_path / "mine.yaml"), num_workers=0)
    overlay = yaml.safe_load((tmp_path / "mine.yaml").read_text())
    assert overlay == {"task": "multi_class", "img_size": 32, "cache_size": 40, "batch_size": 2}


def test_an_overlay_holds_only_what_the_bundle_has(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not written"):
        write_overlay(tmp_path / "mine.yaml", [], None)
    root = Path(__file__).parents[3] / "bundles" / "cxr14_mae"
    write_overlay(tmp_path / "mine.yaml", [Proposal("mpp", 1.0, "x"), Proposal("task", "multi_class", "y")], root)
    assert yaml.safe_load((tmp_path / "mine.yaml").read_text()) == {"task": "multi_class"}

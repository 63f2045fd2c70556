import subprocess
import sys
from pathlib import Path

import pytest

from custom_components.data.demo import make_abdomen
from custom_components.demo import demo
from custom_components.errors import InputError


def test_what_cannot_run_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no demo for bundle 'lung'"):
        demo("lung", out=str(tmp_path))
    with pytest.raises(InputError, match="without dataset_dir"):
        demo(out=str(tmp_path), datalist="x.json")
    with pytest.raises(InputError, match=r"holds no datalist\.json"):
        demo(out=str(tmp_path), dataset_dir=str(tmp_path))
    with pytest.raises(InputError, match="No stage has a setting 'spacin'"):
        demo(out=str(tmp_path / "out"), spacin=[1, 1, 1])
    assert not (tmp_path / "out").exists()  # nothing was drawn


@pytest.mark.slow
def test_every_stage_end_to_end(tmp_path: Path) -> None:
    """`make demo` at the smallest size that still has every step; about two minutes."""
    make_abdomen(tmp_path / "data", cases=5, shape=(48, 40, 36))
    command = [sys.executable, "-m", "custom_components", "demo", "--out", str(tmp_path / "out")]
    command += ["--dataset_dir", str(tmp_path / "data"), "--max_epochs", "2", "--val_interval", "1"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-3000:]
    assert "from scratch" in result.stdout
    assert "from MAE" in result.stdout
    assert (tmp_path / "out/comparison/comparison.json").exists()
    assert list((tmp_path / "out/inference").glob("*_seg.nii.gz"))
    assert str(tmp_path / "out/check/check.html") in result.stdout
    assert ".png" not in result.stdout

"""The networks as TorchScript and ONNX say what PyTorch says, for any number of images."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from strangers import ROOT, interpreter


@pytest.mark.slow
@pytest.mark.parametrize("name", ["btcv_unetr_mae", "brats_unetr_mae", "cxr14_mae", "histo_sdmae", "medcls_msmae"])
def test_exports_agree_with_pytorch(name: str, tmp_path: Path) -> None:
    python = interpreter("ONNX", "onnxruntime")
    script = ROOT / "benchmarks" / "exported.py"
    command = [python, script, "--quick", "--repeats", "1", "--bundle", ROOT / "bundles" / name, "--out", tmp_path]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = json.loads((tmp_path / "exported_cpu_quick.json").read_text())["rows"]
    assert {(row["program"], row["batch"]) for row in rows} == {
        (program, batch) for program in ("PyTorch", "TorchScript", "onnxruntime") for batch in (1, 4)
    }
    assert max(row["difference"] for row in rows) < 1e-4

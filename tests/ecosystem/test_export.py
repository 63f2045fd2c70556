"""The networks as TorchScript and ONNX say what PyTorch says, for any number of images."""

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from strangers import ROOT, Packages, interpreter, run

pytestmark = pytest.mark.slow
NAMES = ["btcv_unetr_mae", "brats_unetr_mae", "cxr14_mae", "histo_sdmae", "medcls_msmae"]
# What a program that knows nothing of the bundle does with the file.
ASK = """
import sys, json, numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
(image,) = session.get_inputs()
blank = {n: np.zeros((n, *image.shape[1:]), np.float32) for n in (1, 3)}
print(json.dumps([list(session.run(["pred"], {image.name: blank[n]})[0].shape) for n in blank]))
"""


@pytest.mark.parametrize("name", NAMES)
def test_exports_agree_with_pytorch(packages: Packages, tmp_path: Path, name: str) -> None:
    python, bundle = interpreter("ONNX", "onnxruntime"), packages.bundle(name)
    command = [python, ROOT / "benchmarks" / "exported.py", "--repeats", "1", "--bundle", bundle, "--out", tmp_path]
    environment = {**os.environ, "PYTHONPATH": str(bundle)}  # the code of the package, not that of this repository
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = json.loads((tmp_path / "exported_cpu.json").read_text())["rows"]
    assert {(row["program"], row["batch"]) for row in rows} == {
        (program, batch) for program in ("PyTorch", "TorchScript", "onnxruntime") for batch in (1, 4)
    }
    print(name, {row["program"]: row["difference"] for row in rows})
    assert max(row["difference"] for row in rows) < 1e-4


def test_the_commands_of_the_docs_export_with_a_free_batch(packages: Packages, tmp_path: Path) -> None:
    python, name = interpreter("ONNX", "onnxruntime"), "cxr14_mae"
    bundle = shutil.copytree(packages.bundle(name), tmp_path / name)
    page = (ROOT / "docs" / "ecosystem.md").read_text()
    block = re.search(r"## Exported networks\n```\n(.*?)```", page, re.S)
    assert block is not None
    for line in block[1].replace("\\\n", "").splitlines():
        words = shlex.split(line)
        assert words[0] == "python"
        run([python, "-W", "ignore", *words[1:]], bundle)
    assert (bundle / "models" / "model.ts").is_file()
    shapes = json.loads(run([python, "-c", ASK, bundle / "models" / "model.onnx"], tmp_path))
    assert shapes == [[1, 6], [3, 6]]

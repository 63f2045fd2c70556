"""What a run imports: no part of another kind of images."""

import subprocess
import sys
from pathlib import Path

import pytest

BUNDLES = Path(__file__).resolve().parents[3] / "bundles"
IMPORT = """
import re, sys
from pydoc import locate
text = open(sys.argv[1]).read()
for name in set(re.findall(r"(?:custom_components|bundle_runtime)(?!.check)(?:[.]\\w+)+", text)):
    assert locate(name) is not None, name
print(*(name for name in sys.modules if name.startswith(("custom_components", "bundle_runtime"))))
"""
PICTURES_ONLY = (
    "bundle_runtime.engine.attention_refresh", "bundle_runtime.engine.collapse", "bundle_runtime.engine.distillation",
    "bundle_runtime.probes", "bundle_runtime.slides", "custom_components.attention_maps", "custom_components.augment",
)  # fmt: skip


@pytest.mark.parametrize("stage", ["pretrain", "train"])
def test_a_training_on_ct_imports_nothing_for_pictures(stage: str) -> None:
    file = BUNDLES / "btcv_unetr_mae" / "configs" / f"{stage}.yaml"
    found = subprocess.run([sys.executable, "-c", IMPORT, file], capture_output=True, text=True, check=True).stdout
    modules = found.split()
    assert "bundle_runtime.engine.standard" in modules
    assert [name for name in modules if name.startswith(PICTURES_ONLY)] == []

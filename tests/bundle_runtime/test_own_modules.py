"""Each bundle runs its own Python from any folder, also beside another bundle in one process."""

import json
import shutil
from pathlib import Path

import launch
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
SHARED = yaml.safe_load((ROOT / "bundles" / "btcv_unetr_mae" / "configs" / "train.yaml").read_text())["shared"]
CONFIG = {
    "imports": [f"$import {name}" for name in ("inspect", "monai", "os", "runpy", "sys")]
    + ["$import custom_components.early as early"],
    "bundle_root": ".",
    "shared": SHARED,
    "network_def": {"_target_": "custom_components.early.Net", "_requires_": "@shared"},
    "early": "$early.VERSION",
    "late": {"_target_": "custom_components.late.version"},
    "initialize": [{"_target_": "custom_components.early.version", "_requires_": "@shared"}],
    "run": ["$print('run', @early, @late)"],
}
# Neither bundle is on the path, and each is asked for more after the other has come.
WORKFLOWS = """
from monai.bundle import create_workflow
one = create_workflow(config_file="one/configs/train.json")
two = create_workflow(config_file="two/configs/train.json")
one.run(), two.run(), one.run()
print("networks", one.network_def.version, two.network_def.version)
"""
PARSERS = """
from monai.bundle import ConfigParser
parsers = []
for name in ("one", "two"):
    parser = ConfigParser()
    parser.read_config(f"{name}/configs/train.json")
    parser["bundle_root"] = name
    parsers.append(parser)
    print("network", parser.get_parsed_content("network_def").version)
for parser in parsers:
    print("late", parser.get_parsed_content("late"), parser.get_parsed_content("early"))
"""
LOAD = """
import torch
from monai.bundle import load
torch.save({}, "one/models/model.pt")
print("loaded", load("one", bundle_dir=".", source="github").version)
"""


@pytest.fixture
def bundles(tmp_path: Path) -> Path:
    """Two bundles of different versions, and a folder to start from."""
    for version in ("one", "two"):
        bundle = tmp_path / version
        for folder in ("configs", "models", "bundle_runtime", "custom_components"):
            (bundle / folder).mkdir(parents=True)
        shutil.copy(ROOT / "bundle_runtime" / "own_modules.py", bundle / "bundle_runtime")
        code = bundle / "custom_components"
        (code / "__init__.py").touch()
        head = f"import torch\n\nVERSION = {version!r}\n\n\ndef version():\n    return VERSION\n"
        (code / "early.py").write_text(f"{head}\n\nclass Net(torch.nn.Module):\n    version = VERSION\n")
        (code / "late.py").write_text("from .early import version\n")
        (bundle / "configs" / "train.json").write_text(json.dumps(CONFIG))
        (bundle / "configs" / "metadata.json").write_text("{}")
    return tmp_path


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (WORKFLOWS, ["run one one", "run two two", "run one one", "networks one two"]),
        (PARSERS, ["network one", "network two", "late one one", "late two two"]),
        (LOAD, ["loaded one"]),
    ],
)
def test_each_bundle_gets_its_own_modules(bundles: Path, script: str, said: list[str]) -> None:
    (bundles / "script.py").write_text(script)
    result = launch.run("script", cwd=bundles, repository=False)
    assert result.returncode == 0, result.stderr[-3000:]
    assert [
        line for line in result.stdout.splitlines() if line.startswith(("run", "network", "late", "loaded"))
    ] == said

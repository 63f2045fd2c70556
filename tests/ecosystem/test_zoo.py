"""The Model Zoo's own check and formatters on the packages; `MODEL_ZOO` names a checkout, `ZOO_PYTHON` an interpreter.

The Zoo downloads the schema of the metadata first; `ZOO_SCHEMA` names the file where it cannot.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mae_tools.metadata_schema import METADATA_SCHEMA
from small_bundles import put_weights, small_bundle, unpacked
from strangers import CONTROL, Packages, checkout, interpreter, run

pytestmark = pytest.mark.slow
NAMES = ["btcv_unetr_mae", "brats_unetr_mae", "cxr14_mae", "histo_sdmae", "medcls_msmae"]


@pytest.fixture
def zoo() -> Path:
    """A checkout of the Model Zoo."""
    return checkout()


@pytest.mark.parametrize("name", [*NAMES, CONTROL])
def test_the_zoos_check_passes(packages: Packages, zoo: Path, tmp_path: Path, name: str) -> None:
    python = interpreter("ZOO", "monai")
    models = tmp_path / "models"
    bundle = shutil.copytree(packages.bundle(name), models / name)
    schema = os.environ.get("ZOO_SCHEMA")
    (bundle / "eval").mkdir(exist_ok=True)
    (bundle / "eval" / "schema.json").write_text(Path(schema).read_text() if schema else json.dumps(METADATA_SCHEMA))
    (models / "model_info.json").write_text("{}")
    shutil.copytree(zoo / "ci", tmp_path / "ci")
    said = run([python, "-W", "ignore", "ci/verify_bundle.py", "-b", name, "-p", models, "-m", "full"], tmp_path)
    assert "export weights into TorchScript module successfully." in said


@pytest.mark.parametrize("name", NAMES)
def test_a_unit_test_in_the_zoos_form_passes(
    packages: Packages, zoo: Path, ask: Callable[..., dict[str, Any]], tmp_path: Path, name: str
) -> None:
    bundle = shutil.copytree(packages.bundle(name), tmp_path / name)
    found = ask(interpreter("ZOO", "monai"), "zoo_tool.py", zoo, bundle, packages.data(name))
    assert found["stages"] == ["pretrain", "train", "evaluate", "inference", "train_evaluate"]
    for stage in ("evaluate", "train_evaluate"):
        assert (tmp_path / "work" / stage / "scores.json").is_file()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "command",
    [
        ["isort", "--check", "--settings-path", "{zoo}/setup.cfg"],
        ["flake8", "--config", "{zoo}/setup.cfg", "--count"],
        ["black", "--check", "--config", "{zoo}/pyproject.toml", "--skip-magic-trailing-comma", "-q"],
    ],
    ids=lambda command: command[0],
)
def test_the_code_is_formatted_as_the_zoo_asks(packages: Packages, zoo: Path, name: str, command: list[str]) -> None:
    python = interpreter("ZOO", command[0])
    words = [word.format(zoo=zoo) for word in command]
    done = subprocess.run(
        [python, "-m", *words, "."], cwd=packages.bundle(name), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]


@pytest.mark.parametrize("name", NAMES)
def test_every_json_file_is_indented_as_the_zoo_asks(packages: Packages, name: str) -> None:
    for path in packages.bundle(name).glob("configs/*.json"):
        text = path.read_text()
        assert text == json.dumps(json.loads(text), indent=4) + "\n", path


def test_the_zoo_fetches_weights_by_their_address(zoo: Path, tmp_path: Path) -> None:
    name = "cxr14_mae"
    made = small_bundle(name, tmp_path / "made")
    put_weights(made, finished=True)
    bundle = unpacked(made, tmp_path / "models", weights_url=(made / "models").as_uri())
    assert not (bundle / "models").exists()
    code = "import sys; sys.path.insert(0, 'ci'); from utils import download_large_files as get; get(*sys.argv[1:])"
    shutil.copytree(zoo / "ci", tmp_path / "ci")
    run([interpreter("ZOO", "monai"), "-W", "ignore", "-c", code, bundle, "large_files.yml"], tmp_path)
    assert (bundle / "models" / "model.pt").read_bytes() == (made / "models" / "model.pt").read_bytes()

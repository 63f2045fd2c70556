"""The checks which the MONAI Model Zoo runs on a submission, without a network, on a package as its users get it.

They run in a process of their own, started in the unpacked folder, so that only the package's own Python is imported.
The list follows the Zoo's `verify_bundle`; MONAI's engine properties come from its unit tests.
"""

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from custom_components.errors import InputError

from .bundles import SEGMENTATION, overlays, read_tools, stages
from .demo_data import PAINTERS
from .metadata_schema import METADATA_SCHEMA

_SCRIPT = Path(__file__).with_name("zoo_inside.py")


def verify(bundle: str | Path) -> dict[str, str]:
    """Run all checks on a package and print a line for each.

    Args:
        bundle: The zip that `package` wrote, or the folder that it unpacks to.

    Returns:
        Check -> what it found.

    Raises:
        InputError: Naming each check that failed and why.
    """
    path = Path(bundle).resolve()
    with tempfile.TemporaryDirectory() as scratch:
        folder = _unpacked(path, Path(scratch) / "package")
        work = Path(scratch) / "work"
        work.mkdir()
        (work / "plan.json").write_text(json.dumps(_plan(folder, work)), encoding="utf-8")
        (work / "schema.json").write_text(json.dumps(METADATA_SCHEMA), encoding="utf-8")
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"TQDM_DISABLE": "1"}
        command = [sys.executable, "-W", "ignore", str(_SCRIPT), str(work)]
        code = subprocess.run(command, cwd=folder, env=environment, check=False).returncode
        results = work / "results.json"
        if not results.is_file():
            raise InputError(f"{path}: the checks could not start (exit code {code}); see the output above.")
        found, failed = json.loads(results.read_text(encoding="utf-8"))
    if failed:
        listed = "; ".join(f"{title}: {reason}" for title, reason in failed.items())
        raise InputError(f"{path}: {len(failed)} of {len(found) + len(failed)} Model Zoo checks failed: {listed}")
    return found


def _unpacked(path: Path, target: Path) -> Path:
    """The bundle's folder: `path` itself, or where its zip was unpacked to."""
    if path.is_dir():
        if not (path / "SHA256SUMS").is_file():
            raise InputError(f"{path} has no SHA256SUMS inside; verify what `package` makes of it.")
        return path
    if not zipfile.is_zipfile(path):
        raise InputError(f"{path} is neither a folder nor a zip; give what `package` wrote.")
    with zipfile.ZipFile(path) as archive:
        tops = {name.split("/", 1)[0] for name in archive.namelist()}
        if len(tops) != 1:
            raise InputError(f"{path} unpacks to {', '.join(sorted(tops))}; expected one folder.")
        archive.extractall(target)
    return target / tops.pop()


def _plan(folder: Path, work: Path) -> dict[str, dict[str, Any]]:
    """Stage -> what MONAI's property check tries it on; {} where the bundle has no data to draw. Draws them."""
    tools = read_tools(folder)
    if tools.draw is None:
        return {}
    PAINTERS[tools.draw](work / "data", cases=tools.least)
    if tools.slides is not None:
        PAINTERS[tools.slides](work / "slides")
    plan = {}
    for stage, content in stages(folder).items():
        suffix = SEGMENTATION if stage.endswith(SEGMENTATION) else ""
        data = work / "data"
        datalist = data / (str(tools.masks) if suffix else "datalist.json")
        models = work / f"models{suffix}"
        kind = _kind(content)
        if kind is None:
            continue
        plan[stage] = {
            "kind": kind,
            "network": f"configs/inference{suffix}.json",
            "overlays": [str(path.relative_to(folder)) for path in overlays(folder / "configs", stage, ".json")],
            "weights": str(models / ("segmentation.pt" if suffix else "model.pt")),
            "settings": {
                "dataset_dir": str(work / "slides" if "assume_mpp" in content else datalist.parent),
                "datalist": str(datalist),
                "output_dir": str(work / "output"),
                "model_dir": str(models),
                "init": "scratch",
                "label_fraction": 1.0,  # of so few drawn cases a share may hold one class only
                "num_workers": 0,
                "device": "$torch.device('cpu')",
            },
        }
    return plan


def _kind(content: dict[str, Any]) -> str | None:
    """Which of MONAI's two lists of properties a stage must have; None where it has no engine."""
    if "trainer" in (content.get("train") or {}):
        return "train"
    return "infer" if "evaluator" in content else None

"""The checks which the MONAI Model Zoo runs on a submission, without a network, on a package as its users get it.

They run in a process of their own, started in the unpacked folder, so that the package's own Python is
what is imported. The list follows the Zoo's `verify_bundle`; MONAI's engine properties come from its unit tests.
"""

import json
import logging
import os
import subprocess
import sys
import tempfile
import traceback
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser, ConfigWorkflow, ckpt_export, verify_metadata, verify_net_in_out
from monai.data import load_net_with_metadata

from bundle_runtime.weights.io import sha256_of
from custom_components.errors import InputError

from .demo import DEMOS, SEGMENTATION, overlays
from .metadata_schema import METADATA_SCHEMA

_METADATA, _INFERENCE, _MODEL = "configs/metadata.json", "configs/inference.json", "models/model.pt"
# Which of MONAI's two lists of properties each stage must have.
_KINDS = {
    "pretrain": "train",
    "train": "train",
    "evaluate": "infer",
    "inference": "infer",
    f"train{SEGMENTATION}": "train",
    f"evaluate{SEGMENTATION}": "infer",
    f"inference{SEGMENTATION}": "infer",
    "detect": "infer",
}


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
        # `python -m` puts the current folder first: the package's own copy wins over an installed one.
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"TQDM_DISABLE": "1"}
        command = [sys.executable, "-W", "ignore", "-m", f"{__package__}.{Path(__file__).stem}", str(work)]
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
        if not (path / __package__ / "__init__.py").is_file():
            raise InputError(f"{path} has no {__package__} inside; verify what `package` makes of it.")
        return path
    if not zipfile.is_zipfile(path):
        raise InputError(f"{path} is neither a folder nor a zip; give what `package` wrote.")
    with zipfile.ZipFile(path) as archive:
        tops = {name.split("/", 1)[0] for name in archive.namelist()}
        if len(tops) != 1:
            raise InputError(f"{path} unpacks to {', '.join(sorted(tops))}; expected one folder.")
        archive.extractall(target)
    return target / tops.pop()


def _check_sums(work: Path) -> str:
    """Every file as it was packed, and none besides."""
    lines = Path("SHA256SUMS").read_text(encoding="utf-8").splitlines()
    sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    changed = [name for name, digest in sums.items() if not Path(name).is_file() or sha256_of(name) != digest]
    if changed:
        raise InputError(f"differ from SHA256SUMS or are missing: {', '.join(changed)}")
    return f"{len(sums)} files as packed"


def _check_files(work: Path) -> str:
    missing = [name for name in ("LICENSE", _METADATA, _INFERENCE) if not Path(name).is_file()]
    if missing:
        raise InputError(f"{', '.join(missing)} missing")
    weights = "" if Path(_MODEL).is_file() else f"; no {_MODEL}, which the Zoo asks for unless the bundle is exempt"
    return f"necessary files are there{weights}"


def _check_metadata(work: Path) -> str:
    schema = work / "schema.json"  # MONAI downloads the schema only if there is no file of that name
    schema.write_text(json.dumps(METADATA_SCHEMA), encoding="utf-8")
    verify_metadata(meta_file=_METADATA, filepath=str(schema))
    metadata = json.loads(Path(_METADATA).read_text(encoding="utf-8"))
    if metadata["version"] not in metadata["changelog"]:
        raise InputError(f"version {metadata['version']} has no entry in the changelog")
    return f"follows the schema, version {metadata['version']}"


def _check_network(work: Path) -> str:
    verify_net_in_out("network_def", meta_file=_METADATA, config_file=_INFERENCE, device="cpu")
    return "takes and returns what the metadata say"


def _check_export(work: Path) -> str:
    weights, exported = Path(_MODEL), work / "model.ts"
    if not weights.is_file():
        weights = work / "model.pt"
        torch.save(_network([_INFERENCE]).state_dict(), weights)
    ckpt_export(
        "network_def",
        filepath=str(exported),
        ckpt_file=str(weights),
        meta_file=_METADATA,
        config_file=_INFERENCE,
    )
    network, metadata, _ = load_net_with_metadata(str(exported))
    image, pred = (metadata["network_data_format"][part] for part in ("inputs", "outputs"))
    sizes = (image["image"]["num_channels"], *image["image"]["spatial_shape"])
    if all(isinstance(size, int) for size in sizes):
        with torch.no_grad():
            output = network.eval()(torch.rand(1, *sizes))
        if output.shape[1] != pred["pred"]["num_channels"]:
            raise InputError(f"the exported network returns {output.shape[1]} channels")
    return "exported as TorchScript, loaded again and run"


def _check_properties(work: Path) -> str:
    """MONAI's canonical ids in every stage, on a drawn data set with the demo's small network."""
    name = Path.cwd().name
    if name not in DEMOS:
        return f"not checked: there is no drawn data set for {name}"
    DEMOS[name].draw(work / "data", cases=DEMOS[name].least)
    stages = [stage for stage in _KINDS if Path(f"configs/{stage}.json").is_file()]
    problems = [problem for stage in stages if (problem := _stage_problem(stage, work)) is not None]
    if problems:
        raise InputError("; ".join(problems))
    return f"canonical in {', '.join(stages)}"


def _stage_problem(stage: str, work: Path) -> str | None:
    """What MONAI misses in a stage, run with the demo's overlays as far as its engine, or None."""
    known = ConfigParser.load_config_file(f"configs/{stage}.json")
    demo_files = [str(path) for path in overlays(Path("configs"), stage, ".json")]
    settings = _settings(stage, work, demo_files)
    overrides = {key: value for key, value in settings.items() if key in known}
    files = [f"configs/{stage}.json", *demo_files]
    workflow = ConfigWorkflow(files, logging_file=False, workflow_type=_KINDS[stage], **overrides)
    workflow.initialize()
    try:
        wrong = workflow.check_properties()
    except (KeyError, AttributeError, TypeError) as error:  # what MONAI raises where it should answer
        return f"{stage}: {type(error).__name__}: {error}"
    return f"{stage}: missing or under another id: {', '.join(wrong)}" if wrong else None


def _settings(stage: str, work: Path, demo_files: list[str]) -> dict[str, Any]:
    """Where a stage finds drawn data and, made here at the first call, untrained weights."""
    drawn = DEMOS[Path.cwd().name]
    suffix = SEGMENTATION if stage.endswith(SEGMENTATION) else ""
    datalist = work / "data" / (str(drawn.masks) if suffix else "datalist.json")
    folder = datalist.parent
    if stage == "detect":
        folder = work / "slides"
        assert drawn.draw_slides is not None  # a bundle with this stage has slides to draw
        drawn.draw_slides(folder)
    models = work / f"models{suffix}"
    if not models.exists():
        models.mkdir()
        network = _network([f"configs/inference{suffix}.json", *demo_files])
        torch.save(network.state_dict(), models / ("segmentation.pt" if suffix else "model.pt"))
    return {
        "dataset_dir": str(folder),
        "datalist": str(datalist),
        "output_dir": str(work / "output"),
        "model_dir": str(models),
        "init": "scratch",
        "num_workers": 0,
        "device": "$torch.device('cpu')",
    }


def _network(files: list[str]) -> torch.nn.Module:
    parser = ConfigParser()
    parser.read_config(files)
    return parser.get_parsed_content("network_def")


CHECKS: dict[str, Callable[[Path], str]] = {
    "checksums": _check_sums,
    "files": _check_files,
    "metadata": _check_metadata,
    "network": _check_network,
    "export": _check_export,
    "properties": _check_properties,
}


def _run(work: Path) -> int:
    """All checks on the current folder; the results go to `work/results.json`. Returns the exit code."""
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    inside = Path(__file__).resolve().is_relative_to(Path.cwd().resolve())
    if not inside:
        print(f"{__file__} was imported instead of the package's own copy", file=sys.stderr)
        return 1
    found: dict[str, str] = {}
    failed: dict[str, str] = {}
    for title, check in CHECKS.items():
        try:
            found[title] = check(work)
            print(f"  passed  {title}: {found[title]}", flush=True)
        except Exception as error:  # one failure must not hide the others
            failed[title] = str(error).strip() or type(error).__name__
            if not isinstance(error, InputError):
                traceback.print_exc()
            print(f"  FAILED  {title}: {failed[title]}", flush=True)
    (work / "results.json").write_text(json.dumps([found, failed]), encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(_run(Path(sys.argv[1])))

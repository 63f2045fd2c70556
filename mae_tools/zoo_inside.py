"""The Model Zoo's checks, run inside an unpacked package: a script of its own, that imports nothing of this repository.

`python zoo_inside.py <work>` with the package as the current folder. `<work>/plan.json`, which `zoo_check.verify`
writes, says what each stage is tried on; the results go to `<work>/results.json`.
"""

import hashlib
import json
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser, ConfigWorkflow, ckpt_export, verify_metadata, verify_net_in_out
from monai.data import load_net_with_metadata

_METADATA, _INFERENCE, _MODEL = "configs/metadata.json", "configs/inference.json", "models/model.pt"
FLOORS = ("custom_components", "bundle_runtime", "mae_tools")


class Wrong(Exception):
    """A check failed; the text says what is wrong with the package."""


def _check_sums(work: Path) -> str:
    """Every file as it was packed, and none besides."""
    lines = Path("SHA256SUMS").read_text(encoding="utf-8").splitlines()
    sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    changed = [name for name, digest in sums.items() if not Path(name).is_file() or _sha256(Path(name)) != digest]
    if changed:
        raise Wrong(f"differ from SHA256SUMS or are missing: {', '.join(changed)}")
    return f"{len(sums)} files as packed"


def _check_files(work: Path) -> str:
    missing = [name for name in ("LICENSE", _METADATA, _INFERENCE) if not Path(name).is_file()]
    if missing:
        raise Wrong(f"{', '.join(missing)} missing")
    weights = "" if Path(_MODEL).is_file() else f"; no {_MODEL}, which the Zoo asks for unless the bundle is exempt"
    return f"necessary files are there{weights}"


def _check_metadata(work: Path) -> str:
    # MONAI downloads the schema only if there is no file of that name.
    verify_metadata(meta_file=_METADATA, filepath=str(work / "schema.json"))
    metadata = json.loads(Path(_METADATA).read_text(encoding="utf-8"))
    if metadata["version"] not in metadata["changelog"]:
        raise Wrong(f"version {metadata['version']} has no entry in the changelog")
    return f"follows the schema, version {metadata['version']}"


def _check_network(work: Path) -> str:
    verify_net_in_out("network_def", meta_file=_METADATA, config_file=_INFERENCE, device="cpu")
    return "takes and returns what the metadata say"


def _check_export(work: Path) -> str:
    weights, exported = Path(_MODEL), work / "model.ts"
    if not weights.is_file():
        weights = work / "model.pt"
        torch.save(_parser([_INFERENCE]).get_parsed_content("network_def").state_dict(), weights)
    ckpt_export(
        "network_def", filepath=str(exported), ckpt_file=str(weights), meta_file=_METADATA, config_file=_INFERENCE
    )
    network, metadata, _ = load_net_with_metadata(str(exported))
    image, pred = (metadata["network_data_format"][part] for part in ("inputs", "outputs"))
    sizes = (image["image"]["num_channels"], *image["image"]["spatial_shape"])
    if all(isinstance(size, int) for size in sizes):
        with torch.no_grad():
            output = network.eval()(torch.rand(1, *sizes))
        if output.shape[1] != pred["pred"]["num_channels"]:
            raise Wrong(f"the exported network returns {output.shape[1]} channels")
    return "exported as TorchScript, loaded again and run"


def _check_properties(work: Path) -> str:
    """MONAI's canonical ids in every stage, on a drawn data set with the demo's small network."""
    plan = json.loads((work / "plan.json").read_text(encoding="utf-8"))
    if not plan:
        return "not checked: configs/tools.yaml names no data to draw"
    problems = [problem for stage, how in plan.items() if (problem := _stage_problem(stage, how)) is not None]
    if problems:
        raise Wrong("; ".join(problems))
    return f"canonical in {', '.join(plan)}"


def _stage_problem(stage: str, how: dict[str, Any]) -> str | None:
    """What MONAI misses in a stage, run with the demo's overlays as far as its engine, or None."""
    weights = Path(how["weights"])
    if not weights.exists():  # untrained ones, made at the first call
        weights.parent.mkdir(exist_ok=True)
        parser = _parser([how["network"], *how["overlays"]])
        parser["datalist"] = how["settings"]["datalist"]  # names the classes,
        parser["model_dir"] = str(weights.parent)  # not the package's own weights, which learnt those of other data
        torch.save(parser.get_parsed_content("network_def").state_dict(), weights)
        weights.with_suffix(".json").write_text(json.dumps({"class_names": parser.get_parsed_content("classes")}))
    known = ConfigParser.load_config_file(f"configs/{stage}.json")
    overrides = {key: value for key, value in how["settings"].items() if key in known}
    files = [f"configs/{stage}.json", *how["overlays"]]
    workflow = ConfigWorkflow(files, logging_file=False, workflow_type=how["kind"], **overrides)
    workflow.initialize()
    try:
        wrong = workflow.check_properties()
    except (KeyError, AttributeError, TypeError) as error:  # what MONAI raises where it should answer
        return f"{stage}: {type(error).__name__}: {error}"
    return f"{stage}: missing or under another id: {', '.join(wrong)}" if wrong else None


def _check_origin(work: Path) -> str:
    """Everything that the other checks imported came from the package."""
    here = Path.cwd().resolve()
    loaded = {name: module for name, module in sys.modules.items() if name.split(".")[0] in FLOORS}
    outside = [name for name, module in loaded.items() if module.__file__ and here not in Path(module.__file__).parents]
    if outside:
        raise Wrong(f"imported from outside the package: {', '.join(sorted(outside))}")
    return f"{len(loaded)} modules, all from the package"


def _parser(files: list[str]) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config(files)
    return parser


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


CHECKS: dict[str, Callable[[Path], str]] = {
    "checksums": _check_sums,
    "files": _check_files,
    "metadata": _check_metadata,
    "network": _check_network,
    "export": _check_export,
    "properties": _check_properties,
    "origin": _check_origin,
}


def _run(work: Path) -> int:
    """All checks on the current folder; the results go to `work/results.json`. Returns the exit code."""
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    found: dict[str, str] = {}
    failed: dict[str, str] = {}
    for title, check in CHECKS.items():
        try:
            found[title] = check(work)
            print(f"  passed  {title}: {found[title]}", flush=True)
        except Exception as error:  # one failure must not hide the others
            failed[title] = str(error).strip() or type(error).__name__
            if not isinstance(error, Wrong):
                traceback.print_exc()
            print(f"  FAILED  {title}: {failed[title]}", flush=True)
    (work / "results.json").write_text(json.dumps([found, failed]), encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.path[0] = os.getcwd()  # the package, in place of this script's folder
    sys.exit(_run(Path(sys.argv[1])))

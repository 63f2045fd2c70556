"""`make demo`: every stage of a bundle through its real commands, at a size that a laptop manages."""

import inspect
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from .data.check import check
from .data.datalist import parse
from .data.demo import make_abdomen, make_heads, make_radiographs
from .data.sources import SOURCES
from .errors import InputError
from .files import write_atomically
from .metrics import compare


class Demo(NamedTuple):
    """What a bundle's demo needs to know.

    Attributes:
        draw: makes the synthetic data set in a folder.
        source: reads the folder of a user who has no datalist yet.
    """

    draw: Callable[..., object]
    source: str


DEMOS = {
    "btcv_unetr_mae": Demo(make_abdomen, "folder"),
    "brats_unetr_mae": Demo(make_heads, "brats"),
    "cxr14_mae": Demo(make_radiographs, "class_folder"),
}
ROOT = Path(__file__).resolve().parent.parent


def demo(
    bundle: str = "btcv_unetr_mae",
    out: str = "demo_output",
    dataset_dir: str | None = None,
    datalist: str | None = None,
    **settings: Any,
) -> None:
    """Run check, pretrain, train from scratch and from MAE, evaluate both, inference; print the comparison.

    Args:
        bundle: name of a bundle.
        out: folder for everything that is made; logs of each step are in `<out>/logs`.
        dataset_dir: folder of real data; None draws a synthetic set into `<out>/data`.
        datalist: its datalist; None takes `<dataset_dir>/datalist.json`, or makes one from the folder's files.
        **settings: further settings for all stages, e.g. `--spacing '[1,1,1]'`; a stage that lacks one is not given it.

    Raises:
        InputError: an unknown bundle or setting, or a step failed.
    """
    start = time.monotonic()
    # In a packaged bundle this package lies inside the bundle itself.
    root = ROOT if (ROOT / "configs").is_dir() else ROOT / "bundles" / bundle
    configs = root / "configs"
    if bundle not in DEMOS or not configs.is_dir():
        raise InputError(f"There is no demo for bundle '{bundle}'; choose one of {', '.join(DEMOS)}.")
    stages = [content for content in map(_load, configs.glob("*.yaml")) if "stage" in content]
    unknown = sorted(set(settings) - {key for content in stages for key in content})
    if unknown:
        raise InputError(f"No stage has a setting '{unknown[0]}'; see the top of {configs}/train.yaml.")
    folder = Path(out).resolve()
    data_dir, data_list = _data(bundle, folder, dataset_dir, datalist, settings)
    runner = _Runner(root, folder, {"dataset_dir": str(data_dir), "datalist": str(data_list)}, settings)

    models = folder / "models"
    runner.check(data_dir, data_list)
    runner.stage("pretrain", "pretrain", model_dir=models)
    for arm in ("scratch", "mae"):
        runner.stage("train", f"train_{arm}", init=arm, model_dir=folder / arm, encoder_file=_encoder(models))
    for arm in ("scratch", "mae"):
        runner.stage("evaluate", f"evaluate_{arm}", model_dir=folder / arm)
    runner.stage("inference", "inference", model_dir=folder / "mae")

    text, _ = compare(
        folder / "evaluate_scratch", folder / "evaluate_mae", "from scratch", "from MAE", write=folder / "comparison"
    )
    notice = "Synthetic data, drawn by a program: these numbers say that everything works, no more."
    print(f"\n{text}\n" + (f"{notice}\n" if dataset_dir is None else ""))
    print("Pictures:")
    for pictures in sorted({picture.parent for picture in folder.rglob("*.png")}):
        print(f"  {pictures}")
    print(f"Thumbnails of the data: {folder / 'check' / 'check.html'}\nOutput of each step: {folder / 'logs'}")
    minutes = (time.monotonic() - start) / 60
    print(f"Done in {minutes:.1f} minutes. Everything is in {folder}.")


def _encoder(models: Path) -> Path:
    return models / "pretrained_encoder.safetensors"


def _data(
    bundle: str, folder: Path, dataset_dir: str | None, datalist: str | None, settings: dict[str, Any]
) -> tuple[Path, Path]:
    """Folder and datalist of the data to run on, made where they are missing."""
    if dataset_dir is None:
        if datalist is not None:
            raise InputError("A datalist was given without dataset_dir; give the folder that its paths start from.")
        data_dir = folder / "data"
        if not (data_dir / "datalist.json").exists():
            DEMOS[bundle].draw(data_dir)
        return data_dir, data_dir / "datalist.json"
    data_dir = Path(dataset_dir).resolve()
    given = Path(datalist).resolve() if datalist is not None else data_dir / "datalist.json"
    if datalist is not None or given.exists():
        class_names = parse(given).get("class_names")
        if class_names is not None:
            settings.setdefault("class_names", class_names)
        return data_dir, given
    made = folder / "datalist.json"
    source = DEMOS[bundle].source
    named = {"class_names": settings["class_names"]} if "class_names" in settings else {}
    if source == "folder" and not named:
        raise InputError(
            f"{data_dir} holds no datalist.json; write one with `python -m custom_components datalist`, or add "
            "ARGS=\"--class_names '[background,liver,...]'\" to have one made from the folder's files."
        )
    SOURCES[source](data_dir, out=made, **(named if source == "folder" else {}))
    return data_dir, made


class _Runner:
    """Runs the steps as commands of their own, shows each command, keeps each log."""

    def __init__(self, root: Path, folder: Path, data: dict[str, str], settings: dict[str, Any]) -> None:
        self.root, self.configs = root, root / "configs"
        self.folder, self.data, self.settings = folder, data, settings
        self.steps: list[dict[str, Any]] = []

    def check(self, data_dir: Path, data_list: Path) -> None:
        """Open every file before any training starts."""
        train = _load(self.configs / "train.yaml")
        values = {**train, **_load(self.configs / "demo.yaml"), **self.settings}
        if "label_convention" in train:
            values["need_convention"] = True
        wanted = {
            key: values[key]
            for key in inspect.signature(check).parameters
            if key in values and key not in self.data and not str(values[key]).startswith(("$", "@"))
        }
        wanted = {key: value for key, value in wanted.items() if value is not None}
        command = [sys.executable, "-m", "custom_components", "check", str(data_list), "--dataset_dir", str(data_dir)]
        self._run("check", [*command, "--out", str(self.folder / "check"), *_flags(wanted)])

    def stage(self, stage: str, name: str, **overrides: object) -> None:
        """Run one stage of the bundle, with the demo overlay, into its own folder."""
        base = self.configs / f"{stage}.yaml"
        known = _load(base)
        values = {"bundle_root": self.root, **self.data, "output_dir": self.folder / name}
        values |= {"overwrite": True, **overrides, **self.settings}  # the folders are the demo's own
        files = f"['{base}','{self.configs / 'demo.yaml'}']"
        command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", files]
        self._run(name, command + _flags({key: value for key, value in values.items() if key in known}))

    def _run(self, name: str, command: list[str]) -> None:
        log = self.folder / "logs" / f"{name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        print(f"\n=== {name}: {shlex.join(['python', *command[1:]])}", flush=True)
        start = time.monotonic()
        with log.open("w", encoding="utf-8") as stream:
            code = subprocess.run(command, stdout=stream, check=False).returncode  # progress bars go to the terminal
        seconds = round(time.monotonic() - start, 1)
        self.steps.append({"step": name, "command": command[1:], "seconds": seconds, "exit_code": code})
        write_atomically(self.folder / "steps.json", json.dumps(self.steps, indent=2) + "\n")
        if code:
            raise InputError(f"The step '{name}' failed with exit code {code}; its output is in {log}.")
        print(f"=== {name} took {seconds:.0f} s", flush=True)


def _load(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _flags(values: dict[str, Any]) -> list[str]:
    """Settings as command-line flags; lists in a form that MONAI's and our command line both read."""
    return [
        part for key, value in values.items() for part in (f"--{key}", value if isinstance(value, str) else str(value))
    ]

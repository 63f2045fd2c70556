"""Runs stages as the commands a user would type, each once, and goes on with what was interrupted."""

import fcntl
import functools
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import yaml

from .plan import PROBE, Stage, named
from .study import Data, Settings, Study, StudyError

ROOT = Path(__file__).resolve().parents[2]
BUNDLE_RUN = (sys.executable, "-m", "monai.bundle", "run")
TOOLS = "mae_tools"  # the module that holds the commands `datalist` and `draw`
DONE, SPENT, STATE = "done.json", "spent.json", "training_state.pt"
STOPPED = (128 + signal.SIGINT, 128 + signal.SIGTERM)


class StageFailed(RuntimeError):
    """A command ended with an error; the message names its log."""


class Workshop:
    """The folder in which the stages of one study run: `<folder>/<stage>_<key>`.

    A finished stage holds `done.json` and is not run again. One process at a time works in the folder: the lock passes
    on to the command that runs, so that a second start waits even where only the runner was killed.

    Args:
        folder: of this study.
        data: of the study.
        data_folder: in place of the study's own.
        command: what runs a stage; the tests put a stand-in here.
    """

    def __init__(
        self, folder: Path, data: Data, data_folder: Path | None = None, command: Sequence[str] = BUNDLE_RUN
    ) -> None:
        self.folder, self.command = folder.resolve(), list(command)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.data, self._given = data, data_folder
        self._child: subprocess.Popen[bytes] | None = None
        self._stopped = 0
        self._lock = (self.folder / "lock").open("w")

    def __enter__(self) -> "Workshop":
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{self.folder} is in use by another process: waiting for it to end.", flush=True)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        signal.signal(signal.SIGTERM, self._pass_on)
        signal.signal(signal.SIGINT, self._remember)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self._lock.close()

    def _pass_on(self, number: int, _: FrameType | None) -> None:
        """The running stage saves its state and ends; nothing further starts."""
        self._stopped = number
        if self._child is not None:
            self._child.send_signal(number)

    def _remember(self, number: int, _: FrameType | None) -> None:
        """Ctrl-C reaches the running stage by itself; a second signal would end it without saving."""
        self._stopped = number

    @property
    def datalist(self) -> Path:
        """The datalist of the study's own data."""
        return self._places(self.data)["datalist"]

    def _places(self, data: Data) -> dict[str, Path]:
        """What the placeholders of a data set stand for: the folder of its images, its datalist and this folder."""
        given = self._given if data == self.data else None
        folder = Path(given or _fill(data.folder, work=self.folder)).resolve()
        datalist = Path(_fill(data.datalist, work=self.folder, folder=folder)).resolve()
        return {"work": self.folder, "folder": folder, "datalist": datalist}

    def prepare_data(self, data: Data) -> None:
        """Make a datalist, unless it is there; that of the study first, after which others may be split."""
        places = self._places(data)
        if places["datalist"].exists():
            return
        if data != self.data:
            self.prepare_data(self.data)
        if not data.command:
            raise StudyError(f"{places['datalist']} does not exist, and the study says no command that makes it.")
        for words in (data.before, (TOOLS, *data.command)):
            if words:
                filled = [_fill(word, **places) for word in words]
                self._run([sys.executable, "-m", *filled], self.folder / "data.log")

    def path(self, stage: Stage) -> Path:
        """The folder of a stage."""
        return self.folder / f"{stage.name}_{stage.key}"

    def finish(self, stage: Stage) -> dict[str, float]:
        """Run a stage and what it needs, as far as that is not done.

        Returns:
            What the stage itself cost over all its starts: "seconds" and "cpu_seconds". What a start spent that was
            killed together with the runner is not known.

        Raises:
            StageFailed: a command ended with an error.
            SystemExit: a signal stopped it; the next start goes on.
        """
        folder = self.path(stage)
        done = folder / DONE
        if done.exists():
            return json.loads(done.read_text())
        if stage.source is not None:
            self.finish(stage.source)
        self.prepare_data(Data(**stage.data))
        folder.mkdir(exist_ok=True)
        overlay = folder / "settings.yaml"
        overlay.write_text(yaml.safe_dump(_with_weights(stage.settings), sort_keys=False))
        spent = self._run([*self.command, *self._flags(stage, overlay)], folder / "log.txt", folder / SPENT)
        (folder / STATE).unlink(missing_ok=True)
        _write_json(done, spent)
        return spent

    def _flags(self, stage: Stage, overlay: Path) -> list[str]:
        """The flags of a stage's command: files and folders; everything else stands in the overlay."""
        bundle = ROOT / "bundles" / stage.bundle
        config = bundle / "configs" / f"{stage.name}.yaml"
        known = _config(config)
        folder = self.path(stage)
        places = self._places(Data(**stage.data))
        values: dict[str, object] = {
            "config_file": [str(config), str(overlay)],
            "bundle_root": bundle,
            "dataset_dir": places["folder"],
            "datalist": places["datalist"],
            "output_dir": folder,
            "model_dir": folder / "models",
        }
        if stage.source is not None and stage.kind == "evaluate":
            values["model_dir"] = self.path(stage.source) / "models"
        elif stage.source is not None:
            values["encoder_file"] = self.path(stage.source) / "models" / "pretrained_encoder.safetensors"
        if known.get("cache", "ram") != "ram" and "cache" not in stage.settings:
            own = places["datalist"] == self.datalist
            values["cache"] = self.folder / ("cache" if own else f"cache_{places['datalist'].stem}")
        if stage.kind not in ("evaluate", PROBE):
            values["resume"] = True
        return [part for key, value in values.items() for part in (f"--{key}", str(value))]

    def _run(self, command: list[str], log: Path, account: Path | None = None) -> dict[str, float]:
        """Run a command to its end; what it cost is added to `account`, also where it fails."""
        self._leave_if_stopped()
        start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
        with log.open("ab") as stream:
            lock = self._lock.fileno()
            self._child = subprocess.Popen(
                command, stdout=stream, stderr=stream, cwd=ROOT, env=environment, pass_fds=[lock]
            )
            code = self._child.wait()
        self._child = None
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = {
            "seconds": round(time.monotonic() - start, 1),
            "cpu_seconds": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
        }
        if account is not None:
            earlier = json.loads(account.read_text()) if account.exists() else {}
            spent = {name: round(value + earlier.get(name, 0.0), 1) for name, value in spent.items()}
            _write_json(account, spent)
        self._leave_if_stopped()
        if code in STOPPED or code in (-signal.SIGINT, -signal.SIGTERM):
            raise SystemExit(abs(code))
        if code:
            raise StageFailed(f"a command ended with exit code {code}; see {log}")
        return spent

    def _leave_if_stopped(self) -> None:
        if self._stopped:
            raise SystemExit(128 + self._stopped)


def refuse_unknown_settings(study: Study) -> None:
    """Stop before anything runs where a setting of the study is none of its stages, hours before they would say so.

    Raises:
        StudyError: naming the setting and where it stands.
    """
    folder = ROOT / "bundles" / study.bundle / "configs"
    stages = {path.stem: set(_config(path)) for path in folder.glob("*.yaml")}
    stages = {name: keys for name, keys in stages.items() if "stage" in keys}
    places = [("settings", study.settings, set().union(*stages.values()))]
    train = stages[named(study, "train")]
    kinds = {"pretrain": stages["pretrain"], "train": train, "evaluate": stages[named(study, "evaluate")]}
    places += [(name, getattr(study, name), known) for name, known in kinds.items()]
    places += [(f"shares, {share:g}", settings, train) for share, settings in study.shares.items()]
    for arm in study.arms.values():
        trained = stages.get(PROBE, set()) if arm.probe else train
        places += [(f"arm {arm.name}, pretrain", arm.pretrain or {}, stages["pretrain"])]
        places += [(f"arm {arm.name}", settings, trained) for settings in (arm.train, *arm.at.values())]
    places += [("tune, grid", study.tune.get("grid", {}), train)]
    for where, settings, known in places:
        unknown = sorted(set(settings) - known)
        if unknown:
            raise StudyError(f"{study.name}, {where}: '{unknown[0]}' is no setting there; see {folder}.")


def _fill(text: str, **places: Path) -> str:
    """A text of the study file with its placeholders and environment variables filled in."""
    for name, place in places.items():
        text = text.replace("{" + name + "}", str(place))
    filled = os.path.expandvars(text)
    if "$" in filled:
        raise StudyError(f"'{text}' names an environment variable that is not set; set it, or give --data.")
    return filled


def _with_weights(settings: Settings) -> Settings:
    """The settings with the file that `init` takes from an environment variable; its path is in no hash and no JSON."""
    init = settings.get("init")
    return {**settings, "init": _fill(init)} if isinstance(init, str) and init.startswith("$") else settings


@functools.cache
def _config(path: Path) -> Settings:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _write_json(path: Path, content: Any) -> None:
    """Whole or not at all: a half-written `done.json` would be taken for a finished stage."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(content, indent=1) + "\n")
    temporary.replace(path)

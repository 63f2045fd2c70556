"""What was run: config, seed, versions, machine, time and memory, as one JSON file beside the results."""

import json
import os
import platform
import resource
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from custom_components import __version__
from custom_components.distributed import is_main, rank_and_world
from ignite.engine import Events
from monai.engines.workflow import Workflow

from ..config import resolve, settings
from ..failures import find_input_error
from ..files import write_json
from ..weights.io import sha256_of
from .common import epochs_done, on_failure, scalars

_PACKAGES = ("torch", "monai", "pytorch-ignite", "numpy", "nibabel", "scipy", "safetensors")
_CARRIED = ("started", "ended", "status", "epochs", "seconds", "error")


class RunManifest:
    """Writes the manifest when a run starts and completes it when the run ends; attach to the trainer or the evaluator.

    `warnings` are those that handlers left in `engine.state.warnings`.
    `status` is "running", then "finished", "interrupted" (a signal; the run can be resumed) or "failed" with the error.
    What the file said of earlier runs at the same path, such as the interrupted part of a resumed training, moves to
    `earlier_runs`; one that still said "running" was killed. Host and user names are left out: the home folder is "~".
    It tells the settings and the seed of the running config. In an evaluation put it first in the list of handlers;
    in a training `StandardHandlers` holds it.

    Args:
        output_dir: Folder of `manifest.json`.
        data_fingerprint: Identifies the data, e.g. a checksum of the datalist.
        evaluator: The validation engine of a training: its metrics and best epoch are noted at the end.
    """

    def __init__(
        self, output_dir: str | os.PathLike[str], data_fingerprint: str | None = None, evaluator: Any = None
    ) -> None:
        self.path = Path(output_dir) / "manifest.json"
        config = settings()
        seed = resolve("seed") if "seed" in config else None
        self.given = {"config": config, "seed": seed, "data_fingerprint": data_fingerprint}
        self.evaluator = evaluator
        self._content: dict[str, Any] = {}
        self._began = 0.0

    def attach(self, engine: Workflow) -> None:
        """Attach to the trainer, or to the evaluator of an evaluation."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.TERMINATE, self._terminated)
        engine.add_event_handler(Events.COMPLETED, self._completed)
        on_failure(engine, self._failed)

    def _start(self, engine: Workflow) -> None:
        self._began = time.monotonic()
        self._content = {
            "status": "running",
            "started": _now(),
            "command": sys.argv,
            **self.given,
            **self._weights(),
            "versions": versions(),
            "git": git_commit(),
            "platform": platform.platform(),
            "processes": rank_and_world()[1],
            "device": _device_name(engine.state.device),
            "earlier_runs": self._earlier_runs() if is_main() else [],
        }
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        self._write()

    def _weights(self) -> dict[str, str]:
        """The checksum of the weights that a stage which trains nothing has read."""
        if self.evaluator is not None or "model_file" not in self.given["config"]:
            return {}
        return {"weights_sha256": sha256_of(resolve("model_file"))}

    def _earlier_runs(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        try:
            old = json.loads(self.path.read_text(encoding="utf-8"))
            last = {key: old[key] for key in _CARRIED if key in old}
            runs = list(old["earlier_runs"])
        except (ValueError, KeyError, TypeError):
            return []  # not one of our manifests; it is about to be replaced
        if last.get("status") == "running":
            last["status"] = "killed"
        return [*runs, last]

    def _terminated(self, engine: Workflow) -> None:
        # Early stopping terminates too, and goes on to COMPLETED.
        if getattr(engine.state, "interrupted", None):
            self._end(engine, "interrupted", engine.state.interrupted)

    def _completed(self, engine: Workflow) -> None:
        self._end(engine, "finished")

    def _failed(self, engine: Workflow, error: BaseException) -> None:
        known = find_input_error(error)
        status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        self._end(engine, status, str(known) if known else f"{type(error).__name__}: {error}".rstrip(": "))

    def _end(self, engine: Workflow, status: str, error: str | None = None) -> None:
        if not self._content:
            return  # failed before it started
        self._content |= {
            "status": status,
            **({"error": error} if error else {}),
            "ended": _now(),
            "seconds": round(time.monotonic() - self._began, 3),
            "epochs": epochs_done(engine),
            "iterations": engine.state.iteration,
            **peak_memory(),
            "metrics": scalars(engine.state.metrics),
        }
        if found := getattr(engine.state, "warnings", None):
            self._content["warnings"] = list(found)
        source = self.evaluator if self.evaluator is not None else engine
        state = source.state
        if self.evaluator is not None:
            self._content["validation"] = scalars(state.metrics)
        if getattr(state, "key_metric_name", None) and state.best_metric_epoch > 0:
            best = scalars({"value": state.best_metric}).get("value")
            self._content["best"] = {"metric": state.key_metric_name, "value": best, "epoch": state.best_metric_epoch}
        self._write()

    def _write(self) -> None:
        if is_main():
            write_json(self.path, self._content, _without_home, ensure_ascii=False)


def versions() -> dict[str, str]:
    """Return the versions of Python, this package and the packages that results depend on."""
    found = {"python": platform.python_version(), "mae_bundles": __version__}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # not needed at run time by every stage
    return found


def git_commit() -> dict[str, Any] | None:
    """Return the commit this package was checked out at and whether files were changed since; None outside git."""
    here = Path(__file__).resolve()

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(here.parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", here.name)  # installed inside somebody else's repository: not our commit
        return {"commit": git("rev-parse", "HEAD"), "changed": bool(git("status", "--porcelain", "-uno"))}
    except (OSError, subprocess.SubprocessError):
        return None


def peak_memory() -> dict[str, float]:
    """Return the peak memory in MiB of this process and on the GPU (where there is one)."""
    unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, KiB on Linux
    found = {"peak_host_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1)}
    if torch.cuda.is_available():
        found["peak_gpu_mib"] = round(torch.cuda.max_memory_allocated() / 2**20, 1)
    return found


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _device_name(device: torch.device | None) -> str:
    device = torch.device("cpu") if device is None else device
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{device} ({platform.machine()}, {torch.get_num_threads()} threads)"


def _without_home(value: Any) -> str:
    """A value as text, the home folder as "~"."""
    home = str(Path.home())
    return str(value).replace(home, "~") if len(home) > 1 else str(value)

"""What each stage of a bundle needs here: a few steps on a part of the list are measured, the rest is reckoned."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from bundle_runtime.data.schema import Datalist
from bundle_runtime.data.subset import evenly
from bundle_runtime.files import write_json
from custom_components.errors import InputError
from monai.bundle import ConfigParser

from ..bundles import SEGMENTATION, load, stages

_STEPS = 3  # that a trial has data for
_TRIED_WHOLE = ("evaluate", "inference")  # with a network as it is, case by case
_FOR_A_TRIAL = {
    "init": "scratch", "num_workers": 0, "overwrite": True, "allow_unlearnt": True, "label_fraction": 1.0,
    "drop_last": False, "pictures": 0, "val_interval": 10**6,
}  # fmt: skip


class Need(NamedTuple):
    """What a stage needs.

    Attributes:
        stage: its name.
        step: seconds an update, or a batch of an evaluation or inference.
        total: seconds of the whole stage, the preparation of the data included.
        memory: peak MiB of the process, with what it keeps of the whole list.
        gpu: peak MiB on the GPU; None without one.
        said: what the numbers rest on; in place of them, why there are none.
    """

    stage: str
    step: float | None = None
    total: float | None = None
    memory: float | None = None
    gpu: float | None = None
    said: str = ""


@dataclass(frozen=True)
class Trial:
    """A bundle and a datalist whose stages are tried.

    Attributes:
        root: the bundle's folder.
        content: of the datalist.
        data: where its relative paths start.
        folder: for what the trials write.
        overlays: gives the config files that are appended to a stage's.
        settings: further settings of all stages; a stage that lacks one is not given it.
        seconds: of a trial, preparation not counted.
        apart: what `measure.server` gives.
    """

    root: Path
    content: Datalist
    data: Path
    folder: Path
    overlays: Callable[[str], Sequence[Path]]
    settings: Mapping[str, Any]
    seconds: float
    apart: Callable[[str, str], int | None]

    def stages(self) -> list[str]:
        """Pre-training, training, evaluation and inference for what the labels of the list are for."""
        known = stages(self.root)
        suffix = SEGMENTATION if f"train{SEGMENTATION}" in known and "task" not in self.content else ""
        return [name for name in ("pretrain", *(f"{s}{suffix}" for s in ("train", *_TRIED_WHOLE))) if name in known]

    def need(self, stage: str) -> Need:
        """Measure a stage, and reckon what all of it takes."""
        try:
            return self._of_evaluation(stage) if stage.startswith(_TRIED_WHOLE) else self._of_training(stage)
        except InputError as error:
            return Need(stage, said=str(error))

    def _of_training(self, stage: str) -> Need:
        """From batches of full size on a GPU; on a CPU from two small ones, of which a line leads to the full one."""
        value, volumes = self._config(stage).get_parsed_content, "crops_per_volume" in self._config(stage)
        crops = int(value("crops_per_volume")) if volumes else 1
        batch, listed = int(value("batch_size")), len(self.content["training"])
        held = min(batch, int(value("micro_batch") or batch))
        small = not torch.cuda.is_available() and batch > 4 * crops
        sizes = ([1, 2] if volumes else [2, 4]) if small else [batch]  # a crop at full size takes a CPU half a minute
        more = {"micro_batch": None, "crops_per_volume": 1} if small else {}
        tried = min(_STEPS * sizes[-1] // (1 if small else crops), listed)
        found = [self._try(stage, tried, {**more, "batch_size": size}) for size in sizes]
        items = max(1, round(listed * float(value("label_fraction"))))
        updates = math.ceil(items * crops / batch) * int(value("max_epochs"))
        step = _line(sizes, [entry["step"] for entry in found], batch)
        memory = _line(sizes, [entry["peak_host_mib"] for entry in found], held if small else batch)
        last = found[-1]
        total = updates * step + last["preparation"] * items / tried
        kept = (last["held"] or 0.0) * max(0.0, items / tried - 1)
        said = f"{updates:,} updates of {batch}, measured with {' and '.join(map(str, sizes))}; without validation"
        return Need(stage, step, total, memory + kept, last.get("peak_gpu_mib"), said)

    def _of_evaluation(self, stage: str) -> Need:
        """From a few cases of the test list, on which an inference is reckoned as well."""
        own = load(Path(self._files(stage)[0]))  # an overlay may hold keys of other stages
        batch = int(self._config(stage).get_parsed_content("batch_size")) if "batch_size" in own else 1
        found = self._try(stage, _STEPS * batch, {})
        steps = math.ceil(len(self.content["test"]) / batch)
        said = f"{steps} steps of {batch}, {found['steps']} measured; weights drawn at random"
        total = found["preparation"] + steps * found["step"]
        return Need(stage, found["step"], total, found["peak_host_mib"], found.get("peak_gpu_mib"), said)

    def _files(self, stage: str) -> list[str]:
        return [str(self.root / "configs" / f"{stage}.yaml"), *map(str, self.overlays(stage))]

    def _config(self, stage: str) -> ConfigParser:
        """The config of a stage as it is merged."""
        config = ConfigParser()
        config.read_config(self._files(stage))
        config.update({key: value for key, value in self.settings.items() if key in config})
        return config

    def _try(self, stage: str, items: int, more: Mapping[str, Any]) -> dict[str, Any]:
        """Measure some steps on so many items of each list.

        Raises:
            InputError: the stage failed; with what it said last.
        """
        content = load(Path(self._files(stage)[0]))
        trains = "train" in content
        files = {name: self.folder / f"{name}.json" for name in ("found", "datalist", "clock", "plan")}
        files["said"] = self.folder / "said.txt"
        lists = {name: _some(self.content[name], items) for name in ("training", "validation", "test")}
        lists["validation"] = lists["validation"][:1] if trains else lists["validation"]
        write_json(files["datalist"], {**self.content, **lists})
        engines = ("train::trainer",) if trains else ("selection_evaluator", "evaluator")
        how = {"engine": next(name for name in engines if name.partition("::")[0] in content), "seconds": self.seconds}
        how |= {"out": str(files["found"]), "dataset": "train::dataset" if trains else None}
        write_json(files["clock"], {"run": [{"_target_": "mae_tools.doctor.measure.clock", **how}]})
        settings = {
            **_FOR_A_TRIAL, "bundle_root": str(self.root), "dataset_dir": str(self.data),
            "datalist": str(files["datalist"]), "model_dir": str(self.folder / "models"),
            "output_dir": str(self.folder / "output"),
            "cache": "ram" if content.get("cache") == "ram" else str(self.folder / "cache"), **self.settings, **more,
        }  # fmt: skip
        (self.folder / "models").mkdir(exist_ok=True)
        weights = None if trains else str(self.folder / "models" / Path(content["model_file"].split("'")[-2]).name)
        known = {key: value for key, value in settings.items() if key in content}
        plan = {"files": [*self._files(stage), str(files["clock"])], "weights": weights, "settings": known}
        write_json(files["plan"], plan)
        files["found"].unlink(missing_ok=True)
        files["said"].write_text("", encoding="utf-8")
        code = self.apart(str(files["plan"]), str(files["said"]))
        if not files["found"].is_file():
            said = files["said"].read_text(encoding="utf-8").strip().splitlines()
            said = said or [f"exit code {code}"]
            raise InputError(f"{stage} failed on {items} item(s): {said[-1].removeprefix('Error: ')}")
        return json.loads(files["found"].read_text(encoding="utf-8"))


def _some(items: Sequence[Any], number: int) -> list[Any]:
    """So many items, spread evenly."""
    return [items[position] for position in evenly(len(items), number)]


def _line(sizes: Sequence[int], values: Sequence[float], size: int) -> float:
    """Where the line through two measured values stands at another size; a single one stays."""
    if len(values) == 1:
        return values[0]
    slope = max(0.0, (values[1] - values[0]) / (sizes[1] - sizes[0]))
    return values[1] + slope * (size - sizes[1])

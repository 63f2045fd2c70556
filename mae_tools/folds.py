"""Cross-validation of a bundle: every patient is tested once, by a network that has never seen that patient."""

import importlib
import json
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bundle_runtime.data.datalist import parse, write
from bundle_runtime.data.schema import SECTIONS, Datalist, Item, as_list, case_names
from bundle_runtime.files import write_atomically, write_json
from bundle_runtime.scores.report import read_scores
from custom_components.errors import InputError

from .bundles import find_bundle, load, read_overlay, refuse_unknown, stages
from .compare.command import FAMILIES, SEGMENTATION
from .sources.lists import deal_entries, is_labelled, strata
from .sources.split import shuffled

_OF_THE_MACHINE = ("num_workers", "device", "cache")  # settings that change no score


def folds(
    bundle: str | Path,
    datalist: str | Path,
    out: str | Path,
    folds: int = 5,
    dataset_dir: str | Path | None = None,
    config_file: str | Sequence[str] = (),
    task: str = "",
    pretrain: bool = True,
    seed: int = 0,
    val_fraction: float = 0.2,
    run: bool = True,
    **settings: Any,
) -> str:
    """Train and evaluate once a fold, then pool the scores of all test lists.

    The patients of all three lists are dealt anew, those of each class by themselves where labels are classes. One
    fold is tested, a share of the others selects, the rest trains, its images pre-train. Patients without labels train
    in every fold. A fold that has been evaluated is not run again, and an interrupted one goes on.

    Args:
        bundle: folder of a bundle, or its name.
        datalist: of all cases.
        out: folder for `fold0/`, `fold1/`, ..., each with its datalist, weights and results, and `pooled/`.
        folds: how many there are.
        dataset_dir: where relative paths start, if not at the folder of the datalist.
        config_file: overlays that are appended to each stage.
        task: ending of the stages, `_segmentation` where a bundle classifies and segments.
        pretrain: false trains from scratch, or from the `--init` that is given.
        seed: deals the patients.
        val_fraction: share of the other patients that selects.
        run: false writes the datalists and prints the commands only.
        **settings: of the stages, such as `--max_epochs 100`; each stage takes those that it has.

    Returns:
        The table of the pooled scores; the commands where nothing ran.

    Raises:
        InputError: an overlay, setting or task that is none, too few patients, a fold that failed, or that was
            evaluated with other settings.
    """
    root, target = find_bundle(str(bundle)), Path(out).resolve()
    base = Path(dataset_dir if dataset_dir is not None else Path(datalist).parent).resolve()
    overlays = [config_file] if isinstance(config_file, str) else list(config_file)
    _refuse(root, overlays, task, settings)
    how: dict[str, Any] = {
        "settings": {key: value for key, value in settings.items() if key not in _OF_THE_MACHINE},
        "config_file": [Path(file).read_text(encoding="utf-8") for file in overlays],
        "pretrain": pretrain,
    }
    dealt = deal_folds(parse(datalist), folds, seed, val_fraction)
    made = {target / f"fold{number}": {"datalist": content, **how} for number, content in enumerate(dealt)}
    for place, what in made.items():
        _refuse_another(place, task, what)
    places, commands = [], []
    for number, (place, what) in enumerate(made.items()):
        write(place / "datalist.json", what["datalist"])
        write_json(place / f"made_of{task}.json", what)
        places.append(place / f"evaluate{task}")
        for stage in (*(["pretrain"] if pretrain else []), f"train{task}", f"evaluate{task}"):
            command = _command(root, stage, place, base, overlays, pretrain, settings)
            commands.append(shlex.join(["python", *command[1:]]))
            if run and not (places[-1] / "scores.json").is_file():
                print(f"\n=== fold {number}: {commands[-1]}", flush=True)
                code = subprocess.run(command, check=False).returncode
                if code:
                    raise InputError(
                        f"fold {number}: {stage} failed with exit code {code}; mend it and call this again."
                    )
    return _pooled(places, target / "pooled") if run else "\n".join(commands)


def _refuse(root: Path, overlays: Sequence[str], task: str, settings: dict[str, Any]) -> None:
    for file in overlays:
        read_overlay(file, root)
    refuse_unknown(settings, [root])
    if f"train{task}" not in stages(root):
        raise InputError(f"task is {task!r}; {root.name} has no stage train{task}.")


def _refuse_another(place: Path, task: str, made: Mapping[str, Any]) -> None:
    """Refuse a fold that has been evaluated and was made of something else: its scores are of that."""
    note = place / f"made_of{task}.json"
    if not note.is_file() or not (place / f"evaluate{task}" / "scores.json").is_file():
        return
    before = json.loads(note.read_text(encoding="utf-8"))
    other = [key for key, value in made.items() if before.get(key) != json.loads(json.dumps(value, default=str))]
    if other:
        raise InputError(
            f"{place} has been evaluated with another {other[0]} (its patients, seed and folds count); call this as "
            "then, or name a new folder with --out."
        )


def deal_folds(content: Datalist, folds: int, seed: int, val_fraction: float) -> list[Datalist]:
    """A datalist for each fold; every patient with a label is in one of their test lists, the others train in all.

    Raises:
        InputError: fewer than two folds, or than three labelled patients, or fewer of them than folds.
    """
    entries: dict[str, Item] = {}
    names = case_names(content)
    for case, item in ((c, i) for part in SECTIONS for c, i in zip(names[part], content[part], strict=True)):
        entries.setdefault(str(as_list(item["image"])), {**item, "patient_id": str(item.get("patient_id", case))})
    items = list(entries.values())
    patients = {item["patient_id"] for item in items if is_labelled(item)}
    if folds < 2 or len(patients) < max(folds, 3):
        raise InputError(
            f"folds is {folds} for {len(patients)} patient(s) with labels; expected from 2 on, and as many patients."
        )
    per_class = "task" in content
    groups = strata(items) if per_class else {0: list(patients)}
    order = [patient for index in sorted(groups) for patient in shuffled(groups[index], seed)]
    made = []
    for fold in range(folds):
        test = set(order[fold::folds])
        rest = [item for item in items if item["patient_id"] not in test]
        lists, _ = deal_entries(rest, val_fraction, 0, seed, per_class)
        lists["test"] = [item for item in items if item["patient_id"] in test]
        about = {key: value for key, value in content.items() if key not in (*SECTIONS, "parity", "description")}
        made.append({**about, **lists, "description": f"Fold {fold} of {folds} (seed {seed}) is tested."})
    return made


def _command(
    root: Path, stage: str, place: Path, base: Path, overlays: Sequence[str], pretrain: bool, settings: dict[str, Any]
) -> list[str]:
    """A stage as a command of its own, with those of the settings that it has."""
    path = root / "configs" / f"{stage}.yaml"
    values: dict[str, Any] = {
        "bundle_root": root, "dataset_dir": base, "datalist": place / "datalist.json", "model_dir": place / "models",
        "output_dir": place / stage, "resume": True, **({} if pretrain else {"init": "scratch"}), **settings,
    }  # fmt: skip
    known = load(path)
    flags = [word for key, value in values.items() if key in known for word in (f"--{key}", str(value))]
    files = ",".join(f"'{file}'" for file in (path, *(Path(file).resolve() for file in overlays)))
    return [sys.executable, "-m", "monai.bundle", "run", "--config_file", f"[{files}]", *flags]


def _pooled(places: Sequence[Path], folder: Path) -> str:
    """The scores of all folds as those of one test list, written and as a table."""
    kind = str(read_scores(places[0]).get("task", SEGMENTATION))
    family = importlib.import_module(f"mae_tools.compare.{FAMILIES[kind]}")
    report = family.REPORT.read(*places)
    note = f"Pooled over {len(places)} folds: each case was scored by a network that was not trained on its patient."
    text = str(report.table(report.write(folder, {"folds": [str(place) for place in places]}, [note])))
    write_atomically(folder / "scores.txt", text + "\n")
    return f"{text}\n{note}\nWritten to {folder}."

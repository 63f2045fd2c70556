"""The JSONs of a study: where they lie, how they are written, and which of them belong to the study as it is now."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .plan import evaluation, training
from .study import Arm, Settings, Study, StudyError

Run = dict[str, Any]


class Store:
    """The results of one study.

    Args:
        study: which.
        folder: of its JSONs.
    """

    def __init__(self, study: Study, folder: Path) -> None:
        self.study, self.folder = study, folder

    def run_path(self, arm: Arm, share: float, seed: int) -> Path:
        """Where the JSON of a run lies."""
        return self.folder / f"{arm.name}__{share:g}__seed{seed}.json"

    def tune_path(self, arm: Arm, share: float) -> Path:
        """Where the JSON of a tuning lies."""
        return self.folder / f"tune__{arm.name}__{share:g}.json"

    def grid(self, arm: Arm, share: float) -> list[tuple[Settings, str]]:
        """What tuning tries for an arm at a share, each with the key of its fine-tuning; empty without tuning."""
        (name, values), seed = self._tuning()
        if arm.tune is not True:
            return []
        return [({name: value}, training(self.study, arm, share, seed, {name: value}).key) for value in values]

    def choice(self, arm: Arm, share: float) -> Settings | None:
        """What tuning chose; {} for an arm without tuning, None where it has not run as the study says now."""
        if isinstance(arm.tune, str):
            return self.choice(self.study.arms[arm.tune], share)
        if not self.grid(arm, share):
            return {}
        found = self.tuning(arm, share)
        return None if found is None else found["chosen"]

    def tuning(self, arm: Arm, share: float) -> Run | None:
        """The JSON of a tuning; None without one, or where it was made with other settings."""
        keys = [key for _, key in self.grid(arm, share)]
        found = read_json(self.tune_path(arm, share)) if keys else None
        return found if found is not None and found["keys"] == keys else None

    def run(self, arm: Arm, share: float, seed: int) -> Run | None:
        """The JSON of a run; None where it is missing or was made with other settings."""
        chosen = self.choice(arm, share)
        found = None if chosen is None else read_json(self.run_path(arm, share, seed))
        if found is None or found["key"] != evaluation(self.study, arm, share, seed, chosen or {}).key:
            return None
        return found

    def runs(self, share: float) -> Mapping[str, list[Run]]:
        """The finished runs at a share, by arm, seed after seed; arms without any are left out.

        Raises:
            StudyError: two of them were made on different lists.
        """
        found: dict[str, list[Run]] = {}
        for arm in self.study.arms.values():
            if share in self.study.shares_of(arm):
                runs = [self.run(arm, share, seed) for seed in self.study.seeds]
                found[arm.name] = [run for run in runs if run is not None]
        present = [run for runs in found.values() for run in runs]
        for what, section, key in (("lists", "data", "sha256"), ("cases", "cases", "list")):
            seen = {run[section][key]: run for run in present if key in run[section]}
            if len(seen) > 1:
                one, other = list(seen.values())[:2]
                raise StudyError(
                    f"{self.folder}: the runs {one['arm']} (seed {one['seed']}) and {other['arm']} (seed "
                    f"{other['seed']}) have different {what}; remove those of the earlier data and run them again."
                )
        return {name: runs for name, runs in found.items() if runs}

    def stale(self) -> Iterator[str]:
        """Names of JSONs that do not belong to the study as it is now."""
        for arm, share, seed in self.study.runs():
            path = self.run_path(arm, share, seed)
            if path.exists() and self.run(arm, share, seed) is None:
                yield path.stem

    def _tuning(self) -> tuple[tuple[str, list[Any]], int]:
        grid = self.study.tune.get("grid") or {"": []}
        return next(iter(grid.items())), int(self.study.tune.get("seed", self.study.seeds[0]))


def read_json(path: Path) -> Run | None:
    """The content of a file; None where there is none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def write_json(path: Path, content: Any) -> None:
    """Innermost lists on one line each, so that a file stays short and a difference readable; whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(_lines(content) + "\n", encoding="utf-8")
    temporary.replace(path)


def _lines(value: Any, depth: int = 0) -> str:
    flat = json.dumps(value, separators=(",", ": "))
    entries = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if len(flat) <= 118 - depth or not any(isinstance(entry, dict | list) for entry in entries):
        return flat
    inner = " " * (depth + 1)
    if isinstance(value, dict):
        parts = [f"{inner}{json.dumps(key)}: {_lines(entry, depth + 1)}" for key, entry in value.items()]
        return "{\n" + ",\n".join(parts) + "\n" + " " * depth + "}"
    return "[\n" + ",\n".join(inner + _lines(entry, depth + 1) for entry in value) + "\n" + " " * depth + "]"

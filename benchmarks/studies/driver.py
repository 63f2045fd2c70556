"""A study from its first command to its JSONs: what is there is not done again."""

from collections.abc import Collection
from typing import Any

from . import records
from .plan import Stage, evaluation, pretraining, training
from .store import Store, write_json
from .study import Arm, Settings, Study
from .workshop import StageFailed, Workshop

VERSION = 1  # of the JSONs' form


class Driver:
    """Runs what a study lacks.

    Args:
        study: which.
        workshop: where its stages run.
        store: of its JSONs.
    """

    def __init__(self, study: Study, workshop: Workshop, store: Store) -> None:
        self.study, self.workshop, self.store = study, workshop, store

    def run(self, first: bool = False, shares: Collection[float] = (), arms: Collection[str] = ()) -> list[str]:
        """Run everything that is missing, in the order of `Study.runs`.

        Args:
            first: only the study's leading arms.
            shares: only these shares of the labels; empty: all.
            arms: only these arms; empty: all.

        Returns:
            What failed, in words; the rest was run all the same.
        """
        failures = []
        runs = [
            (arm, share, seed)
            for arm, share, seed in self.study.runs()
            if arm.name in ((self.study.leading if first else arms) or self.study.arms)
            and (not shares or share in shares)
        ]
        for number, (arm, share, seed) in enumerate(runs, 1):
            told = f"[{number}/{len(runs)}] {arm.name}, {share:g} of the labels, seed {seed}"
            if self.store.run(arm, share, seed) is not None:
                continue
            if arm.lacks:
                print(f"{told}: left out, {arm.lacks[0]} names no file; set it to one of weights to run this arm.")
                continue
            try:
                self._one(arm, share, seed, told)
            except StageFailed as error:
                failures.append(f"{told}: {error}")
                print(f"FAILED {failures[-1]}", flush=True)
        return failures

    def _one(self, arm: Arm, share: float, seed: int, told: str) -> None:
        """Tuning where it is lacking, pre-training, fine-tuning, evaluation, the JSON."""
        tuned = self._tuned(arm, share)
        print(f"{told} ...", flush=True)
        stage = evaluation(self.study, arm, share, seed, tuned)
        self.workshop.finish(stage)
        folder = self.workshop.path(stage)
        content = {
            "version": VERSION,
            "key": stage.key,
            "study": self.study.name,
            "bundle": self.study.bundle,
            "arm": arm.name,
            "share": share,
            "seed": seed,
            "tuned": tuned,
            "data": records.fingerprint(self.workshop.datalist),
            "surroundings": records.surroundings(),
            "stages": self._stages(stage),
            "cases": records.probe(folder) if arm.probe else records.cases(folder),
        }
        write_json(self.store.run_path(arm, share, seed), content)

    def _tuned(self, arm: Arm, share: float) -> Settings:
        """The settings that were best on the validation list, tried first where that has not been done."""
        if isinstance(arm.tune, str):
            return self._tuned(self.study.arms[arm.tune], share)
        chosen = self.store.choice(arm, share)
        if chosen is not None:
            return chosen
        seed = int(self.study.tune.get("seed", self.study.seeds[0]))
        tried = []
        for settings, _ in self.store.grid(arm, share):
            print(f"tuning {arm.name}, {share:g} of the labels: {settings} ...", flush=True)
            stage = training(self.study, arm, share, seed, settings)
            self.workshop.finish(stage)
            tried.append({"settings": settings, "key": stage.key, **records.history(self.workshop.path(stage))})
        best = max(range(len(tried)), key=lambda index: tried[index]["best"])
        content = {
            "version": VERSION,
            "keys": [entry["key"] for entry in tried],
            "arm": arm.name,
            "share": share,
            "seed": seed,
            "chosen": tried[best]["settings"],
            "at_the_edge": len(tried) > 1 and best in (0, len(tried) - 1),
            "data": records.fingerprint(self.workshop.datalist),
            "surroundings": records.surroundings(),
            "tried": tried,
        }
        write_json(self.store.tune_path(arm, share), content)
        return content["chosen"]

    def _stages(self, stage: Stage) -> dict[str, Any]:
        """Settings, cost and history of each stage of a run; a shared pre-training is told with its whole cost."""
        told: dict[str, Any] = {}
        at: Stage | None = stage
        while at is not None:
            told[at.kind] = {"key": at.key, "settings": at.settings, **self.workshop.finish(at)}
            if at.kind in ("pretrain", "train"):
                told[at.kind]["history"] = records.history(self.workshop.path(at))
            at = at.source
        return told


def pretrainings(study: Study) -> dict[str, Stage]:
    """The pre-training of each arm that has one, with the first seed: for pictures."""
    found = {arm.name: pretraining(study, arm, study.seeds[0]) for arm in study.arms.values()}
    return {name: stage for name, stage in found.items() if stage is not None}

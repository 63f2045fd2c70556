"""The stages behind each run, each known by a hash of what decides its result."""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

from .study import Arm, Data, Settings, Study

PROBE = "linear_probe"


@dataclass(frozen=True)
class Stage:
    """One command: a stage of the bundle with its settings, and the stage whose weights it reads.

    Attributes:
        name: of the config file without its suffix.
        bundle: its bundle.
        data: of the study, as the file says it.
        settings: everything that differs from the config's own values.
        source: pre-training of a fine-tuning or probe, fine-tuning of an evaluation.
    """

    name: str
    bundle: str
    data: dict[str, Any]
    settings: Settings
    source: "Stage | None" = None

    @property
    def kind(self) -> str:
        """pretrain, train, evaluate or linear_probe, whatever the task."""
        return self.name if self.name == PROBE else self.name.partition("_")[0]

    @property
    def key(self) -> str:
        """Ten digits that change with whatever decides the result; the code's version and local paths are not in it."""
        content = {**asdict(self), "source": self.source.key if self.source else None}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:10]


def pretraining(study: Study, arm: Arm, seed: int) -> Stage | None:
    """The pre-training of an arm, or None; with `seed` among its settings it is the same for all seeds."""
    if arm.pretrain is None:
        return None
    settings = {"seed": seed, **study.settings, **study.pretrain, **arm.pretrain}
    return _stage(study, "pretrain", settings, data=study.others[arm.pretrain_on] if arm.pretrain_on else None)


def training(study: Study, arm: Arm, share: float, seed: int, tuned: Settings) -> Stage:
    """The fine-tuning of an arm at a label share; a probe's fitting and scoring is one stage."""
    source = pretraining(study, arm, seed)
    labels = {"label_fraction": share, "seed": seed}
    if arm.probe:
        settings = {**study.settings, **arm.train, **labels}
        return _stage(study, PROBE, settings, source)
    later = {**study.shares[share], **arm.train, **arm.at.get(share, {}), **tuned}
    network = {} if arm.network is None else {"network_def": arm.network}
    return _stage(study, named(study, "train"), {**study.settings, **study.train, **later, **network, **labels}, source)


def evaluation(study: Study, arm: Arm, share: float, seed: int, tuned: Settings) -> Stage:
    """The evaluation that ends a run; of a probe, the probe itself."""
    trained = training(study, arm, share, seed, tuned)
    if arm.probe:
        return trained
    network = {} if arm.network is None else {"network_def": arm.network}
    return _stage(study, named(study, "evaluate"), {**study.settings, **study.evaluate, **network}, trained)


def named(study: Study, kind: str) -> str:
    """The config of a kind of stage: `train`, or `train_segmentation`."""
    return f"{kind}_{study.task}" if study.task else kind


def _stage(study: Study, name: str, settings: Settings, source: Stage | None = None, data: Data | None = None) -> Stage:
    where = {key: value for key, value in asdict(data or study.data).items() if value}
    return Stage(name, study.bundle, where, settings, source)

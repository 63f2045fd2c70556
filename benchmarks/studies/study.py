"""A study file: what is compared, on which data, with which settings."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

Settings = dict[str, Any]
SIZES = ("smoke", "gpu")


class StudyError(ValueError):
    """A study file, or what was asked of it, is wrong; the message says what to do."""


@dataclass(frozen=True)
class Arm:
    """One way to train.

    Attributes:
        name: key in the study file; names files, so letters, digits, `.`, `-` and `_` only.
        title: for tables and figures.
        pretrain: settings of its pre-training; None: it has none.
        train: settings of its fine-tuning, `init` among them.
        at: further settings of its fine-tuning, by label share.
        network: `network_def` in place of the bundle's, for yardsticks.
        tune: False: no tuning; True: the study's grid; a name: the choice of that arm is taken.
        probe: the encoder stays frozen and a linear probe is fitted in place of fine-tuning.
        shares: the label shares it runs at; empty: all of the study.
        pretrain_on: one of the study's `others`, whose images its pre-training reads in place of the study's own.
        published: what the paper reports for it, shown beside ours where all labels are used.
    """

    name: str
    title: str = ""
    pretrain: Settings | None = None
    train: Settings = field(default_factory=dict)
    at: Mapping[float, Settings] = field(default_factory=dict)
    network: Settings | None = None
    tune: bool | str = False
    probe: bool = False
    shares: tuple[float, ...] = ()
    pretrain_on: str = ""
    published: str = ""

    @property
    def lacks(self) -> list[str]:
        """Files that `init` takes from an environment variable (`$NAME`) and that are not there."""
        given = [settings.get("init") for settings in (self.pretrain or {}, self.train)]
        names = [value for value in given if isinstance(value, str) and value.startswith("$")]
        return [name for name in names if not Path(os.path.expandvars(name)).is_file()]


@dataclass(frozen=True)
class Data:
    """Where the images are and how their datalist is made.

    Attributes:
        folder: the data set; `$NAMES` of environment variables and `{work}` are filled in.
        command: words after the name of the tools' module, such as `[datalist, btcv, "{folder}", --out, "{datalist}"]`;
            empty: the datalist is there.
        datalist: where it is, or is made.
        before: what is run before, words after `python -m`: it makes what `command` reads.
    """

    folder: str
    command: tuple[str, ...] = ()
    datalist: str = "{work}/datalist.json"
    before: tuple[str, ...] = ()


@dataclass(frozen=True)
class Study:
    """A study file, read and checked; see README.md for its keys.

    Attributes:
        name: of the file, with the size behind it where that is not the file's own.
        question: what the study asks, in one sentence.
        bundle: whose configs run.
        data: the images.
        arms: by name, in the order of the file.
        baseline: the arm that the others are compared with.
        first: arms that run at all shares before the others begin.
        shares: label share -> settings of fine-tuning at that share.
        seeds: of the runs; a seed decides the labelled patients, the start and the order.
        settings: of every stage.
        pretrain: of every pre-training; with `seed` in it one pre-training serves all seeds.
        train: of every fine-tuning.
        evaluate: of every evaluation.
        tune: `grid` (setting -> values, tried one by one on validation) and `seed`.
        report: `min_positives` of a finding, `headline` organs, `notes`.
        published: where the numbers beside the arms come from, (title, text), below the table.
        others: further data sets, for arms that pre-train on one of them.
        task: of the bundle's stages with a task behind their names (`segmentation`: `train_segmentation`).
    """

    name: str
    bundle: str
    data: Data
    arms: Mapping[str, Arm]
    baseline: str
    shares: Mapping[float, Settings]
    seeds: tuple[int, ...]
    question: str = ""
    first: tuple[str, ...] = ()
    settings: Settings = field(default_factory=dict)
    pretrain: Settings = field(default_factory=dict)
    train: Settings = field(default_factory=dict)
    evaluate: Settings = field(default_factory=dict)
    tune: Settings = field(default_factory=dict)
    report: Settings = field(default_factory=dict)
    published: Mapping[str, str] = field(default_factory=dict)
    others: Mapping[str, Data] = field(default_factory=dict)
    task: str = ""

    @classmethod
    def load(cls, path: Path, size: str | None = None) -> "Study":
        """Read a study file.

        Args:
            path: the file.
            size: "smoke" or "gpu": the section of that name is laid over the rest; None: the rest alone.

        Raises:
            StudyError: a key, a name or a section is wrong.
        """
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError) as error:
            raise StudyError(f"{path} cannot be read as a study: {error}") from error
        sections = {name: content.pop(name, None) for name in SIZES}
        if size is not None:
            if sections[size] is None:
                raise StudyError(f"{path} has no section '{size}:'; add one, or run the study at its own size.")
            content = lay_over(content, sections[size])
        _refuse_unknown(content, {entry.name for entry in fields(cls)} - {"name"}, f"{path}")
        try:
            return cls(name=path.stem + (f"_{size}" if size else ""), **_parts(content, path))
        except TypeError as error:
            raise StudyError(f"{path}: {error}") from error

    def __post_init__(self) -> None:
        named = {"baseline": (self.baseline,), "first": self.first}
        named["tune"] = tuple(arm.tune for arm in self.arms.values() if isinstance(arm.tune, str))
        for key, names in named.items():
            for name in names:
                if name not in self.arms:
                    raise StudyError(f"{self.name}: '{key}' names the arm '{name}'; there are {', '.join(self.arms)}.")
        for arm in self.arms.values():
            if arm.pretrain_on and arm.pretrain_on not in self.others:
                known = ", ".join(self.others) or "none"
                raise StudyError(
                    f"{self.name}: arm '{arm.name}' pre-trains on '{arm.pretrain_on}'; 'others' has {known}."
                )
        for share in self.shares:
            if not 0.0 < share <= 1.0:
                raise StudyError(f"{self.name}: the label share {share} is not above 0 and at most 1.")
        if not self.seeds:
            raise StudyError(f"{self.name}: 'seeds' is empty; name at least one.")

    def shares_of(self, arm: Arm) -> list[float]:
        """The label shares an arm runs at, the lowest first."""
        return sorted(share for share in self.shares if not arm.shares or share in arm.shares)

    @property
    def leading(self) -> tuple[str, ...]:
        """The arms that run before the others; all, where the study names none."""
        return self.first or tuple(self.arms)

    def runs(self) -> list[tuple[Arm, float, int]]:
        """Every (arm, share, seed), in the order in which they are worth most: see `first`."""
        groups = [
            [arm for name, arm in self.arms.items() if name in self.leading],
            [arm for name, arm in self.arms.items() if name not in self.leading],
        ]
        return [
            (arm, share, seed)
            for group in groups
            for share in sorted(self.shares)
            for seed in self.seeds
            for arm in group
            if share in self.shares_of(arm)
        ]


def lay_over(base: Mapping[str, Any], over: Mapping[str, Any]) -> Settings:
    """A mapping with another laid over it, level by level; null takes out; shares and data sets are replaced."""
    result = dict(base)
    for key, value in over.items():
        if value is None:
            result.pop(key, None)
        elif (
            key not in ("shares", "data", "others")
            and isinstance(value, Mapping)
            and isinstance(result.get(key), Mapping)
        ):
            result[key] = lay_over(result[key], value)
        else:
            result[key] = value
    return result


def _parts(content: Settings, path: Path) -> Settings:
    """The values of the file as what `Study` holds."""
    parts = dict(content)
    arms = content.get("arms") or {}
    parts["arms"] = {name: _arm(str(name), value or {}, path) for name, value in arms.items()}
    parts["data"] = _data(content.get("data") or {}, f"{path}, data")
    others = content.get("others") or {}
    lists = {name: {"datalist": f"{{work}}/{name}.json", **value} for name, value in others.items()}
    parts["others"] = {name: _data(value, f"{path}, others, {name}") for name, value in lists.items()}
    parts["shares"] = {float(share): value or {} for share, value in (content.get("shares") or {1.0: {}}).items()}
    parts["seeds"] = tuple(content.get("seeds", (0,)))
    parts["first"] = tuple(content.get("first", ()))
    return parts


def _data(value: Settings, where: str) -> Data:
    _refuse_unknown(value, {entry.name for entry in fields(Data)}, where)
    return Data(**{**value, **{key: tuple(map(str, value.get(key, ()))) for key in ("command", "before")}})


def _arm(name: str, value: Settings, path: Path) -> Arm:
    _refuse_unknown(value, {entry.name for entry in fields(Arm)} - {"name"}, f"{path}, arm '{name}'")
    if not re.fullmatch(r"[\w.-]+", name):
        raise StudyError(f"{path}: the arm '{name}' names files; use letters, digits, '.', '-' and '_' only.")
    value = {**value, "title": value.get("title", name), "shares": tuple(map(float, value.get("shares", ())))}
    return Arm(name, **{**value, "at": {float(share): more for share, more in value.get("at", {}).items()}})


def _refuse_unknown(content: Mapping[str, Any], known: set[str], where: str) -> None:
    unknown = sorted(set(content) - known)
    if unknown:
        raise StudyError(f"{where}: unknown key '{unknown[0]}'; there are {', '.join(sorted(known))}.")

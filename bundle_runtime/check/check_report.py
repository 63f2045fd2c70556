"""What a check expects of the items of a datalist, and what it found in one of them."""

import dataclasses
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from custom_components.errors import InputError

from ..data.schema import SECTIONS
from ..data.sequences import sequence_names
from ..data.volume import Plane


@dataclasses.dataclass(frozen=True)
class Expected:
    """What the run will want of every item.

    Attributes:
        class_names: all classes, background first; without them label values are only listed.
        channels: image channels over all files of an item; None takes as many as the item names sequences, or 1.
        roi_size: crop of the network in voxels, RAS order.
        spacing: voxel size in mm that volumes are resampled to, RAS order; None keeps their own.
        sequences: names of the sequences that the network takes; then they are compared in place of `channels`.
        allow_missing_sequences: whether zeros may stand in for a sequence that an item lacks.
        need_convention: whether a label without a declared convention is an error.
    """

    class_names: tuple[str, ...] | None = None
    channels: int | None = 1
    roi_size: tuple[int, ...] | None = None
    spacing: tuple[float, ...] | None = None
    sequences: tuple[str, ...] | None = None
    allow_missing_sequences: bool = False
    need_convention: bool = False

    @classmethod
    def of(
        cls,
        class_names: Sequence[str] | None = None,
        channels: int | None = 1,
        roi_size: int | Sequence[int] | None = None,
        spacing: float | Sequence[float] | None = None,
        sequences: str | Sequence[str] | None = None,
        allow_missing_sequences: bool = False,
        need_convention: bool = False,
    ) -> "Expected":
        """The same from what configs and the command line give: one number or three, any spelling of a sequence.

        Raises:
            InputError: neither one nor three numbers, or two sequences that mean the same.
        """
        given = [sequences] if isinstance(sequences, str) else sequences
        return cls(
            None if class_names is None else tuple(class_names),
            channels,
            _triple(roi_size),
            _triple(spacing),
            None if given is None else tuple(sequence_names(given)),
            allow_missing_sequences,
            need_convention,
        )


@dataclasses.dataclass(frozen=True)
class Problem:
    """One finding: `level` is "error" (the item cannot be used) or "warning" (it can, but look at it)."""

    section: str
    case: str
    file: str
    level: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}: {self.message}" if self.file else self.message


@dataclasses.dataclass
class CaseReport:
    """What was found in one item; shapes, spacings (mm), `planes` and `coarse` are in RAS axis order, others as stored.

    Attributes:
        voxels: label value -> count; `tissues` the same by tissue, where `convention` says what the values mean.
        core_outside: how much more of the core's surface than of the oedema's faces what is no tumour, -1 to 1.
        unlabelled: classes that the datalist or the convention declares not drawn in this item.
        coarse: a small picture of the first volume, to compare it with the other cases.
    """

    section: str
    case: str
    image: str
    problems: list[Problem] = dataclasses.field(default_factory=list)
    shape: tuple[int, ...] | None = None
    channels: int | None = None
    sequences: list[str] | None = None
    spacing: tuple[float, ...] | None = None
    orientation: str | None = None
    dtype: str | None = None
    value_range: tuple[float, float] | None = None
    voxels: dict[int, int] | None = None
    convention: str | None = None
    tissues: dict[str, int] | None = None
    core_outside: float | None = None
    digest: str | None = None
    unlabelled: list[str] = dataclasses.field(default_factory=list)
    planes: list[Plane] = dataclasses.field(default_factory=list)
    coarse: np.ndarray | None = None

    @property
    def failed(self) -> bool:
        """Whether any problem is an error."""
        return any(problem.level == "error" for problem in self.problems)

    def add(self, level: str, file: str, message: str) -> None:
        """Note a problem of this item."""
        self.problems.append(Problem(self.section, self.case, file, level, message))

    def columns(self) -> tuple[str, ...]:
        """Shape, spacing, orientation, range, labels (values, or voxels by tissue) and verdict as texts."""
        errors = sum(problem.level == "error" for problem in self.problems)
        warnings = len(self.problems) - errors
        parts = [f"{count} {word}(s)" for count, word in ((errors, "error"), (warnings, "warning")) if count]
        low, high = self.value_range or (None, None)
        return (
            "x".join(map(str, self.shape)) if self.shape else "-",
            " ".join(f"{value:.3g}" for value in self.spacing) if self.spacing else "-",
            self.orientation or "-",
            f"{low:.4g}..{high:.4g}" if low is not None and high is not None else "-",
            self._labels(),
            ", ".join(parts) or "ok",
        )

    def _labels(self) -> str:
        missing = f"; not drawn: {', '.join(self.unlabelled)}" if self.unlabelled else ""
        return self._drawn() + missing

    def _drawn(self) -> str:
        if self.tissues is not None:
            return ", ".join(f"{name} {count}" for name, count in self.tissues.items()) or "no tumour"
        return ranges(self.voxels) if self.voxels else "-"

    def to_dict(self) -> dict[str, Any]:
        """The entry of this case in `check.json`: everything but the pictures, and the problems, which stand apart."""
        hidden = {"problems", "planes", "coarse"}
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {key: value for key, value in fields.items() if key not in hidden}


def ranges(values: Iterable[int]) -> str:
    """`[0, 1, 2, 5]` as `0-2,5`."""
    runs: list[list[int]] = []
    for value in sorted(values):
        if runs and value == runs[-1][-1] + 1:
            runs[-1] = [runs[-1][0], value]
        else:
            runs.append([value])
    return ",".join("-".join(map(str, run)) for run in runs)


def raise_errors(path: Path | None, problems: Iterable[Problem], hint: str) -> None:
    """Refuse to go on if any of the problems is an error.

    Raises:
        InputError: with the number of errors, the first of them, and where to see all.
    """
    errors = [problem for problem in problems if problem.level == "error"]
    if errors:
        where = f"{path}: " if path is not None else ""
        raise InputError(f"{where}{len(errors)} error(s) in the data, the first: {errors[0]} ({hint}).")


def print_problems(problems: Iterable[Problem]) -> None:
    """Print one line a problem to stderr."""
    for problem in problems:
        print(f"{problem.level}: {problem}", file=sys.stderr)


def chosen_sections(sections: str | Sequence[str] | None) -> list[str]:
    """The sections that were asked for, all by default.

    Raises:
        InputError: there is no section of that name.
    """
    chosen = list(SECTIONS) if sections is None else [sections] if isinstance(sections, str) else list(sections)
    for section in chosen:
        if section not in SECTIONS:
            raise InputError(f"section {section!r} is not one of {', '.join(SECTIONS)}.")
    return chosen


def _triple(value: Any) -> tuple[Any, ...] | None:
    """A number as three equal ones; a sequence of three as it is."""
    if value is None or isinstance(value, int | float):
        return None if value is None else (value,) * 3
    if len(value) != 3:
        raise InputError(f"roi_size and spacing need one or three numbers; found {list(value)}.")
    return tuple(value)

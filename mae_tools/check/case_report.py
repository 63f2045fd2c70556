"""What the full check found in one item."""

import dataclasses
import importlib
import importlib.util
from typing import Any

from bundle_runtime.data.verify import Found
from bundle_runtime.data.verify_labels import ranges

from .planes import Plane

TISSUES = "mae_tools.check.tissues"


def tissue_part() -> Any:
    """The module for labels that tell tumour tissues; None in the package of a bundle that learns from no such ones."""
    return importlib.import_module(TISSUES) if importlib.util.find_spec(TISSUES) else None


@dataclasses.dataclass
class CaseReport(Found):
    """What was found in one item; shapes, spacings (mm) and `planes` are in RAS axis order, others as stored.

    Attributes:
        inside: the values between which 99 % of the labelled voxels of the first volume lie.
        convention: what the values of its label mean, in words.
        core_outside: how much more of the core's surface than of the oedema's faces what is no tumour, -1 to 1.
    """

    shape: tuple[int, ...] | None = None
    channels: int | None = None
    sequences: list[str] | None = None
    spacing: tuple[float, ...] | None = None
    orientation: str | None = None
    dtype: str | None = None
    value_range: tuple[float, float] | None = None
    inside: tuple[float, float] | None = None
    convention: str | None = None
    core_outside: float | None = None
    digest: str | None = None
    planes: list[Plane] = dataclasses.field(default_factory=list)

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
        hidden = {"problems", "planes", "edges", "facts"}
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {key: value for key, value in fields.items() if key not in hidden}

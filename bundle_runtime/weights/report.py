"""What happened to every tensor when weights were loaded."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .io import write_file


def first_names(names: Sequence[str], count: int = 3) -> str:
    """Join the first `count` names and say how many more there are."""
    more = f", and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more


@dataclass
class Report:
    """The fate of the tensors of one file in one network.

    Attributes:
        source: The file, or "state dict".
        layout: The recognised layout, for example "monai-vit" or "timm".
        matched: Encoder tensors of the network that were filled (also those renamed or resampled).
        renamed: Name in the file -> name in the network, where they differ.
        resampled: Name in the network -> what was done to the values.
        new: Encoder tensors of the network that the file does not have; they keep their initial values.
        unused: Tensors of the file that were not needed (decoders, heads, unused normalisation).
        unplaced: Tensors of the file that belong to its encoder, change its output and have no place in the network.
        notes: Everything else a reader should know.
        encoder_total: Number of encoder tensors of the network.
    """

    source: str = "state dict"
    layout: str = ""
    matched: list[str] = field(default_factory=list)
    renamed: dict[str, str] = field(default_factory=dict)
    resampled: dict[str, str] = field(default_factory=dict)
    new: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    unplaced: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    encoder_total: int = 0

    @property
    def encoder_loaded(self) -> int:
        """Number of encoder tensors of the network that came from the file."""
        return len(self.matched)

    @property
    def complete(self) -> bool:
        """True when no encoder tensor is wanting and the file's encoder has nothing left over."""
        return not self.new and not self.unplaced

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain JSON values, with `encoder_loaded` and `complete`."""
        return {**vars(self), "encoder_loaded": self.encoder_loaded, "complete": self.complete}

    def save(self, path: str | Path) -> None:
        """Write the report as JSON, atomically."""
        write_file(path, json.dumps(self.to_dict(), indent=2) + "\n")

    def __str__(self) -> str:
        lines = [
            f"weights: {self.source} ({self.layout}): "
            f"{self.encoder_loaded} of {self.encoder_total} encoder tensors loaded"
        ]
        if self.renamed:
            pairs = [f"{old} -> {new}" for old, new in self.renamed.items()]
            lines.append(f"  renamed {len(pairs)}: {first_names(pairs, 2)}")
        lines += [f"  resampled {name}: {what}" for name, what in self.resampled.items()]
        for title, names in (("new", self.new), ("unused", self.unused), ("without a place", self.unplaced)):
            if names:
                lines.append(f"  {title} {len(names)}: {first_names(names)}")
        return "\n".join(lines + [f"  note: {note}" for note in self.notes])

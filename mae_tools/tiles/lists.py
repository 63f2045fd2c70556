"""The datalist of tiles: whole patients in one list, dealt by how many tiles they have."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bundle_runtime.data.schema import SECTIONS, Datalist
from bundle_runtime.slides.find import SlideFile
from custom_components.errors import InputError

from ..sources.earlier_split import read_sections
from ..sources.registry import rearranged, refuse_together
from ..sources.split import check_fractions, split_by_size
from .cutting import Row, TileSettings

_FAR = 3.0  # times its share


@dataclass(frozen=True)
class Lists:
    """How tiles come into lists; `split_from` and `copies` are those of every source.

    Attributes:
        sections: CSV with the columns slide and section (training, validation, test) instead of a random split.
        val_fraction: share of the tiles that select, whole patients.
        test_fraction: share of the tiles that are tested, likewise.
        seed: of the split.
        allow_lopsided: write lists although training holds far fewer tiles than its share, or another list far more;
            else those that were dealt are refused, and given ones warned of.
    """

    split_from: str | None = None
    sections: str | None = None
    copies: str | None = None
    val_fraction: float = 0.15
    test_fraction: float = 0.15
    seed: int = 0
    allow_lopsided: bool = False

    def placed(self, found: Sequence[SlideFile], target: Path) -> dict[str, str] | None:
        """Slide -> its list, where `sections` says it; stops before anything is cut where settings make no sense."""
        refuse_together(target, self.split_from, self.sections)
        check_fractions(self.val_fraction, self.test_fraction)
        return read_sections(self.sections, {entry.slide: entry.patient for entry in found}) if self.sections else None

    def deal(
        self, rows: Sequence[Row], settings: TileSettings, placed: dict[str, str] | None, target: Path
    ) -> Datalist:
        """The datalist: labelled tiles only, where there are labels.

        Args:
            rows: of all tiles.
            settings: of the tiles.
            placed: of `placed`.
            target: the datalist that is to be written.

        Raises:
            InputError: lopsided lists, or copies that are refused.
        """
        labelled = settings.class_names is not None
        chosen = [row for row in rows if not labelled or row["label"] is not None]
        items = {
            row["file"]: {"image": row["file"], "patient_id": row["patient_id"]}
            | ({"label": row["label"]} if labelled else {})
            for row in chosen
        }
        if placed is None:
            parts = split_by_size(list(items.values()), self.val_fraction, self.test_fraction, self.seed)
        else:
            parts = {name: [items[row["file"]] for row in chosen if placed[row["slide"]] == name] for name in SECTIONS}
        size = f"Tiles of {settings.tile_size} pixels at {settings.mpp:g} micrometres a pixel"
        made = {
            **({"task": "multi_class", "class_names": settings.class_names} if labelled else {}),
            "modality": "H&E",
            "mpp": settings.mpp,
            "tissue_fraction": settings.tissue_fraction,
            "description": f"{size}; positions are in index.csv.",
            **parts,
        }
        if items:
            made = rearranged(made, target.parent, target, self.split_from, None, self.copies)
            self._look_at_shares(made, dealt=self.split_from is None and placed is None)
        return made

    def _look_at_shares(self, datalist: Datalist, dealt: bool) -> None:
        """Refuse a training list far below its share, or another that is larger and far above its own; name small ones.

        Lists that were not dealt here are only warned of.
        """
        if self.allow_lopsided:
            return
        counts = {part: len(datalist[part]) for part in SECTIONS}
        total, training = sum(counts.values()), counts["training"]
        held_out = {"validation": self.val_fraction, "test": self.test_fraction}
        large = any(counts[part] > max(_FAR * share * total, training) for part, share in held_out.items())
        patients = {part: len({item["patient_id"] for item in datalist[part]}) for part in SECTIONS}
        said = ", ".join(f"{part} {counts[part]} tiles of {patients[part]} patient(s)" for part in SECTIONS)
        if large or training * _FAR < (1 - sum(held_out.values())) * total:
            if not dealt:
                print(f"WARNING: the lists are lopsided: {said}.")
                return
            raise InputError(
                f"The lists are lopsided: {said}. Deal them otherwise with --seed, other fractions or --sections (what "
                "is cut stays), or keep them with --allow_lopsided true."
            )
        small = [part for part, share in held_out.items() if dealt and counts[part] * _FAR < share * total]
        if small:
            print(f"WARNING: {' and '.join(small)} hold(s) far fewer tiles than asked for: {said}.")

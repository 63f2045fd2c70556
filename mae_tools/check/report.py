"""What a check found, whatever the kind of its images, and how it is told: on the terminal, as JSON, as a page."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bundle_runtime.data.datalist import digest
from bundle_runtime.data.schema import SECTIONS
from bundle_runtime.data.verify import Problem, show
from bundle_runtime.files import aligned, write_json
from bundle_runtime.pages.page import Figure, Part, Table, write_page
from custom_components.errors import InputError
from markupsafe import Markup

from ..copies import Place
from .proposals import Proposal, rows


@dataclasses.dataclass
class Findings:
    """What a kind of check gives.

    Attributes:
        problems: what is wrong.
        copies: the same image under several names, see `find_copies`.
        counted: what was looked at, in words.
        entries: what `check.json` holds of this kind alone.
        tables: rows of cells, header first.
        figures: thumbnails.
        note: what they show.
        proposals: settings that follow from what was seen.
        legend: names of what is outlined, each with its colour (red, green, blue) or none.
    """

    problems: list[Problem]
    copies: list[list[Place]]
    counted: str
    entries: dict[str, Any]
    tables: list[Sequence[Sequence[str]]]
    figures: list[Figure]
    note: str
    proposals: list[Proposal] = dataclasses.field(default_factory=list)
    legend: list[tuple[str, tuple[int, ...] | None]] = dataclasses.field(default_factory=list)

    def propose(self, more: Sequence[Proposal], config: Mapping[str, Any]) -> None:
        """Put further proposals to these, and all of them beside the settings of `config` into the report."""
        self.proposals += more
        self.tables.append(rows(self.proposals, config))
        self.entries["proposals"] = [proposal._asdict() for proposal in self.proposals]


def tell(found: Findings, path: Path, about: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Print the tables and the first problems, write `check.json` and `check.html` into a folder.

    Args:
        found: what was found.
        path: the datalist.
        about: what `check.json` says of it besides.
        folder: made if missing.

    Returns:
        What `check.json` holds.
    """
    result = {
        "datalist": str(path),
        "datalist_sha256": digest(path),
        **about,
        "errors": sum(problem.level == "error" for problem in found.problems),
        "warnings": sum(problem.level == "warning" for problem in found.problems),
        "problems": [dataclasses.asdict(problem) for problem in found.problems],
        "copies": [[place._asdict() for place in group] for group in found.copies],
        **found.entries,
    }
    for table in found.tables:
        print(aligned(table, rule=False))
    show(found.problems, "see check.html or check.json for them")
    write_json(folder / "check.json", result)
    stated = (result["modality"] or "modality not stated", result.get("task"), found.counted)
    about_it = f"{'; '.join(filter(None, stated))}, {result['errors']} error(s), {result['warnings']} warning(s)."
    notes = [about_it, *[_legend(found.legend)] * bool(found.legend)]
    notes += [f"Labels: {text}" for text in result.get("conventions", [])]
    problems = [(p.level, f"{p.level}: {p.file + ': ' if p.file else ''}{p.message}") for p in found.problems]
    tables = [Table(table[1:], table[0]) for table in found.tables]
    copies = [("", ", ".join(f"{place.file} ({place.section})" for place in group)) for group in found.copies]
    parts = [Part(notes=notes, points=problems, tables=tables), *[Part("Copies", points=copies)] * bool(copies)]
    parts.append(Part(notes=[found.note], figures=found.figures))
    write_page(folder / "check.html", f"Check of {path}", parts)
    print(f"Report: {folder / 'check.html'}")
    return result


def _legend(names: Sequence[tuple[str, tuple[int, ...] | None]]) -> Markup:
    """The names of what is outlined, each behind a square of its colour."""
    square = Markup('<span style="color:rgb({})">&#9632;</span>&nbsp;{}')
    return Markup(", ").join(
        square.format(",".join(map(str, colour)), name) if colour else name for name, colour in names
    )


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

"""What a check found, whatever the kind of its images, and how it is told: on the terminal, as JSON, as a page."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bundle_runtime.data.schema import SECTIONS
from bundle_runtime.data.verify import Problem, show
from bundle_runtime.files import aligned, write_atomically, write_json
from custom_components.errors import InputError

from ..copies import Place
from ..page import Figure, render
from .proposals import Proposal

Table = Sequence[Sequence[str]]


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
    tables: list[Table]
    figures: list[Figure]
    note: str
    proposals: list[Proposal] = dataclasses.field(default_factory=list)
    legend: list[tuple[str, tuple[int, ...] | None]] = dataclasses.field(default_factory=list)


def tell(found: Findings, about: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Print the tables and the first problems, write `check.json` and `check.html` into a folder.

    Args:
        found: what was found.
        about: what `check.json` says of every datalist.
        folder: made if missing.

    Returns:
        What `check.json` holds.
    """
    result = {
        **about,
        "errors": sum(problem.level == "error" for problem in found.problems),
        "warnings": sum(problem.level == "warning" for problem in found.problems),
        "problems": [dataclasses.asdict(problem) for problem in found.problems],
        "copies": [[place._asdict() for place in group] for group in found.copies],
        **found.entries,
    }
    for rows in found.tables:
        print(aligned(rows, rule=False))
    show(found.problems, "see check.html or check.json for them")
    write_json(folder / "check.json", result)
    stated = (result["modality"] or "modality not stated", result.get("task"), found.counted)
    page = render(
        "check/report.html.j2",
        title=f"Check of {result['datalist']}",
        about=f"{'; '.join(filter(None, stated))}, {result['errors']} error(s), {result['warnings']} warning(s)",
        conventions=result.get("conventions", []),
        **{key: result[key] for key in ("problems", "copies")},
        **{key: getattr(found, key) for key in ("tables", "figures", "note", "legend")},
    )
    write_atomically(folder / "check.html", page)
    print(f"Report: {folder / 'check.html'}")
    return result


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

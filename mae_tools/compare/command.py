"""Two evaluations of the same cases side by side, with paired differences."""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bundle_runtime.files import write_atomically, write_json
from bundle_runtime.scores.report import Report, read_scores
from custom_components.errors import InputError

SEGMENTATION = "a segmentation"  # its files do not name a task
# Task of the scores -> the module of its family, which a package holds where the bundle has such scores. Each has
# REPORT, what reads a folder; SAME, what two of them must share; `differences`, and `blocks` for its text.
FAMILIES = {
    SEGMENTATION: "segmentation",
    "segmentation of pictures": "instances",
    "multi_label": "classification",
    "multi_class": "classification",
}


def command(
    path_a: str, path_b: str, name_a: str = "A", name_b: str = "B", out: str | None = None, pictures: bool = False
) -> str:
    """Compare two evaluations of the same cases: a table by organ, region or class, and paired differences.

    Args:
        path_a: output folder of one evaluation.
        path_b: output folder of the other; differences are B minus A.
        name_a: what to call the first.
        name_b: what to call the second.
        out: folder for comparison.txt and comparison.json; None only prints.
        pictures: draw comparison.png there, with the cases of the largest loss, the middle and the largest gain
            (volumes and masks, if both ran with `--keep_maps true`), or the ROC curves of both (classifiers).
    """
    return compare(path_a, path_b, name_a, name_b, write=out, pictures=pictures)[0]


def compare(
    path_a: str | Path,
    path_b: str | Path,
    name_a: str,
    name_b: str,
    write: str | Path | None = None,
    pictures: bool = False,
) -> tuple[str, dict[str, Any]]:
    """Compare two score folders over the cases that both hold, class by class; differences are b minus a, paired.

    Args:
        path_a: Folder written by `Report.write`.
        path_b: Another one, scored with the same classes and policy.
        name_a: What to call the first, for example "from scratch".
        name_b: What to call the second, for example "MAE".
        write: Folder that receives `comparison.txt` and `comparison.json`; None: nothing is written.
        pictures: Draw `comparison.png` there as well, see the `picture` of the family.

    Returns:
        The table as text, and a dict: names, policy, number of cases, how the trainings differ in what they learnt
        from, notes, and what the kind's `differences` gives.

    Raises:
        InputError: A folder cannot be read, kinds, settings or labels differ, no case is in both, or pictures are asked
            for without a folder or of a kind that has none.
    """
    saved = [read_scores(path) for path in (path_a, path_b)]
    kinds = [str(scores.get("task", SEGMENTATION)) for scores in saved]
    if kinds[0] != kinds[1] or kinds[0] not in FAMILIES:
        raise InputError(
            f"{path_a} holds scores of {kinds[0]} and {path_b} of {kinds[1]}; expected two evaluations of one kind."
        )
    family = importlib.import_module(f"{__package__}.{FAMILIES[kinds[0]]}")
    if pictures and (write is None or not hasattr(family, "picture")):
        reason = "--out names no folder for them" if write is None else f"scores of {kinds[0]} have none"
        raise InputError(f"No pictures can be drawn: {reason}.")
    a, b = family.REPORT.read(path_a), family.REPORT.read(path_b)
    for what in family.SAME:
        if getattr(a, what) != getattr(b, what):
            raise InputError(
                f"{path_a} and {path_b} differ in {what} ({getattr(a, what)} / {getattr(b, what)}); expected the same."
                " Evaluate both with the same settings."
            )
    a, b, notes = _common(a, b, path_a, path_b)
    try:
        found = family.differences(a, b)
    except InputError as error:
        raise InputError(f"{path_a} and {path_b}: {error}") from error
    about = {"name_a": name_a, "name_b": name_b, "policy": a.policy, "confidence": a.confidence, "cases": len(a.keys)}
    trainings = _trainings([scores["header"].get("training") for scores in saved], (name_a, name_b))
    result = {**about, "trainings": trainings, **found, "notes": notes + found["notes"]}
    text = "\n".join([*trainings, *family.blocks(result), a.policy, *result["notes"]])
    if write is not None:
        write_atomically(Path(write) / "comparison.txt", text + "\n")
        write_json(Path(write) / "comparison.json", result)
        if pictures:
            family.picture((a, b), (path_a, path_b), (name_a, name_b), Path(write) / "comparison.png")
    return text, result


def _trainings(records: Sequence[Mapping[str, Any] | None], names: Sequence[str]) -> list[str]:
    """What two trainings did not share, in sentences; their differences in score are then not of the method alone."""
    unknown = [name for name, record in zip(names, records, strict=True) if record is None]
    if unknown:
        return [f"What {' and '.join(unknown)} was trained on is not known (its scores hold no record of it)."]
    a, b = ({**r["about"], "items": r["items"], "unlearnt": sorted(r["unlearnt"])} for r in records if r is not None)
    other = [f"{key} {str(a.get(key))[:12]} / {str(b.get(key))[:12]}" for key in a | b if a.get(key) != b.get(key)]
    return [f"CAUTION: {names[0]} and {names[1]} were trained differently: {', '.join(other)}."] if other else []


def _common(a: Report, b: Report, path_a: str | Path, path_b: str | Path) -> tuple[Report, Report, list[str]]:
    """Both reports reduced to the cases that both hold, in one order, and a note for each side that loses some."""
    theirs = set(b.keys)
    both = [key for key in a.keys if key in theirs]
    if not both:
        raise InputError(f"{path_a} and {path_b} share no {a.CASE}; expected two evaluations of one list.")
    notes = [
        f"Left out, as only {path} holds them: {extra} {a.CASE}(s)."
        for report, path in ((a, path_a), (b, path_b))
        if (extra := len(report.keys) - len(both))
    ]
    return a.only(both), b.only(both), notes

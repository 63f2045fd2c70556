"""`report.html` of an evaluation, an inference or a detection, made from the files that the stage has written."""

import csv
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from custom_components.distributed import is_main

from ..config import resolve, settings
from ..data.inference import InferenceInputs
from ..files import file_name, short_name
from ..scores.report import extremes
from ..scores.text import count
from ..weights.io import read_sidecar
from .page import Figure, Part, Table, write_page
from .score_tables import score_tables, shown
from .strips import strips

_ROWS, _PICTURES, _SAID = 200, 12, 50  # the most of each on a page: lines of a table, pictures, warnings
_UNFOLDED = 25  # lines of a table that is seen at once
_TABLES = ("predictions.csv", "volumes.csv", "counts.csv", "slides.csv", "cases.csv")
_CURVES = {
    "roc.png": "ROC curves", "calibration.png": "Predicted and observed frequency", "confusion.png": "Confusion matrix",
    "froc.png": "FROC curve",
}  # fmt: skip
_SCORES = "Scores, with 95 % intervals"
_TOOL = "Research software, not a medical device."


def finish(inputs: InferenceInputs | None = None) -> None:
    """End a stage that trains nothing: report what could not be used, then write `report.html` into its `output_dir`.

    All results are written before: what goes wrong here costs the page alone, and ends the run with an error. Without a
    manifest the stage did not run (a federated client asks for its network alone), and there is no page.

    Args:
        inputs: of an inference.

    Raises:
        InputError: a case could not be used; see `InferenceInputs.finish`.
    """
    try:
        if inputs is not None:
            inputs.finish()
    finally:
        folder = Path(resolve("output_dir"))
        if is_main() and (folder / "manifest.json").is_file():
            page = write_report(
                folder, resolve("bundle_root"), resolve("model_file"), settings().get("stage", ""),
                resolve("datalist") if "datalist" in settings() else None,
            )  # fmt: skip
            print(f"Report: {page}", flush=True)


def write_report(
    folder: Path, bundle_root: str | Path, model_file: str | Path, stage: str, datalist: str | Path | None = None
) -> Path:
    """Write `report.html` into a folder that a stage has filled.

    Only files of this run are looked at: what was there before its `manifest.json` says that it began is not.

    Args:
        folder: the stage's `output_dir`.
        bundle_root: the bundle's folder.
        model_file: the weights that were used.
        stage: its name.
        datalist: where the cases came from, if not from a folder.
    """
    manifest = _read(folder / "manifest.json")
    began = datetime.fromisoformat(manifest["started"]).timestamp()
    fresh = {path for path in folder.rglob("*") if path.is_file() and path.stat().st_mtime >= began}
    scores = [_read(path) for name in ("scores.json", "froc.json") if (path := folder / name) in fresh]
    rows = {name: _rows_of(path) for name in _TABLES if (path := folder / name) in fresh}
    failed = _read(folder / "failures.json") if folder / "failures.json" in fresh else []
    metadata = _read(Path(bundle_root) / "configs" / "metadata.json")
    facts = _facts(manifest, metadata, Path(model_file), datalist, scores, rows, failed)
    notes = [_TOOL, *(str(text) for entry in scores if (text := entry.get("policy")))]
    parts = [
        Part(notes=notes, tables=[Table(facts)]),
        *_said("What to know before reading on", [*_warnings(manifest, scores, rows), *_failures(failed)]),
        *[
            Part(title, tables=tables, folded=title != _SCORES)
            for entry in scores
            for title, tables in zip((_SCORES, "More numbers"), score_tables(entry), strict=True)
        ],
        *_curves(folder, fresh, rows.get("cases.csv", ())),
        *_cases(folder, fresh),
        *[_listed(name, entries) for name, entries in rows.items()],
        Part("Settings", tables=[Table([[k, shown(v)] for k, v in manifest["config"].items()])], folded=True),
    ]
    return write_page(folder / "report.html", f"{metadata['name']}: {stage.replace('_', ' ')}", parts)


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _rows_of(path: Path) -> list[dict[str, str]]:
    """The lines of a table by their heads; the remarks at the top of a file begin with "# "."""
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(line for line in stream if not line.startswith("# ")))


def _facts(
    manifest: Mapping[str, Any],
    metadata: Mapping[str, Any],
    model_file: Path,
    datalist: str | Path | None,
    scores: Sequence[Mapping[str, Any]],
    rows: Mapping[str, Sequence[Mapping[str, str]]],
    failed: Sequence[Any],
) -> list[list[str]]:
    """What ran on what."""
    config, training = manifest["config"], (read_sidecar(model_file) or {}).get("training") or {}
    source = {"data": config.get("dataset_dir")}
    if datalist is not None:
        source = {"datalist": f"{datalist}, list {config.get('section', 'test')}"}
    counted = {what: entry[what] for entry in scores for what in ("cases", "slides", "patients") if what in entry}
    counted = counted or {f"lines in {name}": len(entries) for name, entries in rows.items()}
    told = {
        "bundle": f"{metadata['name']}, version {metadata['version']}",
        "weights": model_file,
        "sha256 of the weights": manifest.get("weights_sha256"),
        "trained on": "; ".join(
            count(number, what) for what in ("items", "patients") if (number := training.get(what))
        ),
        **source,
        "fingerprint of the data": manifest.get("data_fingerprint"),
        "counted": ", ".join(count(number, what) for what, number in counted.items()),
        "could not be used": len(failed) or "none",
        "begun": f"{manifest['started']}, {manifest.get('seconds', 0):.0f} s, {manifest['status']}",
        "device": manifest["device"],
        "versions": ", ".join(f"{name} {number}" for name, number in manifest["versions"].items()),
        "seed": manifest["seed"],
        "command": f"python -m monai.bundle {' '.join(map(_quoted, manifest['command'][1:]))}",
    }
    home = str(Path.home())
    shorter = (home, "~") if len(home) > 1 else ("", "")
    return [[key, str(value).replace(*shorter)] for key, value in told.items() if value not in (None, "")]


def _quoted(word: str) -> str:
    """A word as people type it in a shell: a list of files in double quotes."""
    return f'"{word}"' if "'" in word and not set(word) & set('"$`\\!') else shlex.quote(word)


def _warnings(
    manifest: Mapping[str, Any], scores: Sequence[Mapping[str, Any]], rows: Mapping[str, Sequence[Mapping[str, str]]]
) -> Iterator[tuple[str, str]]:
    for text in manifest.get("warnings", ()):
        yield "warning", str(text)
    for entry in scores:
        yield from (("warning" if text.startswith(("Warning", "Only")) else "", text) for text in entry["notes"])
    for name, entries in rows.items():
        for row in entries:
            if row.get("warning") and name != "cases.csv":  # of which the notes tell
                yield "warning", f"{next(iter(row.values()))}: {row['warning']}"


def _failures(failed: Sequence[Mapping[str, str]]) -> list[tuple[str, str]]:
    return [("error", f"{entry['file']}: {entry['problem']}") for entry in failed]


def _said(title: str, points: Sequence[tuple[str, str]]) -> list[Part]:
    """The worst first."""
    ranked = sorted(dict.fromkeys(points), key=lambda point: ("error", "warning", "").index(point[0]))
    if len(ranked) > _SAID:
        ranked = [*ranked[:_SAID], ("", f"and {len(ranked) - _SAID} more, in the files beside this page")]
    return [Part(title, points=ranked)] if ranked else []


def _curves(folder: Path, fresh: set[Path], cases: Sequence[Mapping[str, str]]) -> list[Part]:
    """The figures of the stage, and of segmented cases the Dice of each."""
    figures = [Figure(said, (folder / name).read_bytes()) for name, said in _CURVES.items() if folder / name in fresh]
    dice: dict[str, list[float]] = {}
    for row in cases:
        if row.get("dice"):
            dice.setdefault(row.get("organ") or row["class"], []).append(float(row["dice"]))
    if dice:
        figures.append(strips(dice, "Dice of each case, and its mean"))
    return [Part("Curves", figures=figures)] if figures else []


def _cases(folder: Path, fresh: set[Path]) -> list[Part]:
    """The worst and the best cases, or the first pictures where cases have no score."""
    pictures = sorted(path for path in fresh if path.parent == folder / "pictures" and path.suffix == ".png")
    pictures += sorted(path for path in fresh if path.name == "overlay.png" and path.parent.parent == folder)
    if folder / "ranking.json" not in fresh:
        first = pictures[:_PICTURES]
        names = [path.stem if path.name != "overlay.png" else path.parent.name for path in first]
        figures = [Figure(name, path.read_bytes()) for name, path in zip(names, first, strict=True)]
        more = f", the first {_PICTURES} of {len(pictures)}" if len(pictures) > _PICTURES else ""
        return [Part(f"Pictures{more}", figures=figures)] if figures else []
    ranking = _read(folder / "ranking.json")
    parts = []
    for title, chosen in zip(("Worst cases", "Best cases"), extremes(ranking["cases"]), strict=True):
        rows, figures = [], []
        for case, patient, score in ((entry["case"], entry["patient_id"], shown(entry["score"])) for entry in chosen):
            rows.append([case, patient, score])
            places = (folder / "pictures" / f"{short_name(file_name(case))}.png", folder / case / "overlay.png")
            figures += [Figure(f"{case}: {score}", path.read_bytes()) for path in places if path in fresh]
        tables = [Table(rows, ["case", "patient", ranking["by"]])]
        parts += [Part(title, tables=tables, figures=figures)] if rows else []
    return parts


def _listed(name: str, entries: Sequence[Mapping[str, str]]) -> Part:
    """A table of the stage, its first lines."""
    head = [column for column in (entries[0] if entries else ()) if column not in ("file", "warning")]
    lines = [[_short(row[column]) for column in head] for row in entries[:_ROWS]]
    more = f", the first {_ROWS} of {len(entries)} lines" if len(entries) > _ROWS else ""
    return Part(f"{name}{more}", tables=[Table(lines, head)], folded=name == "cases.csv" or len(lines) > _UNFOLDED)


def _short(cell: str) -> str:
    """A cell whose number has no more digits than anybody reads."""
    if "." not in cell or len(cell) < 7:
        return cell
    try:
        return f"{float(cell):.4g}"
    except ValueError:
        return cell

"""What was measured of the weights in a package: scores on the test list, what their training took, how it went.

Only runs of these very weights count: an evaluation whose manifest has their sha256, a training whose best validation
is the one that stands in their sidecar.
"""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bundle_runtime.pages.score_tables import score_tables
from bundle_runtime.weights.io import checksum_key, read_sidecar
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure

from .agree import METADATA
from .bundles import stages

CARD = "docs/README.md"
_PLACE = re.compile(r"<!-- measured -->.*?<!-- end of measured -->", re.S)  # in a card: what stands there is replaced
_CARDS = Environment(  # Markdown, not HTML: nothing to escape
    loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    autoescape=False,
)  # fmt: skip


def measured(root: Path, weights: Mapping[str, Path], metadata: dict[str, Any]) -> dict[str, bytes]:
    """The files of a package that say what was measured: metadata, card, a picture for each training.

    Args:
        root: the bundle; runs are looked for in `eval/<stage>/`, where the stages write by themselves.
        weights: those of the package.
        metadata: of the package; `eval_metrics` is replaced where there is an evaluation of these weights.

    Returns:
        Path in the package -> content; {} where nothing was measured.
    """
    sidecars = {path: read_sidecar(path) or {} for path in weights.values() if path.suffix == ".pt"}
    evaluations, trainings = list(_evaluations(root, sidecars)), list(trainings_of(root, sidecars))
    if not evaluations and not trainings:
        return {}
    metrics = {name: round(value, 4) for run in evaluations for name, value in run["metrics"].items()}
    section = _CARDS.get_template("measured.md.j2").render(evaluations=evaluations, trainings=trainings).rstrip("\n")
    text = (root / CARD).read_text(encoding="utf-8")
    text = _PLACE.sub(lambda _: section, text) if _PLACE.search(text) else f"{text.rstrip()}\n\n{section}\n"
    made = {CARD: text.encode(), METADATA: (json.dumps(metadata | {"eval_metrics": metrics}, indent=4) + "\n").encode()}
    return made | {f"docs/{run['picture']}": _curve(run["history"], run["best"]["metric"]) for run in trainings}


def _evaluations(root: Path, sidecars: Mapping[Path, Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """What cards say of evaluations on the test list."""
    digests = {content.get(checksum_key(path)): path.name for path, content in sidecars.items()}
    for stage, run in _runs(root):
        scores = root / "eval" / stage / "scores.json"
        if run.get("weights_sha256") in digests and run["config"].get("section") == "test" and scores.is_file():
            content = json.loads(scores.read_text(encoding="utf-8"))
            yield {**run, "stage": stage, "weights": digests[run["weights_sha256"]], "scores": content,
                   "tables": score_tables(content)[0]}  # fmt: skip


def trainings_of(root: Path, sidecars: Mapping[Path, Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Stage, manifest and history of each training whose best validation is that of some weights."""
    for stage, run in _runs(root):
        best = run.get("best", {})
        said = {"epoch": best.get("epoch"), "validation": {best.get("metric"): best.get("value")}}
        of = [path.name for path, content in sidecars.items() if said.items() <= content.items()]
        if of:
            with (root / "eval" / stage / "history.csv").open(newline="", encoding="utf-8") as stream:
                history = list(csv.DictReader(stream))
            yield {**run, "stage": stage, "weights": of[0], "history": history, "picture": f"{stage}_curve.png"}


def _runs(root: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Stage and manifest of each run that came to its end."""
    for stage in stages(root):
        file = root / "eval" / stage / "manifest.json"
        if file.is_file() and (run := json.loads(file.read_text(encoding="utf-8")))["status"] == "finished":
            yield stage, run


def _curve(history: list[dict[str, str]], metric: str) -> bytes:
    """Loss and validation over the epochs, a PNG file."""
    figure = Figure(figsize=(6.4, 3.2), dpi=120, layout="constrained")
    loss = figure.subplots()
    for axes, key, colour in ((loss, "train_loss", "tab:blue"), (loss.twinx(), metric, "tab:orange")):
        points = [(int(row["epoch"]), float(row[key])) for row in history if row.get(key)]
        axes.plot(*zip(*points, strict=True), color=colour)
        axes.set_ylabel(key.replace("_", " "), color=colour)
    loss.set_xlabel("epoch")
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()

"""The table of a study, from its JSONs alone."""

from collections.abc import Mapping, Sequence
from typing import Any

from .statistics import RESAMPLES, SCORES, Estimate, Sampled, difference, estimate, sample
from .store import Run, Store

LATE = "†"


def table(store: Store, write: bool = False) -> str:
    """Every arm at every label share, its difference to the baseline, the notes that a reader needs.

    Args:
        store: of the study.
        write: also into `table.md` beside the JSONs.

    Raises:
        StudyError: runs were made on different lists.
    """
    study = store.study
    blocks = [f"# {study.name}", study.question]
    cases: Mapping[str, Any] = {}
    for share in sorted(study.shares):
        runs = store.runs(share)
        if not runs:
            continue
        blocks.append(_block(store, share, runs))
        cases = next(run["cases"] for found in runs.values() for run in found)
    if len(blocks) == 2:
        blocks.append("No run has finished yet.")
    blocks.append("\n".join(f"- {note}" for note in _notes(store, cases)))
    text = "\n\n".join(filter(None, blocks)) + "\n"
    if write:
        store.folder.mkdir(parents=True, exist_ok=True)
        (store.folder / "table.md").write_text(text, encoding="utf-8")
    return text


def lines(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [columns, ["---"] * len(columns), *rows])


def samples(store: Store, runs: Mapping[str, list[Run]]) -> dict[str, dict[str, Sampled]]:
    """The scores of each arm, by arm and score."""
    return {name: sample([run["cases"] for run in found], store.study.report) for name, found in runs.items()}


def paired(
    runs: Mapping[str, list[Run]], sampled: Mapping[str, dict[str, Sampled]], name: str, other: str, score: str
) -> Estimate | None:
    """The difference of two arms over the seeds that both have; None where there is none."""
    if name == other or not {name, other} <= set(sampled):
        return None
    seeds = [[run["seed"] for run in runs[arm]] for arm in (name, other)]
    common = [seed for seed in seeds[0] if seed in seeds[1]]
    if not common:
        return None
    sides = []
    for arm, listed in zip((name, other), seeds, strict=True):
        at = [listed.index(seed) for seed in common]
        found = sampled[arm][score]
        sides.append(Sampled(found.point[at], found.drawn[:, at]))
    return difference(*sides)


def show(value: Estimate | None, digits: int, sign: str = "") -> str:
    """A number with its interval, and p where it has one."""
    if value is None:
        return ""
    text = f"{value.mean:{sign}.{digits}f} [{value.low:{sign}.{digits}f}, {value.high:{sign}.{digits}f}]"
    if value.p is None:
        return text
    least = 2 / (RESAMPLES + 1)
    return f"{text}, p < 0.001" if value.p <= max(least, 0.001) else f"{text}, p = {value.p:.3f}"


def _block(store: Store, share: float, runs: Mapping[str, list[Run]]) -> str:
    """One label share: an arm a line."""
    study = store.study
    sampled = samples(store, runs)
    scores = [name for name in SCORES if any(name in entry for entry in sampled.values())]
    columns = ["arm", "seeds"]
    for score in scores:
        columns += [SCORES[score][0], f"minus {study.arms[study.baseline].title}"]
    published = share == max(study.shares) and any(study.arms[name].published for name in runs)
    columns += ["published"] if published else []
    columns += ["tuned", "best / last epoch", "minutes: pre-training + fine-tuning"]
    rows = []
    for name, found in runs.items():
        row = [study.arms[name].title, str(len(found))]
        for score in scores:
            row += _cells(runs, sampled, name, study.baseline, score)
        row += [study.arms[name].published or "-"] if published else []
        rows.append([*row, _tuned(store, name, share), _epochs(found), _minutes(found)])
    parts = [f"## {share:.0%} of the labels", lines(columns, rows)]
    told = []
    for name, other in study.report.get("pairs", []):
        for score in scores[:1]:
            found = paired(runs, sampled, name, other, score)
            if found is not None:
                titles = f"{study.arms[name].title} minus {study.arms[other].title}"
                told.append(f"{titles}: {SCORES[score][0]} {show(found, SCORES[score][1], '+')}")
    return "\n\n".join([*parts, *told])


def _cells(
    runs: Mapping[str, list[Run]], sampled: Mapping[str, dict[str, Sampled]], name: str, baseline: str, score: str
) -> list[str]:
    digits = SCORES[score][1]
    found = paired(runs, sampled, name, baseline, score)
    return [show(estimate(sampled[name][score]), digits), show(found, digits, "+")]


def _tuned(store: Store, name: str, share: float) -> str:
    arm = store.study.arms[name]
    chosen = store.choice(arm, share) or {}
    return ", ".join(f"{key} {value:g}" for key, value in chosen.items()) or "no"


def _epochs(runs: Sequence[Run]) -> str:
    histories = [run["stages"]["train"]["history"] for run in runs if "train" in run["stages"]]
    if not histories:
        return ""
    best = ", ".join(f"{entry['best_epoch']}{LATE if entry['late'] else ''}" for entry in histories)
    return f"{best} / {histories[0]['last_epoch']}"


def _minutes(runs: Sequence[Run]) -> str:
    def mean(names: Sequence[str]) -> float:
        spent = 0.0
        for run in runs:
            clock = "seconds" if run["surroundings"]["gpu"] else "cpu_seconds"
            spent += sum(run["stages"].get(name, {}).get(clock, 0.0) for name in names)
        return spent / len(runs) / 60

    return f"{mean(['pretrain']):.1f} + {mean(['train', 'linear_probe']):.1f}"


def _notes(store: Store, cases: Mapping[str, Any]) -> list[str]:
    study = store.study
    notes = []
    if cases:
        patients = len(set(cases["patients"]))
        notes.append(f"Test list: {len(cases['patients'])} cases of {patients} patients, read by evaluation alone.")
    if minimum := study.report.get("min_positives"):
        notes.append(f"Macro AUC over the findings with at least {minimum} positive cases in the test list.")
    if headline := study.report.get("headline"):
        notes.append(f"Headline organs: {', '.join(headline)}. A missed organ has the penalty of the evaluation.")
    notes += [
        f"Intervals: 95 % over {RESAMPLES} bootstrap resamples of patients and of seeds, crossed. Differences are "
        "paired by patient and seed; p is two-sided, from the same resamples, not corrected for several comparisons.",
        "A seed decides the labelled patients, the start and the order. Tuned on the validation list with one seed: "
        f"{_grid(store)}.",
        f"{LATE}: the best validation fell into the last tenth of the training, so this arm may not have converged.",
        "Minutes: processor time, which other work on the machine hardly changes; with a GPU, time on the clock.",
        "Probes: a logistic regression on the frozen encoder.",
    ]
    if "seed" in study.pretrain:
        notes.append(
            "One pre-training serves all seeds: how another one would have turned out is not in the intervals."
        )
    edges = [
        f"{arm.title} at {share:g}"
        for arm in study.arms.values()
        for share in study.shares_of(arm)
        if (found := store.tuning(arm, share)) and found["at_the_edge"]
    ]
    if edges:
        notes.append(f"Tuning chose a value at the edge of the grid: {', '.join(edges)}.")
    if stale := list(store.stale()):
        notes.append(f"{len(stale)} run(s) with earlier settings are left out: {', '.join(stale)}.")
    missing = [1 for arm, share, seed in study.runs() if store.run(arm, share, seed) is None]
    if missing:
        notes.append(f"{len(missing)} of {len(study.runs())} runs are still to be made.")
    notes += [f"{title}: {text}" for title, text in study.published.items()]
    return [*notes, *study.report.get("notes", [])]


def _grid(store: Store) -> str:
    grid = store.study.tune.get("grid") or {}
    named = [f"{name} out of {', '.join(f'{value:g}' for value in values)}" for name, values in grid.items()]
    return "; ".join(named) or "nothing"

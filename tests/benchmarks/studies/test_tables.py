"""Table and figures from JSONs with known numbers."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.studies.figures import figures
from benchmarks.studies.plan import evaluation
from benchmarks.studies.store import Store, read_json, write_json
from benchmarks.studies.study import Study, StudyError
from benchmarks.studies.tables import table

RATE = {"learning_rate": 1e-3}


@pytest.fixture
def store(make_study: Callable[..., Study], tmp_path: Path) -> Store:
    """The JSONs of a study with one share: three cases, two seeds; Dice 0.55 from scratch, 0.65 from MAE."""
    study = make_study(shares={1.0: {}}, report={"pairs": [["mae", "scratch"]], "notes": ["Drawn."]})
    store = Store(study, tmp_path / "results")
    keys = [key for _, key in store.grid(study.arms["scratch"], 1.0)]
    write_json(store.tune_path(study.arms["scratch"], 1.0), {"keys": keys, "chosen": RATE, "at_the_edge": True})
    for arm, share, seed in study.runs():
        gain = 0.1 if arm.name == "mae" else 0.0
        dice = [[value + gain] for value in ([0.5, 0.6, 0.7] if seed == 0 else [0.4, 0.5, 0.6])]
        write_json(store.run_path(arm, share, seed), run(study, arm.name, seed, dice))
    return store


def run(study: Study, arm: str, seed: int, dice: list[list[float]]) -> dict[str, Any]:
    validated = {"val_epoch": [1, 2], "score": [0.4, 0.5], "best_epoch": 2 - seed, "last_epoch": 2, "late": seed == 0}
    curve = {"epoch": [1, 2], "train_loss": [1.0, 0.5], **validated}
    stages: dict[str, Any] = {"train": {"cpu_seconds": 60.0 * (1 + seed), "history": curve}}
    if arm == "mae":
        stages["pretrain"] = {"key": f"p{seed}", "cpu_seconds": 120.0, "history": curve}
    cases = {"kind": "segmentation", "names": ["liver"], "list": "ab", "patients": [0, 1, 2], "dice": dice,
             "hd95": [[1.0]] * 3}  # fmt: skip
    key = evaluation(study, study.arms[arm], 1.0, seed, RATE).key
    gpu = {"gpu": None}
    return {
        "key": key,
        "arm": arm,
        "surroundings": gpu,
        "seed": seed,
        "data": {"sha256": "cd"},
        "stages": stages,
        "cases": cases,
    }


def test_the_table_of_known_numbers(store: Store) -> None:
    text = table(store, write=True)
    assert (store.folder / "table.md").read_text() == text
    rows = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]]
            for line in text.splitlines() if line.startswith("|")}  # fmt: skip
    assert rows["arm"] == ["seeds", "Dice", "minus scratch", "HD95, mm", "minus scratch", "tuned", "best / last epoch",
                           "minutes: pre-training + fine-tuning"]  # fmt: skip
    assert rows["scratch"][:3:2] == ["2", ""]
    assert rows["scratch"][1].startswith("0.550 [0.")
    # The same gain in each case and seed: whatever is drawn, the difference is 0.1.
    assert rows["MAE"][2] == "+0.100 [+0.100, +0.100], p < 0.001"
    assert rows["MAE"][4].startswith("+0.0 [+0.0, +0.0], p = 1.000")
    assert rows["MAE"][5:] == ["learning_rate 0.001", "2†, 1 / 2", "2.0 + 1.5"]
    assert "MAE minus scratch: Dice +0.100 [+0.100, +0.100], p < 0.001" in text
    assert "- Test list: 3 cases of 3 patients" in text
    assert "edge of the grid: scratch at 1" in text
    assert "- Drawn." in text
    assert "still to be made" not in text


def test_differences_are_over_the_seeds_that_both_arms_have(store: Store) -> None:
    arms = store.study.arms
    store.run_path(arms["scratch"], 1.0, 1).unlink()
    text = table(store)
    assert "| scratch | 1 | 0.600" in text
    assert "| MAE | 2 | 0.650" in text
    assert "+0.100 [+0.100, +0.100]" in text
    assert "1 of 4 runs are still to be made" in text


def test_runs_of_other_settings_and_of_other_lists_are_not_compared(store: Store) -> None:
    arms = store.study.arms
    path = store.run_path(arms["mae"], 1.0, 0)
    content = read_json(path)
    assert content is not None
    write_json(path, {**content, "key": "earlier"})
    assert "1 run(s) with earlier settings are left out: mae__1__seed0" in table(store)
    write_json(path, {**content, "data": {"sha256": "ef"}})
    with pytest.raises(StudyError, match=r"mae \(seed 1\).*mae \(seed 0\) have different lists|different lists"):
        table(store)


def test_a_study_without_runs_says_so(make_study: Callable[..., Study], tmp_path: Path) -> None:
    store = Store(make_study(), tmp_path / "nothing")
    assert "No run has finished yet." in table(store)
    assert figures(store) == []


def test_figures_need_the_jsons_alone(store: Store) -> None:
    made = figures(store)
    assert [path.name for path in made] == ["label_efficiency.png", "training_curves.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 5000 for path in made)


def test_json_is_short_and_reads_back(tmp_path: Path) -> None:
    content = {"a": [[1, 2, 3]] * 200, "b": {"c": {"d": None, "e": [0.1] * 100}}, "f": "text"}
    write_json(tmp_path / "x.json", content)
    assert read_json(tmp_path / "x.json") == content
    lines = (tmp_path / "x.json").read_text().splitlines()
    assert 200 < len(lines) < 215


def test_the_papers_numbers_stand_beside_ours_where_all_labels_are_used(store: Store) -> None:
    arms = {**store.study.arms, "mae": replace(store.study.arms["mae"], published="0.835")}
    text = table(Store(replace(store.study, arms=arms), store.folder))
    rows = [[cell.strip() for cell in line.split("|")] for line in text.splitlines() if line.startswith("|")]
    at = rows[0].index("published")
    assert {row[1]: row[at] for row in rows[2:]} == {"scratch": "-", "MAE": "0.835"}
    assert "published" not in table(store)


def test_one_pretraining_for_all_seeds_is_said(make_study: Callable[..., Study], tmp_path: Path) -> None:
    for settings, said in (({}, False), ({"seed": 0}, True)):
        study = make_study(shares={1.0: {}}, pretrain={"max_epochs": 4, **settings})
        assert ("One pre-training serves all seeds" in table(Store(study, tmp_path / str(said)))) is said

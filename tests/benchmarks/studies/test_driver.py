"""Nothing is done twice, and what was interrupted goes on."""

import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.context import ForkProcess
from pathlib import Path

import pytest

from benchmarks.studies.driver import Driver
from benchmarks.studies.plan import pretraining
from benchmarks.studies.store import Store
from benchmarks.studies.study import Study
from benchmarks.studies.workshop import StageFailed, Workshop

STAND_IN = [sys.executable, str(Path(__file__).with_name("stand_in.py"))]
Make = Callable[..., Study]
MakeWorkshop = Callable[[Study], Workshop]


def test_each_stage_runs_once_and_a_second_start_does_nothing(
    make_study: Make, make_workshop: MakeWorkshop, calls: Callable[[], list[str]], tmp_path: Path
) -> None:
    study = make_study(tune={"grid": {"learning_rate": [1.0e-4, 1.0e-3]}, "seed": 0})
    store = Store(study, tmp_path / "results")
    with make_workshop(study) as workshop:
        assert Driver(study, workshop, store).run() == []
    done = calls()
    ended = [line for line in done if line.endswith("ends")]
    assert len(ended) == len(set(ended))
    # 2 pre-trainings; at each of 2 shares 2 tuning runs of scratch, one of which is seed 0's, 1 of seed 1, 2 of MAE.
    assert len([line for line in ended if line.startswith("pretrain")]) == 2
    assert len([line for line in ended if line.startswith("train")]) == 2 * (2 + 1 + 2)
    assert len([line for line in done if line.endswith("evaluates")]) == 8
    with make_workshop(study) as workshop:
        assert Driver(study, workshop, store).run() == []
    assert calls() == done

    for path in (tmp_path / "work").glob("*_*"):  # the JSONs are enough: the runs' folders may go
        path.rename(tmp_path / path.name)
    with make_workshop(study) as workshop:
        Driver(study, workshop, store).run()
    assert calls() == done
    assert [store.run(*run) is None for run in study.runs()] == [False] * 8


def test_tuning_takes_the_best_on_validation_and_its_json_says_so(
    make_study: Make, make_workshop: MakeWorkshop, tmp_path: Path
) -> None:
    study = make_study(shares={0.1: {}})
    store = Store(study, tmp_path / "results")
    with make_workshop(study) as workshop:
        Driver(study, workshop, store).run()
    found = json.loads((tmp_path / "results" / "tune__scratch__0.1.json").read_text())
    assert found["chosen"] == {"learning_rate": 1e-3}
    assert found["at_the_edge"] is False
    assert [entry["best"] for entry in found["tried"]] == pytest.approx([0.891, 0.9, 0.81])
    run = store.run(study.arms["mae"], 0.1, 1)
    assert run is not None
    assert run["stages"]["train"]["settings"]["learning_rate"] == 1e-3
    assert run["stages"]["train"]["history"]["last_epoch"] == 5
    assert run["stages"]["pretrain"]["settings"] == {"seed": 1, "img_size": 32, "max_epochs": 4, "mask_ratio": 0.75}
    assert run["cases"]["patients"] == list(range(12)) * 2 or len(set(run["cases"]["patients"])) == 12


def test_one_value_has_no_edge(make_study: Make, make_workshop: MakeWorkshop, tmp_path: Path) -> None:
    study = make_study(shares={0.1: {}}, tune={"grid": {"learning_rate": [1.0e-3]}, "seed": 0})
    with make_workshop(study) as workshop:
        Driver(study, workshop, Store(study, tmp_path / "results")).run()
    found = json.loads((tmp_path / "results" / "tune__scratch__0.1.json").read_text())
    assert found["at_the_edge"] is False


def test_a_changed_setting_repeats_what_depends_on_it_alone(
    make_study: Make, make_workshop: MakeWorkshop, calls: Callable[[], list[str]], tmp_path: Path
) -> None:
    for change in ({}, {"pretrain": {"max_epochs": 6}}):
        study = make_study(shares={1.0: {}}, tune={}, **change)
        store = Store(study, tmp_path / "results")
        before = len(calls())
        with make_workshop(study) as workshop:
            Driver(study, workshop, store).run()
    again = [line.split("_")[0] for line in calls()[before:] if not line.endswith("0")]
    assert sorted(again) == ["evaluate"] * 2 + ["pretrain"] * 2 + ["train"] * 2  # those of MAE
    assert list(store.stale()) == []


def test_the_leading_arms_alone(make_study: Make, make_workshop: MakeWorkshop, tmp_path: Path) -> None:
    study = make_study(first=["scratch"], shares={1.0: {}}, tune={}, seeds=[0])
    store = Store(study, tmp_path / "results")
    with make_workshop(study) as workshop:
        assert Driver(study, workshop, store).run(first=True) == []
    assert list(store.runs(1.0)) == ["scratch"]


def test_one_share_and_one_arm_alone(make_study: Make, make_workshop: MakeWorkshop, tmp_path: Path) -> None:
    study = make_study(shares={0.1: {}, 1.0: {}}, tune={}, seeds=[0])
    store = Store(study, tmp_path / "results")
    with make_workshop(study) as workshop:
        assert Driver(study, workshop, store).run(shares=[0.1], arms=["scratch"]) == []
        assert (list(store.runs(0.1)), list(store.runs(1.0))) == (["scratch"], [])
        assert Driver(study, workshop, store).run(shares=[0.1]) == []
    assert (len(store.runs(0.1)), len(store.runs(1.0))) == (len(study.arms), 0)


def test_a_failure_is_told_and_the_others_run(make_study: Make, make_workshop: MakeWorkshop, tmp_path: Path) -> None:
    arms = {"broken": {"train": {"init": "scratch", "fail": True}}, "scratch": {"train": {"init": "scratch"}}}
    study = make_study(arms=arms, seeds=[0], shares={1.0: {}})
    store = Store(study, tmp_path / "results")
    with make_workshop(study) as workshop:
        failures = Driver(study, workshop, store).run()
        with pytest.raises(StageFailed, match=r"exit code 1; see .*log\.txt"):
            workshop.finish(pretraining(make_study(pretrain={"fail": True}), make_study().arms["mae"], 0))
    assert len(failures) == 1
    assert "broken" in failures[0]
    assert list(store.runs(1.0)) == ["scratch"]


def work(folder: Path) -> None:
    """What a runner's process does; a process group of its own, as a shell gives it."""
    os.setsid()
    study = Study.load(folder / "drawn.yaml")
    with Workshop(folder / "work", study.data, command=STAND_IN) as workshop:
        Driver(study, workshop, Store(study, folder / "results")).run()


def start(folder: Path) -> ForkProcess:
    """The runner in a process of its own, on the study of `folder`."""
    process = multiprocessing.get_context("fork").Process(target=work, args=(folder,))
    process.start()
    return process


def end(process: ForkProcess) -> int | None:
    """Wait for a process; its exit code."""
    process.join(timeout=60)
    return process.exitcode


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def slow_study(make_study: Make, make_workshop: MakeWorkshop) -> Study:
    train = {"max_epochs": 25, "epoch_seconds": 0.1}
    arms = {"scratch": {"train": {"init": "scratch"}}}
    study = make_study(arms=arms, train=train, shares={1.0: {}}, seeds=[0])
    make_workshop(study)
    return study


def state(tmp_path: Path) -> int:
    found = list((tmp_path / "work").glob("train_*/training_state.pt"))
    return int(found[0].read_text() or 0) if found else 0


def test_sigterm_reaches_the_running_stage_and_the_next_start_goes_on(
    make_study: Make, make_workshop: MakeWorkshop, calls: Callable[[], list[str]], tmp_path: Path
) -> None:
    study = slow_study(make_study, make_workshop)
    runner = start(tmp_path)
    wait_for(lambda: state(tmp_path) >= 2)
    runner.terminate()
    assert end(runner) == 128 + signal.SIGTERM
    stopped = state(tmp_path)
    assert 2 <= stopped < 25
    spent = json.loads(next((tmp_path / "work").glob("train_*/spent.json")).read_text())
    assert end(start(tmp_path)) == 0
    told = [line.split(" ", 1)[1] for line in calls()]
    assert told == ["starts at 0", f"stops at {stopped}", f"starts at {stopped}", "ends", "evaluates"]
    run = Store(study, tmp_path / "results").run(study.arms["scratch"], 1.0, 0)
    assert run is not None
    assert run["stages"]["train"]["seconds"] > spent["seconds"] > 0
    assert not list((tmp_path / "work").glob("train_*/training_state.pt"))


def test_a_runner_killed_alone_leaves_its_stage_to_end_before_the_next_start(
    make_study: Make, make_workshop: MakeWorkshop, calls: Callable[[], list[str]], tmp_path: Path
) -> None:
    slow_study(make_study, make_workshop)
    runner = start(tmp_path)
    wait_for(lambda: state(tmp_path) >= 1)
    runner.kill()
    end(runner)
    assert end(start(tmp_path)) == 0
    told = [line.split(" ", 1)[1] for line in calls()]
    assert told == ["starts at 0", "ends", "starts at 25", "ends", "evaluates"]  # nothing trained beside it


def test_everything_killed_at_once_goes_on_from_the_last_state(
    make_study: Make, make_workshop: MakeWorkshop, calls: Callable[[], list[str]], tmp_path: Path
) -> None:
    slow_study(make_study, make_workshop)
    runner = start(tmp_path)
    wait_for(lambda: state(tmp_path) >= 2)
    os.killpg(int(runner.pid or 0), signal.SIGKILL)
    end(runner)
    assert end(start(tmp_path)) == 0
    told = [line.split(" ", 1)[1] for line in calls()]
    assert told[0] == "starts at 0"
    assert int(told[1].removeprefix("starts at ")) >= 2
    assert told[2:] == ["ends", "evaluates"]


def test_an_arm_whose_weights_are_not_there_is_left_out_with_a_sentence(
    make_study: Make,
    make_workshop: MakeWorkshop,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arms = {"scratch": {"train": {"init": "scratch"}}, "imagenet": {"train": {"init": "$VIT_IMAGENET"}}}
    study = make_study(arms=arms, seeds=[0], shares={1.0: {}})
    store = Store(study, tmp_path / "results")
    monkeypatch.delenv("VIT_IMAGENET", raising=False)
    with make_workshop(study) as workshop:
        assert Driver(study, workshop, store).run() == []
    assert "imagenet, 1 of the labels, seed 0: left out, $VIT_IMAGENET names no file" in capsys.readouterr().out
    assert store.run(study.arms["imagenet"], 1.0, 0) is None
    weights = tmp_path / "vit.pth"
    weights.touch()
    monkeypatch.setenv("VIT_IMAGENET", str(weights))
    with make_workshop(study) as workshop:
        assert Driver(study, workshop, store).run() == []
    text = store.run_path(study.arms["imagenet"], 1.0, 0).read_text()
    assert '"init": "$VIT_IMAGENET"' in text
    assert str(tmp_path) not in text
    assert any(f"init: {weights}" in path.read_text() for path in (tmp_path / "work").glob("train_*/settings.yaml"))


def test_the_studys_own_datalist_comes_first_as_others_may_be_split_from_it(
    make_study: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def run(self: Workshop, command: list[str], log: Path) -> None:
        made.append(Path(command[-1]).name)
        Path(command[-1]).touch()

    monkeypatch.setattr(Workshop, "_run", run)
    data = {"folder": "{work}", "command": ["datalist", "class_folder", "{folder}", "--out", "{datalist}"]}
    study = make_study(data=data, others={"classes": data})
    with Workshop(tmp_path / "work", study.data) as workshop:
        workshop.prepare_data(study.others["classes"])
    assert made == ["datalist.json", "classes.json"]

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.studies.plan import training
from benchmarks.studies.study import Study, StudyError, lay_over
from benchmarks.studies.workshop import refuse_unknown_settings

FILES = sorted((Path(__file__).parents[3] / "benchmarks" / "studies").glob("*.yaml"))


def test_the_lowest_share_comes_first_and_the_leading_arms_before_the_others(make_study: Callable[..., Study]) -> None:
    study = make_study(first=["mae"])
    told = [(arm.name, share, seed) for arm, share, seed in study.runs()]
    assert told == [(arm, share, seed) for arm in ("mae", "scratch") for share in (0.1, 1.0) for seed in (0, 1)]


def test_a_size_is_laid_over_the_rest(make_study: Callable[..., Study]) -> None:
    study = make_study("smoke")
    assert (study.name, list(study.arms), study.seeds) == ("drawn_smoke", ["scratch"], (0,))
    assert study.settings == {"img_size": 32}
    with pytest.raises(StudyError, match="no section 'gpu:'"):
        make_study("gpu")


def test_laying_over_takes_out_what_is_null_and_replaces_the_shares() -> None:
    base = {"a": {"b": 1, "c": 2}, "shares": {0.1: {}}, "d": [1]}
    over = {"a": {"b": None, "e": 3}, "shares": {1.0: {}}, "d": [2]}
    assert lay_over(base, over) == {"a": {"c": 2, "e": 3}, "shares": {1.0: {}}, "d": [2]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"baselin": "mae"}, "unknown key 'baselin'"),
        ({"baseline": "unet"}, "'baseline' names the arm 'unet'"),
        ({"first": ["unet"]}, "'first' names the arm 'unet'"),
        ({"shares": {1.5: {}}}, "label share 1.5"),
        ({"seeds": []}, "'seeds' is empty"),
        ({"arms": {"scratch": {"trian": {}}}}, "arm 'scratch': unknown key 'trian'"),
        ({"arms": {"a/b": {}}}, "the arm 'a/b' names files"),
        ({"arms": {"scratch": {"pretrain_on": "tiles"}}}, "pre-trains on 'tiles'; 'others' has none"),
    ],
)
def test_what_is_wrong_is_named(make_study: Callable[..., Study], change: dict[str, object], message: str) -> None:
    with pytest.raises(StudyError, match=message):
        make_study(**change)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
@pytest.mark.parametrize("size", [None, "smoke", "gpu"])
def test_the_studies_of_this_folder_are_sound(path: Path, size: str | None) -> None:
    study = Study.load(path, size)
    assert study.runs()
    refuse_unknown_settings(study)
    assert study.arms[study.baseline].train.get("layer_decay") == 1.0  # a decayed scratch arm is handicapped
    tuned = [arm for arm in study.arms.values() if arm.tune]
    assert study.arms[study.baseline] in tuned, "the baseline gets as much tuning as the others"


@pytest.mark.parametrize("path", [path for path in FILES if "scratch_long:" in path.read_text(encoding="utf-8")])
@pytest.mark.parametrize("size", [None, "gpu"])
def test_scratch_for_longer_is_longer_at_every_share(path: Path, size: str | None) -> None:
    study = Study.load(path, size)
    for share in study.shares:
        long, short = (
            training(study, study.arms[name], share, 0, {}).settings["max_epochs"]
            for name in ("scratch_long", study.baseline)
        )
        assert long >= 2 * short, f"at {share}: {long} and {short} epochs"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"settings": {"img_sise": 32}}, "settings: 'img_sise'"),
        ({"pretrain": {"layer_decay": 1.0}}, "pretrain: 'layer_decay'"),
        ({"shares": {1.0: {"epochs": 3}}}, "shares, 1: 'epochs'"),
        ({"tune": {"grid": {"lr": [1.0]}}}, "tune, grid: 'lr'"),
        ({"arms": {"scratch": {"train": {"inti": "scratch"}}}}, "arm scratch: 'inti'"),
    ],
)
def test_a_setting_that_no_stage_has_is_named(
    make_study: Callable[..., Study], change: dict[str, object], message: str
) -> None:
    refuse_unknown_settings(make_study())
    with pytest.raises(StudyError, match=message):
        refuse_unknown_settings(make_study(**change))

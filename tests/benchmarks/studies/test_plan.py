from collections.abc import Callable
from dataclasses import replace

from benchmarks.studies.plan import evaluation, pretraining, training
from benchmarks.studies.study import Study

RATE = {"learning_rate": 1e-3}


def test_the_key_follows_whatever_decides_the_result(make_study: Callable[..., Study]) -> None:
    study = make_study()
    arm = study.arms["mae"]
    key = evaluation(study, arm, 0.1, 0, RATE).key
    assert key == evaluation(make_study(question="another"), arm, 0.1, 0, RATE).key
    others = {
        evaluation(make_study(settings={"img_size": 64}), arm, 0.1, 0, RATE).key,
        evaluation(make_study(pretrain={"max_epochs": 5}), arm, 0.1, 0, RATE).key,  # through the stages before
        evaluation(make_study(data={"folder": "elsewhere"}), arm, 0.1, 0, RATE).key,
        evaluation(study, arm, 1.0, 0, RATE).key,
        evaluation(study, arm, 0.1, 1, RATE).key,
        evaluation(study, arm, 0.1, 0, {"learning_rate": 3e-3}).key,
        evaluation(study, replace(arm, network={"_target_": "UNet"}), 0.1, 0, RATE).key,
    }
    assert len(others | {key}) == 8


def test_label_shares_have_one_pretraining_and_seeds_where_the_study_says_so(make_study: Callable[..., Study]) -> None:
    study = make_study()
    arm = study.arms["mae"]
    first = training(study, arm, 0.1, 0, {}).source
    assert first == training(study, arm, 1.0, 0, {}).source == pretraining(study, arm, 0)
    assert first != training(study, arm, 0.1, 1, {}).source
    shared = make_study(pretrain={"max_epochs": 4, "seed": 7})
    assert pretraining(shared, arm, 0) == pretraining(shared, arm, 1)
    assert "label_fraction" not in pretraining(study, arm, 0).settings  # type: ignore[union-attr]


def test_the_settings_of_a_training_come_from_the_nearest_place(make_study: Callable[..., Study]) -> None:
    study = make_study(train={"max_epochs": 1, "batch_size": 2, "warmup_epochs": 3})
    arm = replace(study.arms["scratch"], train={"warmup_epochs": 4}, at={1.0: {"batch_size": 5}})
    settings = training(study, arm, 1.0, 9, RATE).settings
    assert settings == {
        "img_size": 32, "max_epochs": 3, "batch_size": 5, "warmup_epochs": 4, "label_fraction": 1.0, "seed": 9, **RATE
    }  # fmt: skip


def test_another_network_is_trained_and_evaluated(make_study: Callable[..., Study]) -> None:
    study = make_study()
    arm = replace(study.arms["scratch"], network={"_target_": "DenseNet121"})
    stage = evaluation(study, arm, 0.1, 0, {})
    assert stage.settings["network_def"] == stage.source.settings["network_def"] == arm.network  # type: ignore[union-attr]


def test_a_probe_is_one_stage_behind_the_pretraining(make_study: Callable[..., Study]) -> None:
    study = make_study()
    arm = replace(study.arms["mae"], probe=True)
    stage = evaluation(study, arm, 0.1, 1, {})
    assert (stage.name, stage.source) == ("linear_probe", pretraining(study, study.arms["mae"], 1))
    assert stage.settings == {"img_size": 32, "init": "mae", "label_fraction": 0.1, "seed": 1}


def test_pretraining_on_other_images_is_another_one_and_nothing_else_changes(make_study: Callable[..., Study]) -> None:
    study = make_study(others={"tiles": {"folder": "{work}/tiles"}})
    arm = study.arms["mae"]
    there = training(study, replace(arm, pretrain_on="tiles"), 0.1, 0, {})
    own = training(study, arm, 0.1, 0, {})
    assert there.source is not None
    assert own.source is not None
    assert there.source.data == {"folder": "{work}/tiles", "datalist": "{work}/tiles.json"}
    assert (there.data, there.settings, there.source.settings) == (own.data, own.settings, own.source.settings)
    assert there.key != own.key


def test_a_task_stands_behind_the_names_of_the_stages(make_study: Callable[..., Study]) -> None:
    stage = evaluation(make_study(task="segmentation"), make_study().arms["mae"], 0.1, 0, {})
    assert stage.source is not None
    assert stage.source.source is not None
    stages = (stage.source.source, stage.source, stage)
    assert [entry.name for entry in stages] == ["pretrain", "train_segmentation", "evaluate_segmentation"]
    assert [entry.kind for entry in stages] == ["pretrain", "train", "evaluate"]

"""Labels of classified pictures, counted and judged."""

from typing import Any

import numpy as np
import pytest
from bundle_runtime.data.labels import checked_labels, count_labels
from custom_components.errors import InputError
from hypothesis import given, settings
from hypothesis import strategies as st

NAMES = ["effusion", "nodule"]


def entries(labels: list[Any], section: str = "training") -> list[dict[str, Any]]:
    return [{"file": f"{number}.png", "label": label, "section": section} for number, label in enumerate(labels)]


@settings(max_examples=25, deadline=None)
@given(labels=st.lists(st.lists(st.sampled_from([0, 1, None]), min_size=2, max_size=2), min_size=1, max_size=12))
def test_counts_add_up(labels: list[Any]) -> None:
    counts, problems = count_labels(
        "training", [{"file": "x", "label": label} for label in labels], NAMES, "multi_label"
    )
    assert problems == []
    for column, name in enumerate(NAMES):
        values = [label[column] for label in labels]
        assert list(counts[name].values()) == [values.count(1), values.count(0), values.count(None)]


def test_every_label_the_same_is_refused_where_it_is_learnt_from(capsys: pytest.CaptureFixture[str]) -> None:
    alike = [[0, 1]] * 3
    with pytest.raises(InputError, match=r"every label in training is the same \(nodule\), so nothing can be learnt"):
        checked_labels(entries(alike), "multi_label", NAMES)
    capsys.readouterr()
    assert checked_labels(entries(alike, "test"), "multi_label", NAMES).tolist() == alike
    said = capsys.readouterr().err
    assert "warning: class 'effusion' is constant: it occurs in no label in test, so it has no score there" in said
    assert "warning: class 'nodule' is constant: it is present in every known label in test" in said


def test_good_labels_are_not_commented(capsys: pytest.CaptureFixture[str]) -> None:
    labels = checked_labels(entries([0, 1, 1, 0]), "multi_class", NAMES)
    assert np.array_equal(labels, [0, 1, 1, 0])
    assert checked_labels([], "multi_class", ["a"]).shape == (0,)
    assert capsys.readouterr().err == ""


def test_a_label_that_does_not_suit_the_task_is_named() -> None:
    with pytest.raises(InputError, match=r"1\.png: its label is \[1\], expected a list of 2 values"):
        checked_labels(entries([[0, 1], [1]]), "multi_label", NAMES)

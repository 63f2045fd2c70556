from collections import Counter
from typing import Any

import pytest
from bundle_runtime.data.schema import SECTIONS
from custom_components.errors import InputError
from hypothesis import given
from hypothesis import strategies as st
from mae_tools.sources.lists import by_class, classes_of, is_labelled, say_labels, split_by_class
from mae_tools.sources.split import Found, section_name


def made_of(labels: list[Any], patients: list[int] | None = None) -> list[dict[str, Any]]:
    owners = range(len(labels)) if patients is None else patients
    return [
        {"image": f"{index}.png", "patient_id": str(owner), **({} if label == "absent" else {"label": label})}
        for index, (label, owner) in enumerate(zip(labels, owners, strict=True))
    ]


def owners(lists: dict[str, Any]) -> dict[str, set[str]]:
    return {part: {item["patient_id"] for item in lists[part]} for part in SECTIONS}


LABEL = st.one_of(st.integers(0, 3), st.just("absent"), st.lists(st.sampled_from([0, 1, None]), min_size=3, max_size=3))


@given(
    st.lists(st.tuples(LABEL, st.integers(0, 30)), max_size=80), st.floats(0, 0.45), st.floats(0, 0.45),
    st.integers(0, 9), st.booleans(), st.booleans(),
)  # fmt: skip
def test_patients_stay_whole_and_nothing_is_lost(
    pairs: list[tuple[Any, int]], val: float, test: float, seed: int, per_class: bool, parity: bool
) -> None:
    entries = made_of([label for label, _ in pairs], [owner for _, owner in pairs])
    lists, _ = by_class(Found(entries), val, test, seed=seed, per_class=per_class, parity=parity)
    apart = owners(lists)
    assert not apart["training"] & (apart["validation"] | apart["test"])
    if parity:
        assert lists["validation"] == lists["test"] and lists["parity"]  # noqa: PT018
    else:
        assert not apart["validation"] & apart["test"]
    held_out = "test" if parity else None
    kept = [item["image"] for part in SECTIONS if part != held_out for item in lists[part]]
    assert sorted(kept) == sorted(item["image"] for item in entries)
    known = {item["patient_id"] for item in entries if is_labelled(item)}
    assert apart["validation"] | apart["test"] <= known  # patients of whom nothing is known can score nothing


@given(st.lists(st.integers(3, 200), min_size=2, max_size=6), st.integers(0, 5))
def test_shares_of_each_class_are_rounded_down(counts: list[int], seed: int) -> None:
    entries = made_of([index for index, count in enumerate(counts) for _ in range(count)])
    lists = split_by_class(entries, 0, 1 - 0.7, seed)
    found = Counter(item["label"] for item in lists["test"])
    assert [found[index] for index in range(len(counts))] == [max(3 * count // 10, 1) for count in counts]


def test_a_rare_finding_comes_into_every_list() -> None:
    """Dealt without regard to findings, three patients with a hernia among 300 mostly miss a list."""
    labels = [[1, int(index < 3)] for index in range(300)]
    lists = split_by_class(made_of(labels), 0.2, 0.2, 0)
    assert [sum(item["label"][1] for item in lists[part]) for part in SECTIONS] == [1, 1, 1]
    assert [len(lists[part]) for part in SECTIONS] == [180, 60, 60]


def test_a_patient_counts_for_the_rarest_of_all_images() -> None:
    entries = made_of([0, 1, 0, 0, 0, 0, 1, 0, 1], [0, 0, 1, 2, 3, 4, 5, 6, 6])
    lists = split_by_class(entries, 0.34, 0.34, 1)
    assert [sum(item["label"] for item in lists[part]) for part in SECTIONS] == [1, 1, 1]


def test_the_deal_is_fixed_for_ever() -> None:
    lists = split_by_class(made_of([index % 2 for index in range(12)]), 0.2, 0.2, 0)
    assert [[item["patient_id"] for item in lists[part]] for part in SECTIONS] == [
        ["0", "1", "2", "3", "5", "6", "8", "11"],
        ["9", "10"],
        ["4", "7"],
    ]
    assert split_by_class(made_of([0] * 12), 0.2, 0.2, 1) != split_by_class(made_of([0] * 12), 0.2, 0.2, 0)


def test_lists_as_given_and_what_they_lack() -> None:
    items = made_of([index % 2 for index in range(40)])
    whole = {"training": items[:20], "validation": items[20:30], "test": items[30:]}
    assert by_class(Found(items, whole)) == (whole, "lists as given")
    without = {"training": items[:30], "validation": [], "test": items[30:]}
    lists, said = by_class(Found(items, without))
    assert (len(lists["training"]), len(lists["validation"]), lists["test"]) == (24, 6, items[30:])
    assert said == "lists as given, validation taken out of training (seed 0)"
    lists, said = by_class(Found(items, {**without, "test": []}), 0.2, 0.1)
    assert [len(lists[part]) for part in SECTIONS] == [22, 6, 2]
    assert "validation and test taken out" in said
    with pytest.raises(InputError, match="The given lists hold no training image; correct"):
        by_class(Found(items, {**whole, "training": []}))


def test_parity_of_given_lists() -> None:
    items = made_of([index % 2 for index in range(40)])
    whole = {"training": items[:20], "validation": items[20:30], "test": items[30:]}
    lists, said = by_class(Found(items, whole), parity=True)
    assert (lists["training"], lists["validation"], lists["test"]) == (items[:30], items[30:], items[30:])
    assert said.endswith("the test list also selects, as in the papers")
    lists, _ = by_class(Found(items, {"training": items[:30], "validation": items[30:], "test": []}), parity=True)
    assert (lists["training"], lists["validation"], lists["test"]) == (items[:30], items[30:], items[30:])


def test_given_lists_are_put_together() -> None:
    items = made_of([index % 2 for index in range(40)])
    given = Found(given={"training": items[:10], "validation": items[10:20], "test": items[20:]})
    lists, said = by_class(given, train_fraction=0.7)
    assert [len(lists[part]) for part in SECTIONS] == [20, 8, 12]
    assert said == "split by picture, each as a patient of its own, class by class (seed 0)"
    given.select_of_training = True
    assert [len(by_class(given, train_fraction=0.7)[0][part]) for part in SECTIONS] == [24, 4, 12]
    with pytest.raises(InputError, match="train_fraction is 1, expected a number between 0 and 1"):
        by_class(given, train_fraction=1)


@pytest.mark.parametrize(("val", "test"), [(-0.1, 0.1), (0.5, 0.5), ("a", 0.1)])
def test_impossible_fractions(val: Any, test: float) -> None:
    with pytest.raises(InputError, match=f"val_fraction {val} and test_fraction {test} must"):
        split_by_class([], val, test, 0)


def test_what_is_said_of_labels(capsys: pytest.CaptureFixture[str]) -> None:
    labels = [[1, 0, 1, None], [0, 0, None, None], [1, 0, 1, None], [None] * 4]
    items = made_of(labels)
    names = ["Mass", "Hernia", "Edema", "Fibrosis"]
    say_labels(
        {"task": "multi_label", "class_names": names, "training": items[2:], "validation": [], "test": items[:2]}
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["Mass", "1", "0", "1"]
    assert lines[5].split() == ["unlabelled", "1", "0", "0"]
    assert lines[6:] == [
        "Warning: the finding Hernia is 0 wherever it is known; nothing can be learned about it, leave it out.",
        "Warning: the finding Edema is 1 wherever it is known; nothing can be learned about it, leave it out.",
        "Warning: the finding Fibrosis is unknown in every image; nothing can be learned about it, leave it out.",
    ]
    say_labels(
        {
            "task": "multi_class",
            "class_names": ["a", "b"],
            "training": made_of([0, 1]),
            "validation": made_of([0]),
            "test": [],
        }
    )
    assert capsys.readouterr().out.splitlines()[3:] == [
        "Warning: no validation image shows b; that cannot be scored there."
    ]


def test_small_parts() -> None:
    assert [section_name(word) for word in ("Train", "VALID", " val ", "Testing", "dev", "fold1")] == [
        "training", "validation", "validation", "test", "validation", None
    ]  # fmt: skip
    assert [classes_of({"label": label}) for label in (2, [1, None, 1], [0, 0])] == [[2], [0, 2], []]
    assert classes_of({}) == []
    assert [is_labelled({"label": label}) for label in (0, [None, 0], [None, None])] == [True, True, False]

from typing import Any

import pytest
from custom_components.errors import InputError
from hypothesis import given
from hypothesis import strategies as st
from mae_tools.sources.crossing import resolve_crossing

SECTIONS = ("training", "validation", "test")


def lists(*owners: list[int]) -> dict[str, list[dict[str, Any]]]:
    return {
        part: [{"image": f"{part}{index}", "patient_id": f"p{owner}"} for index, owner in enumerate(its)]
        for part, its in zip(SECTIONS, owners, strict=True)
    }


def owners(resolved: dict[str, list[dict[str, Any]]]) -> list[list[str]]:
    return [[item["patient_id"] for item in resolved[part]] for part in SECTIONS]


def test_lists_without_common_patients_stay(capsys: pytest.CaptureFixture[str]) -> None:
    given_lists = lists([1, 1, 2], [3], [4])
    assert resolve_crossing(given_lists, "refuse") == (given_lists, "")
    assert not capsys.readouterr().out


def test_refused_dropped_kept(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(
        InputError, match=r"2 patient\(s\) are in several of the given lists, p1 in training and test: p1, p2; correct"
    ):
        resolve_crossing(lists([1, 1, 2, 5], [2], [1, 4]), "refuse")
    dropped, said = resolve_crossing(lists([1, 1, 2, 5], [2], [1, 4]), "drop")
    assert owners(dropped) == [["p5"], ["p2"], ["p1", "p4"]]
    assert said == ", without 3 images of patients in several of them"
    kept, said = resolve_crossing(lists([1, 2, 5], [2], [1, 4]), "keep")
    assert owners(kept) == [["training_p1", "training_p2", "p5"], ["validation_p2"], ["test_p1", "p4"]]
    assert "2 patients in several" in said
    assert "scores will flatter" in capsys.readouterr().out
    with pytest.raises(InputError, match="crossing is 'no'; choose one of refuse, drop, keep"):
        resolve_crossing(lists([1], [2], [3]), "no")


@given(*[st.lists(st.integers(0, 8), max_size=12)] * 3)
def test_dropping_makes_them_disjoint_and_keeps_the_test_list(a: list[int], b: list[int], c: list[int]) -> None:
    dropped, _ = resolve_crossing(lists(a, b, c), "drop")
    found = [set(its) for its in owners(dropped)]
    assert not found[0] & found[1] | found[0] & found[2] | found[1] & found[2]
    assert dropped["test"] == lists(a, b, c)["test"]
    assert set.union(*found) == {f"p{owner}" for owner in a + b + c}

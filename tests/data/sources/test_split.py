from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from custom_components.data.sources.split import existing_folder, finish, shuffled, some, split_by_patient
from custom_components.errors import InputError


@given(st.integers(1, 40), st.integers(0, 5), st.floats(0, 0.45), st.floats(0, 0.45))
def test_patients_never_cross_and_nothing_is_lost(patients: int, seed: int, val: float, test: float) -> None:
    entries = [{"image": str(index), "patient_id": str(index % patients)} for index in range(2 * patients)]
    parts = split_by_patient(entries, val, test, seed)
    owners = [{item["patient_id"] for item in part} for part in parts.values()]
    assert sum(len(part) for part in parts.values()) == len(entries)
    assert sum(len(part) for part in owners) == patients
    assert parts["training"]
    if patients >= 3:
        assert bool(parts["validation"]) == (val > 0)
        assert bool(parts["test"]) == (test > 0)


def test_the_order_is_fixed_for_ever() -> None:
    assert shuffled(["a", "b", "c", "d", "e"], 0) == shuffled(["e", "d", "c", "b", "a", "a"], 0)
    assert shuffled("abcdefgh", 0) == list("hfgdacbe")
    assert shuffled("abcdefgh", 1) != shuffled("abcdefgh", 0)


def test_ten_patients_with_the_usual_fractions() -> None:
    entries = [{"patient_id": str(index)} for index in range(10)]
    assert [len(part) for part in split_by_patient(entries, 0.2, 0.2, 0).values()] == [6, 2, 2]


@pytest.mark.parametrize(("val", "test"), [(-0.1, 0.1), (0.5, 0.5)])
def test_impossible_fractions(val: float, test: float) -> None:
    with pytest.raises(InputError, match=f"val_fraction {val} and test_fraction {test} must"):
        split_by_patient([], val, test, 0)


def test_finish_says_when_dataset_dir_is_needed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = {"training": [{"image": "a"}], "validation": [], "test": []}
    finish(content, tmp_path, None)
    assert "--dataset_dir" not in capsys.readouterr().out
    finish(content, tmp_path, tmp_path / "lists" / "one.json")
    assert f"--dataset_dir {tmp_path}" in capsys.readouterr().out
    assert (tmp_path / "datalist.json").read_bytes() == (tmp_path / "lists" / "one.json").read_bytes()


def test_small_parts(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere is not a folder"):
        existing_folder(tmp_path / "nowhere")
    assert some("abcd", 2) == "a, b and 2 more"

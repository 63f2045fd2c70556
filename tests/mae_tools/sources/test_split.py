from pathlib import Path
from typing import Any

import monai.data
import pytest
from bundle_runtime.data.datalist import load, write
from custom_components.errors import InputError
from hypothesis import given, settings
from hypothesis import strategies as st
from mae_tools.sources.split import Found, by_fold, deal, shuffled, split_by_patient, split_by_size


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


@given(st.integers(3, 60), st.integers(1, 8), st.integers(0, 5), st.floats(0.05, 0.4), st.floats(0.05, 0.4))
def test_rare_classes_are_spread_over_the_lists(rest: int, few: int, seed: int, val: float, test: float) -> None:
    """All show an organ, few of them a tumour; one shows nothing. The sizes of the lists are those without classes."""
    shown = (
        {f"o{number}": {1} for number in range(rest)} | {f"t{number}": {1, 2} for number in range(few)} | {"n": set()}
    )
    entries = [{"image": name, "patient_id": name} for name in shown]
    parts = split_by_patient(entries, val, test, seed, shown)
    plain = split_by_patient(entries, val, test, seed)
    assert {name: len(part) for name, part in parts.items()} == {name: len(part) for name, part in plain.items()}
    for part in parts.values():
        have = sum(item["patient_id"].startswith("t") for item in part)
        expected = few * len(part) / len(entries)
        assert abs(have - expected) <= 1 + 3 * few / len(entries) + 1e-9  # three groups, each rounded at both ends
    assert split_by_patient(entries[::-1], val, test, seed, shown)["test"][::-1] == parts["test"]


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


@given(st.integers(1, 60), st.integers(1, 7), st.integers(0, 5))
def test_deal_is_monais_partition(count: int, folds: int, seed: int) -> None:
    dealt = deal(count, folds, seed)
    assert sorted(position for fold in dealt for position in fold) == list(range(count))
    if folds <= count:
        expected = monai.data.partition_dataset(range(count), num_partitions=folds, shuffle=True, seed=seed)
        assert dealt == [sorted(fold) for fold in expected]


@given(st.integers(1, 40), st.integers(1, 6), st.integers(0, 5), st.floats(0, 0.99), st.booleans(), st.data())
def test_folds_keep_patients_together(
    patients: int, folds: int, seed: int, val: float, parity: bool, data: st.DataObject
) -> None:
    entries = [{"image": str(index), "patient_id": str(index % patients)} for index in range(2 * patients)]
    fold = data.draw(st.integers(0, min(folds, patients) - 1))
    made, _ = by_fold(Found(entries), fold, folds, val, seed, parity)
    owners = {part: {item["patient_id"] for item in made[part]} for part in ("training", "validation", "test")}
    apart = owners["training"] | owners["validation"] | owners["test"]
    assert len(apart) == patients
    assert sum(len(made[part]) for part in owners) == len(entries) + (len(made["test"]) if parity else 0)
    assert owners["training"] or folds == 1 or (parity and patients == 1)
    if parity:
        assert owners["validation"] == owners["test"]
    else:
        assert not owners["validation"] & owners["test"]
    if patients >= 3 and folds > 2:
        assert owners["test"]
        assert bool(owners["validation"]) == (val > 0 or parity)


def test_every_patient_is_tested_once() -> None:
    entries = [{"patient_id": str(index)} for index in range(23)]
    tested = [item["patient_id"] for fold in range(5) for item in by_fold(Found(entries), fold)[0]["test"]]
    assert sorted(tested) == sorted(item["patient_id"] for item in entries)


@pytest.mark.parametrize(
    ("patients", "arguments", "sizes"),
    [
        (20, {}, [14, 2, 4]),
        (9, {}, [6, 1, 2]),
        (4, {}, [2, 1, 1]),
        (3, {}, [1, 1, 1]),
        (3, {"val_fraction": 0}, [2, 0, 1]),
        (2, {}, [1, 1, 0]),
        (2, {"parity": True}, [1, 1, 1]),
        (2, {"val_fraction": 0}, [1, 0, 1]),
        (1, {}, [1, 0, 0]),
        (1, {"folds": 1}, [0, 0, 1]),
        (7, {"folds": 1}, [0, 0, 7]),
    ],
)
def test_few_patients(
    patients: int, arguments: dict[str, Any], sizes: list[int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    entries = [{"image": str(index), "patient_id": str(index)} for index in range(patients)]
    made, said = by_fold(Found(entries), **arguments)
    assert [len(made[part]) for part in ("training", "validation", "test")] == sizes
    assert (f"Only {patients} patient(s)" in capsys.readouterr().out) == (patients < 10)
    write(tmp_path / "datalist.json", made)
    assert load(tmp_path / "datalist.json")["test"] == made["test"]
    assert said


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"fold": 5}, r"fold is 5, expected 0 to 4 \(folds 5, 12 patients\)"),
        ({"fold": -1}, "fold is -1, expected 0 to 4"),
        ({"fold": "x"}, "fold is 'x', expected 0 to 4"),
        ({"folds": 0}, "folds is 0, expected a whole number from 1 on"),
        ({"folds": 2.5}, "folds is 2.5, expected a whole number from 1 on"),
        ({"val_fraction": 1}, "val_fraction is 1, expected a number from 0 to below 1"),
        ({"val_fraction": "x"}, "val_fraction is 'x', expected a number"),
    ],
)
def test_folds_that_do_not_exist(arguments: dict[str, Any], sentence: str) -> None:
    entries = [{"patient_id": str(index)} for index in range(12)]
    with pytest.raises(InputError, match=sentence):
        by_fold(Found(entries), **arguments)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 500), min_size=1, max_size=12), st.integers(0, 5))
def test_a_split_by_size_keeps_patients_whole_and_no_list_empty(sizes: list[int], seed: int) -> None:
    entries = [{"image": f"{p}_{i}", "patient_id": f"p{p}"} for p, size in enumerate(sizes) for i in range(size)]
    lists = split_by_size(entries, 0.15, 0.15, seed)
    assert sorted(item["image"] for part in lists.values() for item in part) == sorted(e["image"] for e in entries)
    owners = [{item["patient_id"] for item in part} for part in lists.values()]
    assert sum(map(len, owners)) == len(sizes)
    assert lists["training"]
    if len(sizes) >= 3:
        assert all(lists.values())
    assert split_by_size(entries, 0.15, 0.15, seed) == lists


def test_one_large_patient_trains() -> None:
    entries = [{"patient_id": "large"}] * 611 + [{"patient_id": f"p{n}"} for n in range(4) for _ in range(12)]
    for seed in range(5):
        lists = split_by_size(entries, 0.15, 0.15, seed)
        assert {"patient_id": "large"} in lists["training"]

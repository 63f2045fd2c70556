import pytest
from bundle_runtime.data.subset import evenly, keep_fraction
from custom_components.errors import InputError
from hypothesis import given
from hypothesis import strategies as st


def items(patients: int, each: int = 2) -> list[dict]:
    return [{"patient_id": f"p{i}", "case": f"p{i}_{j}"} for i in range(patients) for j in range(each)]


@given(st.integers(1, 40), st.floats(0.01, 1.0), st.floats(0.01, 1.0), st.integers(0, 5))
def test_whole_patients_and_nested(patients: int, one: float, other: float, seed: int) -> None:
    low, high = sorted((one, other))
    small, large = keep_fraction(items(patients), low, seed), keep_fraction(items(patients), high, seed)
    assert {item["case"] for item in small} <= {item["case"] for item in large}
    kept = [item["patient_id"] for item in small]
    assert all(kept.count(patient) == 2 for patient in kept)
    assert len(set(kept)) == max(1, int(patients * low + 1e-6))


@given(st.integers(4, 40), st.floats(0.01, 1.0), st.integers(0, 5), st.booleans())
def test_every_class_is_in_a_share_that_has_room_for_it(patients: int, fraction: float, seed: int, many: bool) -> None:
    """Of two common classes and a rare one, as an index and as findings; a draw that had them all is as it was."""
    kinds = [2 if number == patients // 2 else number % 2 for number in range(patients)]
    labelled = [
        {**item, "label": [int(kind == k) for k in range(3)] if many else kind}
        for item, kind in zip(items(patients, 1), kinds, strict=True)
    ]
    kept = keep_fraction(labelled, fraction, seed)
    plain = keep_fraction(items(patients, 1), fraction, seed)
    shown = {item["label"].index(1) if many else item["label"] for item in kept}
    assert len(kept) == len(plain)
    assert len(shown) == min(len(kept), 3)
    if {kinds[int(item["patient_id"][1:])] for item in plain} == {0, 1, 2}:
        assert [item["case"] for item in kept] == [item["case"] for item in plain]


def test_all_and_out_of_range() -> None:
    assert keep_fraction(items(5), 1.0) == items(5)
    for fraction in (0.0, 1.1):
        with pytest.raises(InputError, match="label_fraction"):
            keep_fraction(items(5), fraction)


def test_a_few_items_of_the_whole_list() -> None:
    """The first ones of a list that is sorted by class are all of one class."""
    assert evenly(9, 3) == [0, 4, 8]
    assert evenly(2, 8) == [0, 1]
    assert evenly(5, 0) == evenly(0, 4) == []

from hypothesis import given
from hypothesis import strategies as st

from mae_tools.demo_data.patients import lists_in_order


@given(st.lists(st.integers(1, 3), min_size=12, max_size=60))
def test_whole_patients_in_their_order(images: list[int]) -> None:
    entries = [{"image": f"{p}_{i}", "patient_id": str(p)} for p, count in enumerate(images) for i in range(count)]
    lists = lists_in_order(entries)
    assert [entry for part in ("training", "validation", "test") for entry in lists[part]] == entries
    owners = [{entry["patient_id"] for entry in listed} for listed in lists.values()]
    assert sum(map(len, owners)) == len(images)
    assert 0.5 * len(entries) <= len(lists["training"]) <= 0.5 * len(entries) + 3
    assert lists["validation"]
    assert lists["test"]

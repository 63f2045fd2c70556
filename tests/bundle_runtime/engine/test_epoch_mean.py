import pytest
import torch
from bundle_runtime.engine.epoch_mean import EpochMean, wide
from hypothesis import given
from hypothesis import strategies as st

ROWS = st.lists(st.tuples(st.floats(-1e3, 1e3, width=32), st.floats(-1e3, 1e3, width=32)), min_size=1, max_size=20)


@given(ROWS, st.integers(0, 20))
def test_means_are_exact_and_survive_a_checkpoint(rows: list[tuple[float, float]], saved: int) -> None:
    mean = EpochMean()
    for number, row in enumerate(rows):
        if number == saved:
            state, mean = mean.state_dict(), EpochMean()
            mean.load_state_dict(state)
        mean.add(wide(torch.tensor(row)))
    assert mean.result() == [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    assert mean.result() == []


def test_an_epoch_without_iterations_has_no_state() -> None:
    mean = EpochMean()
    assert mean.state_dict() == {"sums": None}
    mean.load_state_dict({"sums": torch.tensor([1.5, 2.0])})
    assert mean.result() == pytest.approx([0.75])

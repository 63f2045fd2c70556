"""Seeds of random streams."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from custom_components.errors import InputError
from custom_components.seeding import mix_seed

number = st.integers(0, 2**40)


@given(number, number, number)
def test_is_a_function_of_its_numbers_and_fits_torch(seed: int, epoch: int, item: int) -> None:
    mixed = mix_seed(seed, epoch, item)
    assert mixed == mix_seed(seed, epoch, item)
    assert 0 <= mixed < 2**63
    torch.Generator().manual_seed(mixed)


def test_stays_the_same_across_versions() -> None:
    # A resumed run may have been started with another version of NumPy: the numbers must not move.
    assert [mix_seed(0), mix_seed(0, 1), mix_seed(12345, 7, 3)] == [
        7896617691693857887,
        2918264622725855778,
        1305911715702986526,
    ]


def test_neighbouring_seeds_share_no_stream() -> None:
    streams = {mix_seed(seed, epoch, item) for seed in range(10) for epoch in range(10) for item in range(10)}
    assert len(streams) == 1000


@pytest.mark.parametrize("seed", [-1, 0.5, None, "1", True])
def test_refuses_what_is_no_seed(seed: object) -> None:
    with pytest.raises(InputError, match=r"seed is .*; it must be a whole number of at least 0"):
        mix_seed(seed)  # type: ignore[arg-type]

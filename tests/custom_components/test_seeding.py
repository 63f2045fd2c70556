"""Seeds of streams, and random numbers as a function of (seed, epoch, item, column)."""

import numpy as np
import pytest
import torch
from custom_components.errors import InputError
from custom_components.seeding import mix_seed, philox, uniform
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

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


WHOLE = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_philox_gives_the_known_answers_of_its_authors(counter: list, key: list, words: list) -> None:
    """The test vectors of the Random123 library for philox4x32, 10 rounds."""
    assert philox(np.array(counter, np.uint64), np.array(key, np.uint64)).tolist() == words


@given(WHOLE, st.lists(st.tuples(WHOLE, st.integers(0, 2**40)), min_size=1, max_size=8), st.integers(0, 9), st.data())
def test_a_number_depends_on_seed_epoch_item_and_column_only(
    seed: int, pairs: list, draws: int, data: st.DataObject
) -> None:
    epochs, items = zip(*pairs, strict=True)
    together = uniform(seed, epochs, items, draws)
    assert together.shape == (len(pairs), draws)
    assert together.dtype == np.float32
    assert np.all((together >= 0) & (together < 1))
    row = data.draw(st.integers(0, len(pairs) - 1))
    longer = uniform(seed, [epochs[row]], [items[row]], draws + data.draw(st.integers(0, 9)))
    np.testing.assert_array_equal(together[row], longer[0, :draws])


def test_the_numbers_stay_the_same_from_version_to_version() -> None:
    # Or a run resumed after an update would go on with other augmentations.
    expected = [[12332003, 4061680, 9056236, 14680175, 14401346], [6164359, 16062254, 9486579, 5431750, 4598969]]
    assert (uniform(7, [3, 4], [11, 2**33], 5) * 2**24).tolist() == expected


def test_they_are_uniform_in_every_column() -> None:
    drawn = uniform(0, np.full(20000, 5), np.arange(20000), 12)
    for column in drawn.T:
        assert stats.kstest(column, "uniform").pvalue > 1e-3
    cells = np.histogram(drawn, 256, (0, 1))[0]
    assert stats.chisquare(cells).pvalue > 1e-3


def blocks() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Pairs of samples that differ in one of the four numbers only."""
    items, zeros = np.arange(20000), np.zeros(20000, np.int64)
    base = uniform(3, zeros, items, 8)
    return {
        "neighbouring columns": (base[:, 2], base[:, 3]),
        "columns of two counters": (base[:, 0], base[:, 4]),
        "neighbouring items": (base[:-1, 0], base[1:, 0]),
        "neighbouring epochs": (base[:, 0], uniform(3, zeros + 1, items, 1)[:, 0]),
        "neighbouring seeds": (base[:, 0], uniform(4, zeros, items, 1)[:, 0]),
        "item and epoch exchanged": (base[:, 0], uniform(3, items, zeros, 1)[:, 0]),
    }


@pytest.mark.parametrize("name", list(blocks()))
def test_they_are_independent(name: str) -> None:
    first, second = blocks()[name]
    cells = np.histogram2d(first, second, 16, [(0, 1), (0, 1)])[0]
    assert stats.chisquare(cells.ravel()).pvalue > 1e-3
    assert stats.spearmanr(first, second).pvalue > 1e-3


def test_no_two_rows_are_equal() -> None:
    epochs, items = (grid.ravel() for grid in np.meshgrid(np.arange(50), np.arange(200)))
    rows = uniform(0, epochs, items, 4)
    assert len(np.unique(rows, axis=0)) == len(rows)


def test_a_wrong_seed_gets_a_sentence() -> None:
    with pytest.raises(InputError, match="seed is -1"):
        uniform(-1, [0], [0], 1)

"""Random numbers that follow from what they are for, (seed, epoch, item), and from nothing else.

`mix_seed` starts a stream, `uniform` gives the numbers themselves where a stream for each image would cost too much.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .errors import InputError

_LOW = np.uint64(0xFFFFFFFF)
_WORD = np.uint64(32)
_MULTIPLIERS = np.array([0xD2511F53, 0xCD9E8D57], np.uint64)  # of the 1st and of the 3rd word
_KEY_STEPS = np.array([0x9E3779B9, 0xBB67AE85], np.uint64)
_ROUNDS = 10


def mix_seed(seed: int, *numbers: int) -> int:
    """Mix a run's seed with epoch, iteration or item numbers into the seed of one stream.

    The result depends on nothing else: not on workers, ranks, or how often a generator was used before, so a resumed
    run needs no generator state. Adding the numbers instead would make (seed 0, epoch 1) repeat (seed 1, epoch 0).

    Args:
        seed: the config's `seed`, at least 0.
        *numbers: what the stream belongs to, each at least 0.

    Returns:
        An integer in [0, 2**63), as `torch.manual_seed` and NumPy accept.

    Raises:
        InputError: `seed` is not a whole number of at least 0.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise InputError(f"seed is {seed!r}; it must be a whole number of at least 0.")
    return int(np.random.SeedSequence([seed, *numbers]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def philox(counter: NDArray[np.uint64], key: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Philox 4x32-10: turn counters into random words.

    Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011. Counters that differ give words that look
    independent, and for one key no two counters give the same four words.

    Args:
        counter: (4, ...) 32-bit words, held in 64 bits.
        key: (2,) such words.

    Returns:
        Words of the same shape.
    """
    first, second, third, fourth = counter
    for _ in range(_ROUNDS):
        product_a, product_b = first * _MULTIPLIERS[0], third * _MULTIPLIERS[1]
        first, third = (product_b >> _WORD) ^ second ^ key[0], (product_a >> _WORD) ^ fourth ^ key[1]
        second, fourth = product_b & _LOW, product_a & _LOW
        key = (key + _KEY_STEPS) & _LOW
    return np.stack([first, second, third, fourth])


def uniform(
    seed: int, epochs: Sequence[int] | NDArray[np.int64], items: Sequence[int] | NDArray[np.int64], draws: int
) -> NDArray[np.float32]:
    """Uniform random numbers of some items, a row each.

    A row is the same in any batch, worker, process or restarted run, and column k is the same for any `draws` > k.

    Args:
        seed: the run's seed.
        epochs: (B,) the epoch of each item, from 0 up to 2**32 - 1.
        items: (B,) positions in the data set, from 0.
        draws: columns, from 0.

    Returns:
        (B, draws) multiples of 2**-24 in [0, 1).

    Raises:
        InputError: `seed` is not a whole number of at least 0.
    """
    mixed = mix_seed(seed)
    key = np.array([mixed & 0xFFFFFFFF, mixed >> 32], np.uint64)
    rows = np.asarray(items, np.uint64)
    blocks = -(-draws // 4)  # a counter gives four numbers
    counter = np.empty((4, len(rows), blocks), np.uint64)
    counter[0] = np.arange(blocks)
    counter[1] = np.asarray(epochs, np.uint64)[:, None]
    counter[2], counter[3] = (rows & _LOW)[:, None], (rows >> _WORD)[:, None]
    words = philox(counter, key)  # 4 B blocks
    columns = np.moveaxis(words, 0, -1).reshape(len(rows), 4 * blocks)[:, :draws]
    return (columns >> np.uint64(8)).astype(np.float32) * np.float32(2.0**-24)

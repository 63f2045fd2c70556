"""One rule for every random stream: its seed is a fixed mix of whole numbers such as (seed, epoch, item)."""

import numpy as np

from .errors import InputError


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

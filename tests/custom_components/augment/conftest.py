"""What the tests of this folder share."""

import sys
from pathlib import Path

import hypothesis
import torch

# Makes `pictures.py`, the helpers of this folder, importable: pytest's importlib mode extends no path.
sys.path.insert(0, str(Path(__file__).parent))


class TorchRandom:
    """PyTorch's generator, in the form in which hypothesis restarts generators before each example."""

    seed = staticmethod(torch.manual_seed)
    getstate = staticmethod(torch.get_rng_state)
    setstate = staticmethod(torch.set_rng_state)


TORCH_RANDOM = TorchRandom()  # hypothesis keeps a weak reference only
hypothesis.register_random(TORCH_RANDOM)

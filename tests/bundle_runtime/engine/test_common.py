"""What several handlers need."""

import torch
from bundle_runtime.engine.common import scalars


def test_metrics_that_are_one_number_become_floats():
    import numpy as np

    metrics = {"a": 1, "b": torch.tensor([2.0]), "c": np.float32(3), "d": torch.ones(2), "e": "x", "f": True, "g": None}
    assert scalars(metrics) == {"a": 1.0, "b": 2.0, "c": 3.0}

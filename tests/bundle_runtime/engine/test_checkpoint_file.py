"""The training checkpoint as a file."""

import signal
from pathlib import Path

import pytest
import torch
from bundle_runtime.engine import checkpoint_file
from bundle_runtime.engine.checkpoint_file import plain, write_checkpoint
from custom_components.errors import InputError
from torch import nn


def test_resume_with_another_optimizer_names_what_differs():
    network = nn.Linear(2, 2)

    def adam(groups):
        return torch.optim.AdamW([{**group, "lr": 0.1} for group in groups])

    one = [{"params": [network.weight, network.bias], "name": "all"}]
    two = [{"params": [network.weight], "name": "decay"}, {"params": [network.bias], "name": "rest"}]
    other = [{"params": [network.weight], "name": "decay"}, {"params": [network.bias], "name": "head"}]
    longer = {"params": [network.bias, nn.Parameter(torch.zeros(1))], "name": "rest"}
    state = adam(two).state_dict()
    difference = checkpoint_file.optimizer_difference
    assert difference(state, adam(two), "AdamW") is None
    assert difference(state, adam(two), "SGD") == "its optimizer is SGD, this run uses AdamW"
    assert "2 parameter groups, this run has 1" in difference(state, adam(one), "AdamW")
    assert "group 1 is 'rest', this run has 'head'" in difference(state, adam(other), "AdamW")
    assert "holds 1 tensors, this run 2" in difference(state, adam([two[0], longer]), "AdamW")


def test_a_disk_that_fills_up_during_the_write_leaves_nothing(tmp_path):
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(InputError, match="there is none before it"):
            write_checkpoint(tmp_path / "new" / "checkpoint.pt", {"weights": torch.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert list((tmp_path / "new").iterdir()) == []


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"checkpoint.pt cannot be written \(File exists\)"):
        write_checkpoint(tmp_path / "file" / "checkpoint.pt", {})


def test_only_plain_values_are_stored():
    import numpy as np
    from monai.data import MetaTensor

    stored = plain({"a": [np.float64(2.5), (1, None)], "b": MetaTensor(torch.ones(2))})
    assert stored["a"] == [2.5, (1, None)]
    assert type(stored["a"][0]) is float
    assert type(stored["b"]) is torch.Tensor
    with pytest.raises(TypeError, match=r"entry 'step.config' is a Path|PosixPath"):
        plain({"config": Path("x")}, "step")

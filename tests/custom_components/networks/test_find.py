"""The network inside its wrappers, and the Vision Transformer inside the network."""

import pytest
import torch
from custom_components.errors import InputError
from custom_components.networks.find import find_vit, unwrap
from encoders import our_vit
from torch import nn


class Holder(nn.Module):
    def __init__(self, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)


def test_wrappers_are_taken_off_in_any_order():
    network = nn.Linear(1, 1)
    assert unwrap(network) is network
    assert unwrap(torch.compile(nn.DataParallel(network))) is network
    assert unwrap(nn.DataParallel(torch.compile(network))) is network


def test_the_encoder_is_found_wherever_a_network_keeps_it():
    vit = our_vit()
    for network in (vit, Holder(vit=vit), Holder(encoder=vit), Holder(vit=torch.compile(vit)), nn.DataParallel(vit)):
        assert find_vit(network) is vit
    assert find_vit(Holder(encoder=nn.Linear(1, 1), vit=vit)) is vit
    with pytest.raises(InputError, match=r"network Holder has no Vision Transformer at `\.vit` or `\.encoder`"):
        find_vit(Holder(encoder=nn.Linear(1, 1)))

"""Normalisation of grey levels."""

import pytest
import torch
from pictures import batch

from custom_components.augment import Normalise
from custom_components.errors import InputError

NONE = torch.zeros(2, 0)


def test_the_papers_values() -> None:
    images = batch(2)
    torch.testing.assert_close(Normalise(0.5, 0.225)(images, NONE), (images / 255 - 0.5) / 0.225)
    black = Normalise(0.5, 0.225)(torch.zeros(2, 1, 4, 4, dtype=torch.uint8), NONE)
    assert black.unique().item() == pytest.approx(-2.2222222)


@pytest.mark.parametrize(
    ("mean", "std"), [([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]), ([0.1, 0.2, 0.3], 0.5), (0.5, [1, 2, 3])]
)
def test_values_for_each_channel(mean: object, std: object) -> None:
    images = batch(2, 3)
    columns = [torch.tensor(values, dtype=torch.float32).reshape(-1, 1, 1) for values in (mean, std)]
    step = Normalise(mean, std)  # type: ignore[arg-type]
    for _ in range(2):  # the second time from constants that are kept
        torch.testing.assert_close(step(images, NONE), (images / 255 - columns[0]) / columns[1])


def test_wrong_values_and_channels_get_a_sentence() -> None:
    for mean, std in ((0.5, 0.0), (0.5, [0.2, -1]), ([0.1, 0.2], [0.1, 0.2, 0.3]), ([], 1.0), (0.5, [])):
        with pytest.raises(InputError, match=r"mean is .* and std is .* std above 0"):
            Normalise(mean, std)
    # Broadcasting would make three channels of one, without a word.
    with pytest.raises(InputError, match="Normalise has 3 means or deviations and the images have 1 channels"):
        Normalise([0.1, 0.2, 0.3], 1.0)(batch(2), NONE)

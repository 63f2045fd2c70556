import numpy as np
import pytest
import torch
from custom_components.augment import Pipeline, StainJitter
from custom_components.augment.stain import HED
from custom_components.errors import InputError
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.color import hed2rgb, rgb2hed, rgb_from_hed

UNIT = -np.log(1e-6)  # scikit-image counts concentrations in this optical density


def tissue(seed: int = 0, size: int = 6) -> torch.Tensor:
    """Pixels with positive amounts of both stains, so that scikit-image's clipping at 0 does nothing."""
    rng = np.random.default_rng(seed)
    stains = np.concatenate([rng.uniform(0.2, 0.9, (size, size, 2)), np.full((size, size, 1), 0.1)], axis=-1)
    return torch.from_numpy(np.moveaxis(hed2rgb(stains / UNIT), -1, 0)).float()[None]


def test_matrix_is_that_of_scikit_image() -> None:
    np.testing.assert_allclose(HED.numpy(), rgb_from_hed)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), st.lists(st.floats(0, 0.999), min_size=6, max_size=6))
def test_jitter_agrees_with_scikit_image(seed: int, draws: list[float]) -> None:
    image = tissue(seed)
    step = StainJitter(0.1, 0.05)
    signed = 2 * np.array(draws) - 1
    stains = rgb2hed(np.moveaxis(image[0].double().numpy(), 0, -1)) * UNIT
    expected = hed2rgb((stains * (1 + 0.1 * signed[:3]) + 0.05 * signed[3:]).clip(0) / UNIT)
    found = step(image, torch.tensor([draws]))
    np.testing.assert_allclose(np.moveaxis(found[0].numpy(), 0, -1), expected, atol=2e-4)


def test_the_middle_of_the_ranges_changes_nothing() -> None:
    images = torch.randint(1, 256, (3, 3, 5, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = StainJitter(0.2, 0.2)(images, torch.full((3, 6), 0.5))
    torch.testing.assert_close(found, images / 255, atol=1e-5, rtol=0)


def test_images_do_not_depend_on_their_batch_and_stay_in_range() -> None:
    images = torch.randint(0, 256, (4, 3, 7, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    random = torch.rand(4, 6, generator=torch.Generator().manual_seed(1))
    pipeline = Pipeline([StainJitter(0.2, 0.3)])
    together = pipeline(images, random)
    for row in range(4):
        torch.testing.assert_close(pipeline(images[row : row + 1], random[row : row + 1])[0], together[row])
    assert 0 <= together.min() <= together.max() <= 1
    assert not torch.allclose(together, images / 255, atol=1e-3)


@pytest.mark.parametrize(("scale", "shift", "name"), [(1.0, 0.0, "scale"), (-0.1, 0.0, "scale"), (0.0, -0.1, "shift")])
def test_settings_out_of_range_are_refused(scale: float, shift: float, name: str) -> None:
    with pytest.raises(InputError, match=f"{name} of the stain jitter"):
        StainJitter(scale, shift)


def test_grey_images_are_refused() -> None:
    with pytest.raises(InputError, match="1 channel"):
        StainJitter()(torch.zeros(1, 1, 4, 4, dtype=torch.uint8), torch.zeros(1, 6))

import numpy as np
import pytest
from bundle_runtime.data.image_prepare import Recipe
from custom_components.augment.stain_normalisation import normalise_stain
from custom_components.errors import InputError
from monai.apps.pathology.transforms.stain.array import ExtractHEStains, NormalizeHEStains

# Optical density of red, green and blue of haematoxylin and of eosin, near what slides have.
STAINS = np.array([[0.60, 0.70, 0.35], [0.25, 0.85, 0.45]])


def tile(seed: int, strength: float = 1.0, size: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """A tile of eosin with round nuclei of haematoxylin, (3, H, W) uint8, and where the nuclei are."""
    rng = np.random.default_rng(seed)
    y, x = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
    nuclei = np.zeros((size, size), bool)
    for row, column in rng.uniform(4, size - 4, (14, 2)):
        nuclei |= np.hypot(y - row, x - column) < 4
    noise = rng.uniform(0.8, 1.2, (2, size, size))
    amounts = np.stack([noise[0] * np.where(nuclei, 1.3, 0.1), noise[1] * np.where(nuclei, 0.2, 1.0)], axis=-1)
    light = 240 * np.exp(-strength * amounts @ STAINS)
    return np.moveaxis(np.round(light), -1, 0).astype(np.uint8), nuclei


def test_nuclei_become_blue_and_stroma_pink() -> None:
    """MONAI 1.6.1's `ExtractHEStains` takes the two stains for each other: its nuclei come out red."""
    pixels, nuclei = tile(0)
    ours = normalise_stain(pixels).astype(int)
    theirs = np.moveaxis(NormalizeHEStains()(np.moveaxis(pixels, 0, -1)), -1, 0).astype(int)

    def blueness(picture: np.ndarray, where: np.ndarray) -> float:
        return float((picture[2] - picture[0])[where].mean())

    assert blueness(ours, nuclei) > 0 > blueness(ours, ~nuclei)
    assert blueness(theirs, nuclei) < blueness(theirs, ~nuclei), "MONAI is mended: leave the order to it"


def test_tiles_of_differently_strong_stains_become_alike() -> None:
    (weak, _), (strong, _) = tile(1, 0.7), tile(1, 1.3)
    before = np.abs(weak.astype(int) - strong).mean()
    after = np.abs(normalise_stain(weak).astype(int) - normalise_stain(strong)).mean()
    assert after < 0.35 * before
    assert normalise_stain(weak).shape == weak.shape
    assert normalise_stain(weak).dtype == np.uint8


def test_glass_stays_as_it_is() -> None:
    """MONAI's transform raises on a tile without tissue, which every slide has."""
    glass = np.full((3, 32, 32), 245, np.uint8)
    with pytest.raises(ValueError, match="absorbance threshold"):
        ExtractHEStains()(np.moveaxis(glass, 0, -1))
    assert np.array_equal(normalise_stain(glass), glass)
    speck = glass.copy()
    speck[:, 4:6, 4:6] = 60
    assert np.array_equal(normalise_stain(speck), speck)


def test_one_stain_alone_stays_as_it_is() -> None:
    amounts = np.random.default_rng(0).uniform(0.4, 1.2, (32, 32, 1))
    pixels = np.moveaxis(np.round(240 * np.exp(-amounts * STAINS[0])), -1, 0).astype(np.uint8)
    assert np.array_equal(normalise_stain(pixels), pixels)


def test_recipe_normalises_before_it_resizes_and_leaves_grey_files_alone() -> None:
    pixels, _ = tile(2)
    recipe = Recipe(64, 3, "none", fit="squash", stain="macenko")
    assert np.array_equal(recipe.apply(pixels), normalise_stain(pixels))
    grey = pixels[:1]
    assert np.array_equal(recipe.apply(grey), np.repeat(grey, 3, axis=0))
    # Folders made before the setting existed stay valid.
    assert Recipe(64, 3, "none").settings()["stain"] is None
    assert recipe.settings()["stain"] == "macenko"


def test_settings_that_do_not_suit_are_refused() -> None:
    with pytest.raises(InputError, match="stain is 'vahadane'; choose one of none, macenko"):
        Recipe(64, 3, stain="vahadane")
    with pytest.raises(InputError, match="stains need 3 channels"):
        Recipe(64, 1, stain="macenko")

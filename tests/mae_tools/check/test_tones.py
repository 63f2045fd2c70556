"""The normalisation that is proposed is that of the pixels, counted plainly."""

import numpy as np
import pytest
from bundle_runtime.data.image_prepare import equalise_histogram
from hypothesis import given, settings
from hypothesis import strategies as st
from mae_tools.check.tones import of_tones, tones_of

CONFIG = {"equalise": "none", "pixel_mean": 0.5, "in_channels": 1}


def drawn(seed: int, low: int = 0, high: int = 256, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high, (channels, 30, 40), dtype=np.uint8)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 50), st.sampled_from([1, 3]), st.integers(1, 5))
def test_mean_and_deviation_are_those_of_all_pixels(seed: int, channels: int, count: int) -> None:
    pictures = [drawn(seed + number, channels=channels) for number in range(count)]
    facts, found = of_tones([tones_of(pixels) for pixels in pictures], channels, {"pixel_mean": 0.5})
    values = {proposal.key: proposal.value for proposal in found}
    pixels = np.stack(pictures).astype(float) / 255
    axes = (0, 2, 3)
    assert np.atleast_1d(values["pixel_mean"]) == pytest.approx(pixels.mean(axes), abs=6e-4)
    assert np.atleast_1d(values["pixel_std"]) == pytest.approx(pixels.std(axes), abs=6e-4)
    means = pixels.mean((1, 2, 3))
    assert facts["brightness"] == pytest.approx([means.min(), np.median(means), means.max()], abs=1e-4)
    assert set(values) == {"pixel_mean", "pixel_std"}  # a stage that equalises nothing is not told to


def test_pictures_without_a_scale_are_equalised_and_measured_so() -> None:
    pictures = [drawn(0, 0, 60), drawn(1, 90, 170), drawn(2, 190, 256)]
    _, (equalise, mean, deviation) = of_tones([tones_of(pixels) for pixels in pictures], 1, CONFIG)
    assert equalise[:2] == ("equalise", "hist")
    assert equalise.reason.startswith("the pictures share no scale: mean brightness from 0.11 to 0.87, contrast 0.0")
    pixels = np.stack([equalise_histogram(each) for each in pictures]) / 255
    assert (mean.value, deviation.value) == (
        pytest.approx(pixels.mean(), abs=6e-4),
        pytest.approx(pixels.std(), abs=6e-4),
    )
    assert "of the equalised pictures" in mean.reason


def test_flat_pictures_are_equalised_and_others_stay_as_they_are() -> None:
    flat = [tones_of(drawn(seed, 100, 120)) for seed in range(3)]
    assert of_tones(flat, 1, CONFIG)[1][0].reason.startswith("the pictures use little of the range")
    usual = [tones_of(drawn(seed)) for seed in range(3)]
    for now in ("none", "hist", "clahe"):
        proposed = of_tones(usual, 1, {**CONFIG, "equalise": now})[1][0]
        assert proposed.value == now
        assert proposed.reason.startswith("nothing asks for another")


def test_colours_are_not_equalised_and_have_three_numbers() -> None:
    coloured = [tones_of(drawn(seed, channels=3)) for seed in range(2)] + [tones_of(drawn(3))]
    equalise, mean, deviation = of_tones(coloured, 3, {**CONFIG, "equalise": "hist"})[1]
    assert (equalise.value, len(mean.value), len(deviation.value)) == ("none", 3, 3)


def test_grey_stored_as_colours_is_grey() -> None:
    grey = drawn(0)
    assert tones_of(np.repeat(grey, 3, axis=0)) == tones_of(grey)
    assert len(tones_of(grey)) == 2
    black = of_tones([tones_of(np.zeros((1, 4, 4), np.uint8))], 1, CONFIG)[1]
    assert black[2].value == 0.01, "nothing is divided by 0"

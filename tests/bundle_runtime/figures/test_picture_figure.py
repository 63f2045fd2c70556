from pathlib import Path

import numpy as np
import torch
from ignite.engine import Engine

from bundle_runtime.figures.picture_figure import picture_figure
from bundle_runtime.figures.pictures import ReconstructionPictures
from custom_components.networks.masked_autoencoder import MaskedAutoencoder

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def test_colours_and_orientation_are_those_of_the_file(tmp_path: Path) -> None:
    tile = np.zeros((3, 8, 16))
    tile[0, :4] = 1.0  # red above
    tile[2, 4:] = 1.0  # blue below
    normalised = (tile - np.array(MEAN)[:, None, None]) / np.array(STD)[:, None, None]
    mask = np.zeros((8, 16))
    mask[:, :8] = 1
    figure = picture_figure(normalised, mask, normalised, tmp_path / "a.png", MEAN, STD, "title")
    original, masked, reconstruction = (axes.images[0].get_array() for axes in figure.axes)
    np.testing.assert_allclose(original, np.moveaxis(tile, 0, -1), atol=1e-6)
    np.testing.assert_allclose(reconstruction, original)
    np.testing.assert_allclose(masked[:, 8:], original[:, 8:])
    assert np.ptp(masked[:, :8].reshape(-1, 3), axis=0).max() == 0
    assert (tmp_path / "a.png").stat().st_size > 0


def test_grey_pictures_stand_upright(tmp_path: Path) -> None:
    # They used to be drawn as slices (X, Y) of a volume: an X-ray lay on its side.
    image = np.linspace(-1, 1, 8)[None, :, None].repeat(16, 2)  # (1, 8, 16), brighter from row to row
    figure = picture_figure(image, np.zeros((8, 16)), image, tmp_path / "a.png", 0.5, 0.2)
    shown = np.asarray(figure.axes[0].images[0].get_array())
    assert shown.shape == (8, 16, 3)
    np.testing.assert_allclose(shown, np.clip(image[0] * 0.2 + 0.5, 0, 1)[..., None].repeat(3, -1))


def test_the_handler_draws_pictures_by_their_pixels(tmp_path: Path) -> None:
    for channels in (1, 3):
        network = MaskedAutoencoder(
            channels, 16, 8, 16, 32, 1, 2, decoder_size=16, decoder_layers=1, decoder_heads=2, spatial_dims=2,
            mask_ratio=0.5,
        )  # fmt: skip
        images = [{"image": torch.rand(channels, 16, 16), "case": f"c{channels}"}]
        pictures = ReconstructionPictures(network, images, tmp_path, 1, pixels={"mean": 0.5, "std": 0.2})
        engine = Engine(lambda *_: None)
        engine.state.device = torch.device("cpu")
        pictures.attach(engine)
        engine.run([0], max_epochs=1)
    assert len(list(tmp_path.glob("*.png"))) == 2

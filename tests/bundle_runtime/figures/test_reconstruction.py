from pathlib import Path

import numpy as np
import pytest
import torch
from bundle_runtime.figures.reconstruction import ReconstructionPictures, reconstruction_figure
from custom_components.networks.masked_autoencoder import MaskedAutoencoder
from encoders import on_vit
from ignite.engine import Engine
from matplotlib.image import imread
from shown_panels import shown

RNG = np.random.default_rng(0)
IMAGE = RNG.normal(size=(24, 20, 16))


def read_png(path):
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    picture = imread(path)
    assert picture.shape[0] > 200
    assert picture.shape[1] > 300
    return picture


def masked_pair():
    mask = np.zeros(IMAGE.shape)
    mask[8:16, 8:16, 8:16] = 1
    return mask, np.where(mask > 0, 0.0, IMAGE)


@pytest.mark.parametrize("cut", [np.s_[:, :, :], np.s_[:, :, 10]])
def test_reconstruction_in_two_and_three_dimensions(tmp_path, cut):
    mask, reconstruction = masked_pair()
    figure = reconstruction_figure(
        IMAGE[None][:, *cut], mask[cut], reconstruction[None][:, *cut], tmp_path / "a.png", title="case 1"
    )
    read_png(tmp_path / "a.png")
    panels = shown(figure)
    assert len(panels) == (9 if IMAGE[cut].ndim == 3 else 3)
    assert [panel.title for panel in panels[:4]] == ["original", "masked", "reconstruction", ""][: len(panels)]
    assert len({panel.images[0].get_clim() for panel in panels}) == 1  # one grey window
    for row in range(0, len(panels), 3):  # each plane goes through the hidden patch
        original, masked, filled = (panel.pixels() for panel in panels[row : row + 3])
        hidden = np.ma.getmaskarray(masked)
        assert 0 < hidden.sum() < hidden.size
        np.testing.assert_array_equal(original[~hidden], filled[~hidden])
        assert (filled[hidden] == 0).all()


def test_reconstruction_depends_on_what_is_drawn(tmp_path):
    mask, reconstruction = masked_pair()
    image, mask, reconstruction = IMAGE[..., 10], mask[..., 10], reconstruction[..., 10]
    reconstruction_figure(image[None], mask, reconstruction[None], tmp_path / "a.png")
    reconstruction_figure(image[None], mask, (reconstruction + mask)[None], tmp_path / "b.png")
    reconstruction_figure(image[None], mask, reconstruction[None], tmp_path / "c.png")
    assert not np.array_equal(read_png(tmp_path / "a.png"), read_png(tmp_path / "b.png"))
    np.testing.assert_array_equal(read_png(tmp_path / "a.png"), read_png(tmp_path / "c.png"))


def test_reconstruction_of_a_flat_image_without_mask(tmp_path):
    flat = np.full((16, 16, 16), 3.0)
    reconstruction_figure(flat[None], np.zeros_like(flat), flat[None], tmp_path / "flat.png")
    read_png(tmp_path / "flat.png")


def test_shapes_must_agree(tmp_path):
    with pytest.raises(ValueError, match="2D or 3D"):
        reconstruction_figure(IMAGE[None, None], IMAGE[None], IMAGE[None, None], tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def test_colours_and_orientation_are_those_of_the_file(tmp_path: Path) -> None:
    tile = np.zeros((3, 8, 16))
    tile[0, :4] = 1.0  # red above
    tile[2, 4:] = 1.0  # blue below
    normalised = (tile - np.array(MEAN)[:, None, None]) / np.array(STD)[:, None, None]
    mask = np.zeros((8, 16))
    mask[:, :8] = 1
    figure = reconstruction_figure(
        normalised, mask, normalised, tmp_path / "a.png", "title", pixels={"mean": MEAN, "std": STD}
    )
    original, masked, reconstruction = (panel.pixels() for panel in shown(figure))
    np.testing.assert_allclose(original, np.moveaxis(tile, 0, -1), atol=1e-6)
    np.testing.assert_allclose(reconstruction, original)
    np.testing.assert_allclose(masked[:, 8:], original[:, 8:])
    assert np.ptp(masked[:, :8].reshape(-1, 3), axis=0).max() == 0
    assert (tmp_path / "a.png").stat().st_size > 0


def test_grey_pictures_stand_upright(tmp_path: Path) -> None:
    # Drawn like slices (X, Y) of a volume, an X-ray would lie on its side.
    image = np.linspace(-1, 1, 8)[None, :, None].repeat(16, 2)  # (1, 8, 16), brighter from row to row
    figure = reconstruction_figure(
        image, np.zeros((8, 16)), image, tmp_path / "a.png", pixels={"mean": 0.5, "std": 0.2}
    )
    drawn = shown(figure)[0].pixels()
    assert drawn.shape == (8, 16, 3)
    np.testing.assert_allclose(drawn, np.clip(image[0] * 0.2 + 0.5, 0, 1)[..., None].repeat(3, -1))


def test_the_handler_draws_pictures_by_their_pixels(tmp_path: Path) -> None:
    for channels in (1, 3):
        network = on_vit(
            MaskedAutoencoder, channels, 16, 8, hidden_size=16, mlp_dim=32, num_layers=1, num_heads=2, spatial_dims=2,
            decoder_size=16, decoder_layers=1, decoder_heads=2, mask_ratio=0.5, mask_strategy="block",
        )  # fmt: skip
        images = [{"image": torch.rand(channels, 16, 16), "case": f"c{channels}"}]
        pictures = ReconstructionPictures(network, images, tmp_path, 1, pixels={"mean": 0.5, "std": 0.2})
        engine = Engine(lambda *_: None)
        engine.state.device = torch.device("cpu")
        pictures.attach(engine)
        engine.run([0], max_epochs=1)
    assert len(list(tmp_path.glob("*.png"))) == 2

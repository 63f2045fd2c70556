"""Pictures are written at their epochs, and the training does not notice."""

import re

import numpy as np
import pytest
import torch
from bundle_runtime.figures import overlays, panels, reconstruction
from bundle_runtime.figures.overlays import OverlayPictures
from bundle_runtime.figures.pictures import picture_path
from bundle_runtime.figures.reconstruction import ReconstructionPictures
from custom_components.errors import InputError
from custom_components.networks.masked_autoencoder import MaskedAutoencoder
from custom_components.tumour_labels import TISSUES
from encoders import on_vit
from monai.data import MetaTensor
from monai.engines import SupervisedEvaluator
from PIL import Image
from shown_panels import shown
from tiny_training import Tiny
from torch import nn


class FakeAutoencoder(nn.Module):
    """Hides a random half of the voxels and fills them with zeros."""

    def __init__(self, dims=3):
        super().__init__()
        self.encoder = nn.Identity()
        self.encoder.spatial_dims = dims
        self.masks, self.modes = [], []

    def reconstruct(self, image):
        mask = (torch.rand_like(image[:, :1]) > 0.5).float()
        self.masks.append(mask)
        self.modes.append(self.training)
        return image * (1 - mask), mask


def cases(dims=3, count=3):
    return [{"image": torch.rand(1, *[8] * dims), "case": f"case/{i}"} for i in range(count)]


def test_pictures_at_the_interval_and_at_the_end(tmp_path):
    network = FakeAutoencoder()
    pictures = ReconstructionPictures(network, cases(), tmp_path / "pictures", interval=2)
    Tiny(tmp_path, epochs=3, handlers=lambda tiny: [pictures]).run()
    names = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert names == [f"epoch_0000{epoch}_{i}_case_{i}.png" for epoch in (2, 3) for i in (0, 1)]
    assert np.asarray(Image.open(tmp_path / "pictures" / names[0])).shape[0] > 100
    assert network.modes == [False] * 4
    assert network.training
    assert torch.equal(network.masks[0], network.masks[2])


def test_a_case_with_a_long_name_has_its_picture(tmp_path):
    paths = [picture_path(tmp_path, "ü" * 200 + end, epoch) for end in "ab" for epoch in (None, 12)]
    for path in paths:
        path.touch()
    assert len(set(tmp_path.iterdir())) == 4
    assert [path.name[:14] for path in paths[:2]] == ["ü" * 14, "epoch_00012_üü"]


def test_the_training_does_not_notice_the_pictures(tmp_path):
    plain = Tiny(tmp_path / "plain").run().result()
    loader = torch.utils.data.DataLoader(cases(), batch_size=None, shuffle=True)
    pictures = ReconstructionPictures(FakeAutoencoder(), loader, tmp_path / "pictures", interval=3, count=1)
    assert Tiny(tmp_path / "drawn", handlers=lambda tiny: [pictures]).run().result() == plain


def test_the_random_state_is_put_back(tmp_path):
    trainer = Tiny(tmp_path).trainer
    loader = torch.utils.data.DataLoader(cases(), batch_size=None, shuffle=True)
    state = torch.get_rng_state()
    ReconstructionPictures(FakeAutoencoder(), loader, tmp_path / "pictures")._draw(trainer)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("dims", [2, 3])
def test_items_and_crops_are_accepted(tmp_path, dims):
    trainer = Tiny(tmp_path).trainer
    items = cases(dims)
    for number, images in enumerate([items, [[item, item] for item in items]]):
        folder = tmp_path / str(number)
        ReconstructionPictures(FakeAutoencoder(dims), images, folder)._draw(trainer)
        assert sorted(path.name for path in folder.iterdir()) == [
            "epoch_00000_0_case_0.png",
            "epoch_00000_1_case_1.png",
        ]


def test_the_real_autoencoder_can_be_drawn(tmp_path):
    network = on_vit(
        MaskedAutoencoder,
        in_channels=1,
        img_size=(16, 16, 16),
        patch_size=(8, 8, 8),
        hidden_size=24,
        mlp_dim=24,
        num_layers=1,
        num_heads=2,
        decoder_size=24,
        decoder_layers=1,
        decoder_heads=2,
        mask_ratio=0.5,
    )
    image = MetaTensor(torch.rand(1, 16, 16, 16), affine=torch.diag(torch.tensor([1.0, 1.0, 3.0, 1.0])))
    pictures = ReconstructionPictures(network, [{"image": image}], tmp_path / "pictures")
    pictures._draw(Tiny(tmp_path).trainer)
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["epoch_00000_0_image.png"]


def head(channels=4):
    """Sequences of different brightness, a patch of which tells them apart."""
    axis = torch.linspace(0, 1, 16)
    volume = (axis[:, None, None] + axis[:, None] + axis).repeat(channels, 1, 1, 1)
    return volume * torch.arange(1.0, channels + 1).view(-1, 1, 1, 1)


def drawn_figures(monkeypatch):
    """Figures instead of files: what the handler hands over to be saved."""
    figures = []
    monkeypatch.setattr(panels, "save_figure", lambda figure, path: figures.append(figure))
    return figures


def test_every_sequence_is_drawn_in_a_row_of_its_own(tmp_path, monkeypatch):
    figures = drawn_figures(monkeypatch)
    names = ["flair", "t1", "t1ce", "t2"]
    image = head()
    item = {"image": MetaTensor(image, affine=torch.diag(torch.tensor([1.0, 1.0, 2.0, 1.0]))), "case": "p1"}
    trainer = Tiny(tmp_path).trainer
    ReconstructionPictures(FakeAutoencoder(), [item], tmp_path, channel_names=names)._draw(trainer)
    (figure,) = figures
    found = shown(figure)
    rows = [found[start : start + 3] for start in range(0, 18, 3)]
    labels = [row[0].name.split("\n") for row in rows]
    assert [name for name, _ in labels] == [*names, "flair", "flair"]
    assert [plane.split(",")[0] for _, plane in labels] == [*["axial"] * 4, "coronal", "sagittal"]
    rows = rows[:4]
    assert figure.get_suptitle().startswith("p1, epoch 0, ")
    for channel, row in zip(image.numpy(), rows, strict=True):
        original, masked, filled = (panel.pixels() for panel in row)
        assert np.abs(channel - original.max()).min() < 1e-6  # a plane of this channel
        hidden = np.ma.getmaskarray(masked)
        assert 0 < hidden.sum() < hidden.size
        assert (filled[hidden] == 0).all()
        np.testing.assert_array_equal(filled[~hidden], original[~hidden])
        low, high = row[0].images[0].get_clim()
        assert low < original.mean() < high <= channel.max()  # a window of its own
    with pytest.raises(InputError, match=r"channel_names has 2 names; the images have 4 channels"):
        ReconstructionPictures(FakeAutoencoder(), [item], tmp_path, channel_names=names[:2])._draw(trainer)


def test_channels_without_names_are_numbered_and_colour_pictures_show_one(tmp_path, monkeypatch):
    figures = drawn_figures(monkeypatch)
    trainer = Tiny(tmp_path).trainer
    ReconstructionPictures(FakeAutoencoder(), [{"image": head(2), "case": "a"}], tmp_path)._draw(trainer)
    labels = [panel.name.split("\n")[0] for panel in shown(figures[0]) if panel.name]
    assert labels == ["channel 0", "channel 1", "channel 0", "channel 0"]
    flat = [{"image": head(3)[..., 0], "case": "rgb"}]
    ReconstructionPictures(FakeAutoencoder(2), flat, tmp_path / "flat")._draw(trainer)
    assert len(shown(figures[1])) == 3
    assert not any(panel.name for panel in shown(figures[1]))


def test_the_autoencoder_of_four_sequences_can_be_drawn(tmp_path):
    torch.manual_seed(0)
    network = on_vit(
        MaskedAutoencoder, 4, 16, 8, hidden_size=24, mlp_dim=24, num_layers=1, num_heads=2, decoder_size=24,
        decoder_layers=1, decoder_heads=2, norm_pix_per_channel=True,
    )  # fmt: skip
    pictures = ReconstructionPictures(network, [{"image": head(), "case": "a"}], tmp_path / "pictures")
    pictures._draw(Tiny(tmp_path).trainer)
    with Image.open(tmp_path / "pictures" / "epoch_00000_0_a.png") as png:
        assert png.size[1] > png.size[0]  # four rows of three panels


def test_each_image_is_drawn_at_another_mask_ratio_too(tmp_path, monkeypatch):
    """A volume pre-trained with an eighth hidden shows little; the paper shows three quarters."""
    titles = []
    monkeypatch.setattr(
        reconstruction, "reconstruction_figure", lambda *args, **options: titles.append((args, options))
    )
    network = on_vit(
        MaskedAutoencoder, 1, 32, 8, hidden_size=24, mlp_dim=24, num_layers=1, num_heads=2, decoder_size=24,
        decoder_layers=1, decoder_heads=2, mask_ratio=0.125, norm_pix_loss=False,
    )  # fmt: skip
    item = {"image": torch.rand(1, 32, 32, 32), "case": "a"}
    ReconstructionPictures(network, [item], tmp_path, mask_ratio=0.75)._draw(Tiny(tmp_path).trainer)
    assert [args[1].mean() for args, _ in titles] == [0.125, 0.75]
    assert [args[3].name for args, _ in titles] == ["epoch_00000_0_a.png", "epoch_00000_0_a_mask75.png"]
    assert titles[1][1]["title"] == "a, epoch 0, 75 % hidden"
    assert network.mask_ratio == 0.125
    with pytest.raises(InputError, match=r"picture_mask_ratio is 75; it must be above 0 and below 1"):
        ReconstructionPictures(network, [item], tmp_path, mask_ratio=75)


class TwoClasses(nn.Module):
    def forward(self, image):
        return torch.cat([0.5 - image, image - 0.5], dim=1)


def validation_items():
    affine = torch.diag(torch.tensor([1.0, 1.0, 2.5, 1.0]))
    images = [torch.rand(1, 8, 9, 10) for _ in range(3)]
    return [
        {"image": MetaTensor(image, affine=affine), "label": (image > 0.4).long(), "case": f"c{i}"}
        for i, image in enumerate(images)
    ]


def overlay_evaluator(handler, decollate=True):
    return SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=torch.utils.data.DataLoader(validation_items(), batch_size=1),
        network=TwoClasses(),
        val_handlers=[handler],
        decollate=decollate,
    )


def test_overlays_of_the_first_cases_at_the_interval(tmp_path):
    engine = overlay_evaluator(OverlayPictures(tmp_path, ["background", "organ"], cases=2, interval=2))
    for epoch in (1, 2, 3, 4):
        engine.run(epoch)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f"epoch_0000{epoch}_c{i}.png" for epoch in (2, 4) for i in (0, 1)]


@pytest.mark.parametrize("scores", [[0.9, 0.1, 0.5, 0.2, 0.95, 0.3], [0.5] * 3, [0.1], [0.3, None, 0.2, 0.8, 0.7]])
def test_where_cases_are_scored_the_worst_and_the_best_are_drawn(tmp_path, scores):
    pictures = OverlayPictures(tmp_path, ["background", "organ"], cases=3)
    for number, score in enumerate(scores):
        path = pictures._takes(tmp_path / f"{number}", score)
        if path is not None:
            path.touch()
    order = sorted(score for score in scores if score is not None)
    drawn = sorted(scores[int(path.name)] for path in tmp_path.iterdir())
    assert drawn == (order if len(order) <= 3 else [*order[:2], order[-1]])


def test_maps_of_every_case_are_kept_beside_the_pictures_of_the_first(tmp_path):
    overlay_evaluator(OverlayPictures(tmp_path, ["background", "organ"], cases=1, epochs=False, keep=True)).run()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c0.png", "maps"]
    assert sorted(path.name for path in (tmp_path / "maps").iterdir()) == ["c0.npz", "c1.npz", "c2.npz"]
    with np.load(tmp_path / "maps" / "c2.npz") as kept:
        assert kept["label"].shape == kept["prediction"].shape == kept["image"].shape == (8, 9, 10)
        assert kept["spacing"].tolist() == [1.0, 1.0, 2.5]
        assert 0 < (kept["label"] != kept["prediction"]).mean() < 0.2  # thresholds of 0.4 and 0.5


def test_class_maps_and_the_spacing_reach_the_figure(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(overlays, "overlay_figure", lambda *args, **options: drawn.append((args, options)))
    overlay_evaluator(OverlayPictures(tmp_path, ["background", "organ"], cases=1)).run()
    (image, label, path, names), options = drawn[0]
    assert (image.shape, label.shape, options["prediction"].shape) == ((8, 9, 10),) * 3
    assert np.array_equal(label, image > 0.4)
    assert np.array_equal(options["prediction"], image > 0.5)
    assert options["spacing"] == [1.0, 1.0, 2.5]
    assert (path.name, names) == ("epoch_00001_c0.png", ["background", "organ"])


def test_the_sequence_shown_can_be_chosen_and_tissues_have_their_names(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(overlays, "overlay_figure", lambda *args, **options: drawn.append((args, options)))
    item = {"image": head(), "label": torch.randint(0, 4, (1, 16, 16, 16)).byte(), "case": "a"}
    handler = OverlayPictures(tmp_path, TISSUES, channel=2, pred_key="label")
    handler._picture(item, {"label": item["label"]}, tmp_path / "a.png", "a")
    (image, label, path, names), _ = drawn[0]
    assert np.array_equal(image, item["image"][2])
    assert np.array_equal(label, item["label"][0])
    assert (path.name, names) == ("a.png", list(TISSUES))


def test_overlays_can_be_switched_off_and_need_lists(tmp_path):
    overlay_evaluator(OverlayPictures(tmp_path, ["a", "b"], interval=0)).run()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(TypeError, match="decollate"):
        overlay_evaluator(OverlayPictures(tmp_path, ["a", "b"]), decollate=False).run()


def test_titles_say_what_is_shown_and_nothing_else(tmp_path, monkeypatch):
    titles = []
    for module, name in ((overlays, "overlay_figure"), (reconstruction, "reconstruction_figure")):
        monkeypatch.setattr(module, name, lambda *args, **options: titles.append(options["title"]))
    evaluation = OverlayPictures(tmp_path, ["background", "organ"], cases=1, epochs=False)
    overlay_evaluator(evaluation).run()
    overlay_evaluator(OverlayPictures(tmp_path, ["background", "organ"], cases=1)).run(3)
    network = FakeAutoencoder()
    trainer = Tiny(tmp_path).trainer
    ReconstructionPictures(network, cases(count=1), tmp_path)._draw(trainer)
    network.norm_pix_loss = True
    ReconstructionPictures(network, cases(count=1), tmp_path)._draw(trainer)
    assert titles[:2] == ["c0", "c0, epoch 3"]
    assert re.fullmatch(r"case/0, epoch 0, [\d.]+ % hidden", titles[2])
    assert re.match(r"case/0, epoch 0, [\d.]+ % hidden\n", titles[3])
    assert "mean and spread are the original's" in titles[3]


def test_pictures_of_an_evaluation_are_named_by_case_alone(tmp_path):
    overlay_evaluator(OverlayPictures(tmp_path, ["background", "organ"], cases=1, epochs=False)).run()
    assert [path.name for path in tmp_path.iterdir()] == ["c0.png"]

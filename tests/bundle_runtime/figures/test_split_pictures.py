from pathlib import Path

import numpy as np
import pytest
from attention_training import Training
from bundle_runtime.figures.split_pictures import SplitPictures, split_figure
from custom_components.augment import Normalise, Pipeline, Resize
from PIL import Image
from shown_panels import shown


def test_one_picture_a_refresh(tmp_path: Path) -> None:
    """The pictures of reconstructions show the uniform mask of the warm-up only."""
    training = Training(tmp_path / "run")
    pipeline = Pipeline([Resize(32), Normalise(0.5, 0.25)])
    drawn = SplitPictures(
        training.maps, training.refresh.dataset, pipeline, (0.45, 0.3), tmp_path / "pictures", count=2,
        pixels={"mean": 0.5, "std": 0.25},
    )  # fmt: skip
    drawn.attach(training.trainer)
    training.run()
    names = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert names == ["attention_epoch_00003.png", "attention_epoch_00005.png"]
    assert Training(tmp_path / "without").run().result() == training.result()


def test_the_split_is_that_of_the_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import bundle_runtime.figures.split_pictures as module

    training = Training(tmp_path)
    given: list[tuple[np.ndarray, ...]] = []
    monkeypatch.setattr(module, "split_figure", lambda *arguments: given.append(arguments))
    pictures = SplitPictures(training.maps, training.refresh.dataset, Pipeline([Resize(32)]), (0.45, 0.3), tmp_path)
    training.maps.values[:] = 1e-9
    training.maps.values[:, :2] = 1  # the upper half of 4 x 4 patches: 7 are masked, 5 thrown away, 4 visible
    training.maps.epoch = 1
    pictures._draw(training.trainer)
    assert not given  # the maps are not of this epoch
    training.maps.epoch = training.trainer.state.epoch
    pictures._draw(training.trainer)
    images, maps, parts, names = given[0][:4]
    assert names == ["0", "4", "9"]
    assert [(parts == part).sum() for part in (1, 2, 0)] == [3 * 7, 3 * 5, 3 * 4]
    assert (parts[:, :2] == 1).sum() == 3 * 7
    assert (parts[:, 2:] == 0).sum() == 3 * 4
    assert maps.shape == (3, 4, 4)
    assert images[1].shape == (32, 32, 3)


def test_the_figure(tmp_path: Path) -> None:
    parts = np.array([[[0, 1], [2, 2]]])
    figure = split_figure([np.zeros((16, 16, 3))], np.eye(2)[None], parts, ["case"], tmp_path / "a.png", "title")
    panels = shown(figure)
    assert [panel.title for panel in panels][::2] == ["case", "1 masked, 2 thrown, 1 visible"]
    tints = panels[2].pixels(1)
    assert tints[0, 0, 3] == 0
    assert (tints[1, 0] == tints[1, 1]).all()
    assert (tints[0, 1] != tints[1, 1]).any()
    (legend,) = figure.legends
    assert [text.get_text().partition(":")[0] for text in legend.get_texts()] == ["masked", "thrown away", "visible"]
    with Image.open(tmp_path / "a.png") as png:
        assert png.width > png.height

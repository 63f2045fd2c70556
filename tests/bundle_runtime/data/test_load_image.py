"""One picture for a tool is prepared as the lists of a run are."""

from pathlib import Path

import numpy as np
import pytest
import torch
from bundle_runtime.data.image_cache import ImageCache
from bundle_runtime.data.image_prepare import Recipe
from bundle_runtime.data.load_image import LoadImagePictured, PreparePictured
from custom_components.augment import CentreCrop, Normalise, Pipeline
from custom_components.errors import InputError
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged
from PIL import Image

RECIPE = Recipe(size=20, channels=1)


def steps() -> Pipeline:
    return Pipeline([CentreCrop(16), Normalise([0.5], [0.25])])


def transform() -> Compose:
    return Compose(
        [LoadImagePictured("image"), EnsureChannelFirstd("image"), PreparePictured("image", RECIPE, steps())]
    )


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    values = np.random.default_rng(0).integers(0, 256, (40, 30), dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def test_equals_what_a_run_shows_its_network(picture: Path, tmp_path: Path) -> None:
    item = {"image": str(picture), "file": str(picture), "case": "a", "patient_id": "a"}
    cache = ImageCache([item], tmp_path / "cache", RECIPE, progress=False)
    assert torch.equal(transform()(item)["image"].as_tensor(), steps()(cache.rows([0]))[0])


def test_a_series_of_one_image_comes_with_its_axes_turned(picture: Path) -> None:
    pixels = np.asarray(Image.open(picture))
    expected = transform()({"image": str(picture)})["image"]
    prepare = PreparePictured("image", RECIPE, steps())
    series = torch.from_numpy(pixels.T.copy())[None, ..., None]
    assert torch.equal(prepare({"image": series})["image"], expected)
    wide = series.to(torch.int32) * 16 - 1000  # a linear change of 12 bits is taken back, up to the percentiles
    assert (prepare({"image": wide})["image"] - expected).abs().mean() < 0.05


def test_label_and_deploy_know_the_loader() -> None:
    loader = LoadImagePictured("image")
    assert isinstance(loader, LoadImaged)
    assert "LoadImage" in type(loader).__name__
    loader._loader.image_only = False  # what MONAI Label sets


def test_a_file_that_is_no_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no picture")
    with pytest.raises(InputError, match=r"a\.png"):
        LoadImagePictured("image")({"image": str(tmp_path / "a.png")})

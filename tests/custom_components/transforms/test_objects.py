"""Objects of a prediction, and the files that hold them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from bundle_runtime.data.save_masks import SaveImageMasksd
from custom_components.errors import InputError
from custom_components.transforms.objects import SplitInstancesd
from PIL import Image


def test_objects_are_written_beside_the_classes(tmp_path: Path) -> None:
    classes = torch.zeros(1, 12, 30)
    classes[:, 2:6, 2:6], classes[:, 2:8, 10:20] = 1, 2
    item = SplitInstancesd("components", min_size=4)({"pred": classes, "case": "a"})
    SaveImageMasksd(str(tmp_path))(item)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a_classes.png")), classes[0].numpy())
    objects = Image.open(tmp_path / "a_instances.png")
    assert objects.mode.startswith("I;16")
    assert np.unique(np.asarray(objects)).tolist() == [0, 1, 2]


def test_a_long_name_is_shortened_alike_in_both(tmp_path: Path) -> None:
    SaveImageMasksd(str(tmp_path))(
        {"pred": torch.ones(1, 4, 4), "pred_instances": torch.ones(1, 4, 4), "case": "ü" * 150}
    )
    classes, instances = sorted(path.name for path in tmp_path.iterdir())
    assert classes.removesuffix("classes.png") == instances.removesuffix("instances.png")
    assert classes.startswith("ü" * 90)


def test_without_objects_only_classes_are_written(tmp_path: Path) -> None:
    SaveImageMasksd(str(tmp_path), instances=False)({"pred": torch.ones(1, 4, 4), "case": "a"})
    assert [path.name for path in tmp_path.iterdir()] == ["a_classes.png"]


def test_more_objects_than_16_bits_number_are_refused(tmp_path: Path) -> None:
    objects = torch.full((1, 2, 2), 70000)
    with pytest.raises(InputError, match="70000 objects"):
        SaveImageMasksd(str(tmp_path))({"pred": torch.ones(1, 2, 2), "pred_instances": objects, "case": "a"})


def test_the_split_is_said_in_words() -> None:
    assert "watershed" in SplitInstancesd("watershed", 20, 5).describe()
    assert SplitInstancesd("components").describe() == (
        "connected components, corners connect; fewer than 1 px left out"
    )

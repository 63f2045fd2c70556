"""What `image_cache.ImageCache` does with pictures that cannot be used, where a run lists what failed."""

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundle_runtime.data import image_blocks
from bundle_runtime.data.image_cache import ImageCache
from bundle_runtime.data.image_file import read_picture
from bundle_runtime.data.image_prepare import Recipe
from bundle_runtime.data.inference import EvaluatedCases
from custom_components.errors import InputError
from picture_files import png, shades

Item = dict[str, Any]
RECIPE = Recipe(16)


@pytest.fixture
def items(tmp_path: Path) -> list[Item]:
    names = [f"p{k:03d}" for k in range(10)]
    paths = [
        str(png(tmp_path / "data" / f"{name}.png", shades(30 + k % 7, 40, seed=k))) for k, name in enumerate(names)
    ]
    return [{"image": path, "file": path, "case": name} for path, name in zip(paths, names, strict=True)]


def build(items: list[Item], folder: Path, **arguments: Any) -> ImageCache:
    return ImageCache(items, folder, RECIPE, progress=False, **arguments)


def spoil(items: list[Item], *positions: int) -> None:
    for position in positions:
        path = Path(items[position]["image"])
        path.write_bytes(path.read_bytes()[:150])


def test_an_evaluation_lists_what_it_cannot_use(tmp_path: Path, items: list[Item]) -> None:
    spoil(items, 2, 7)
    png(Path(items[3]["image"]), np.full((33, 40), 9, np.uint8))
    inputs = EvaluatedCases(output_dir=tmp_path / "out")
    cache = build(items, tmp_path / "c", inputs=inputs)
    assert [item["case"] for item in cache.items] == [f"p{k:03d}" for k in range(10) if k not in (2, 7)]
    assert [item["warning"] for item in cache.items][2:4] == ["all its pixels are equal", ""]
    assert [problem.case for problem in inputs.problems] == ["p002", "p007"]
    with pytest.raises(InputError, match=r"^2 of 10 cases could not be used: .*p002\.png: is truncated"):
        inputs.finish()
    spoil(items, 5)
    with pytest.raises(InputError, match=r"^3 of 11 cases could not be used: "):  # none of the second list is left
        build(items[5:6], tmp_path / "c", inputs=inputs)


def test_a_process_that_dies_over_a_picture_costs_that_alone(
    tmp_path: Path, items: list[Item], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = read_picture

    def read(file: str, *arguments: Any) -> Any:
        if file.endswith("p004.png"):
            os.kill(os.getpid(), signal.SIGKILL)
        return original(file, *arguments)

    monkeypatch.setattr(image_blocks, "read_picture", read)  # of the processes that are forked here
    cache = build(items, tmp_path / "c", num_workers=1, skip_unreadable=True)
    assert [Path(reject.file).name for reject in cache.rejects] == ["p004.png"]
    assert cache.rejects[0].reason.startswith("A loader process was killed, most likely because memory ran out")
    others = [item for k, item in enumerate(items) if k != 4]
    np.testing.assert_array_equal(
        cache.rows(range(9)), np.stack([RECIPE.apply(read_picture(item["image"]).pixels) for item in others])
    )

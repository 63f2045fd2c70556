"""Small seeded images for the golden runs, drawn without a line of the project: they must not change with it.

Each function fills a folder and writes its datalist by hand.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from PIL import Image

ORGANS = ["background", "liver", "spleen", "aorta"]
FINDINGS = ["disc", "bar", "haze"]
TISSUES = ["normal", "tumour", "stroma"]
LESIONS = ["dots", "lines", "plain"]
_SEQUENCES = ["flair", "t1", "t1ce", "t2"]
# Intensity of brain, oedema, core and enhancing rim.
_LOOKS = {"flair": (90, 210, 160, 190), "t1": (100, 80, 60, 90), "t1ce": (100, 85, 60, 250), "t2": (95, 180, 200, 150)}
_GLASS, _PINK, _VIOLET = (243, 241, 244), (225, 150, 195), (110, 50, 140)


def abdomens(folder: Path) -> None:
    """CT volumes in Hounsfield units, of different grids and orientations; in one of them the spleen is not drawn."""
    rng = np.random.default_rng(1)
    items = []
    for number in range(9):
        zooms = (8.0, 8.0, 9.0) if number % 2 else (9.0, 9.0, 7.0)
        grid = _grid((30 + number % 3, 26, 24), zooms)
        body = _ball(grid, (0, 0, 0), (110, 85, 400))
        hounsfield = np.where(body, 20.0, -1000.0)
        labels = np.zeros(body.shape, np.uint8)
        for value, (centre, radii, level) in enumerate(
            (((45, 5, 10), (38, 34, 40), 110), ((-55, -15, 5), (24, 24, 30), 60), ((0, -40, 0), (13, 13, 400), 190)), 1
        ):
            shape = _ball(grid, np.array(centre) + rng.uniform(-6, 6, 3), np.array(radii) * rng.uniform(0.9, 1.1, 3))
            hounsfield[shape & body], labels[shape & body] = level, value
        hounsfield += rng.normal(0, 15, body.shape)
        missing = {"unlabelled": ["spleen"]} if number == 2 else {}
        if missing:
            labels[labels == 2] = 0
        flips = (-1, -1, 1) if number % 3 == 1 else (1, 1, 1)
        names = [f"images/ct{number}.nii.gz", f"labels/ct{number}.nii.gz"]
        for name, values in zip(names, (np.rint(hounsfield).astype(np.int16), labels), strict=True):
            _nifti(folder / name, values, zooms, flips)
        items.append({"image": names[0], "label": names[1], "patient_id": f"p{number}", **missing})
    _datalist(folder, items, (5, 2, 2), class_names=ORGANS, modality="CT")


def heads(folder: Path) -> None:
    """Heads without skull in four sequences, with nested tumour labels in BraTS 2018's values 2, 4, 1."""
    rng = np.random.default_rng(2)
    zooms = (6.0, 6.0, 7.0)
    items = []
    for number in range(7):
        grid = _grid((28, 32, 24), zooms)
        brain = _ball(grid, (0, 0, 0), np.array((68, 82, 64)) * rng.uniform(0.9, 1.0, 3))
        centre = np.array((rng.choice((-25, 25)), rng.uniform(-20, 20), rng.uniform(-10, 20)))
        codes = np.zeros(brain.shape, np.uint8)
        for value, radius in ((1, 34), (3, 25), (2, 16)):
            codes[_ball(grid, centre, (radius,) * 3) & brain] = value
        images = []
        for name in _SEQUENCES:
            values = np.array(_LOOKS[name])[codes] * rng.uniform(0.9, 1.1) + rng.normal(0, 6, brain.shape)
            images.append(f"h{number}/h{number}_{name}.nii.gz")
            _nifti(folder / images[-1], np.where(brain, values.clip(1), 0).astype(np.int16), zooms)
        label = f"h{number}/h{number}_seg.nii.gz"
        _nifti(folder / label, np.array((0, 2, 1, 4), np.uint8)[codes], zooms)
        items.append({"image": images, "label": label, "patient_id": f"h{number}"})
    _datalist(folder, items, (4, 1, 2), modality="MRI", sequences=_SEQUENCES, label_convention="brats2018")


def radiographs(folder: Path) -> None:
    """Grey pictures with none to three findings, some of them unknown; one of 16 bits, two of a patient."""
    rng = np.random.default_rng(3)
    items = []
    rows, columns = np.indices((60, 52)) / 60
    for number in range(44):
        found = rng.random(3) < 0.4
        pixels = 90 + 60 * np.cos(5 * columns) + 20 * rows + rng.normal(0, 10, rows.shape)
        pixels += 70 * found[0] * ((rows - rng.uniform(0.2, 0.4)) ** 2 + (columns - 0.3) ** 2 < 0.012)
        pixels += 60 * found[1] * (abs(rows - rng.uniform(0.6, 0.8)) < 0.05)
        pixels += 50 * found[2] * (columns > 0.55)
        picture = pixels.clip(0, 255).astype(np.uint8)
        name = f"images/x{number}.png"
        _picture(folder / name, picture.astype(np.uint16) * 200 if number == 5 else picture)
        label: list[int | None] = [int(value) for value in found]
        if number % 7 == 3:
            label[number % 3] = None
        items.append({"image": name, "label": label, "patient_id": f"p{number // 2}"})
    _datalist(folder, items, (24, 8, 12), task="multi_label", class_names=FINDINGS, modality="X-ray")


def tiles(folder: Path) -> None:
    """H&E-like tiles in a folder a class, of 0.5 micrometres a pixel."""
    rng = np.random.default_rng(4)
    draw: dict[str, Callable[[], np.ndarray]] = {
        "normal": lambda: _stained(rng, 48, 0.05),
        "tumour": lambda: _stained(rng, 48, 0.6),
        "stroma": lambda: _stained(rng, 48, 0.0) + np.array((-20, 20, -20)) * _stripes(48),
    }
    items = _classes(folder, draw, TISSUES, 14, (24, 9, 9))
    _datalist(folder, items, (24, 9, 9), task="multi_class", class_names=TISSUES, modality="H&E", mpp=0.5)


def lesions(folder: Path) -> None:
    """RGB pictures of three grades, not square."""
    rng = np.random.default_rng(5)

    def noise() -> np.ndarray:
        return rng.integers(60, 120, (40, 44, 3)).astype(float)

    def dots() -> np.ndarray:
        pixels, (row, column) = noise(), rng.integers(4, 30, 2)
        pixels[row : row + 7, column : column + 7] = (220, 40, 40)
        return pixels

    def lines() -> np.ndarray:
        pixels, column = noise(), rng.integers(4, 38)
        pixels[:, column : column + 3] = (40, 40, 220)
        return pixels

    items = _classes(folder, {"dots": dots, "lines": lines, "plain": noise}, LESIONS, 12, (18, 9, 9))
    _datalist(folder, items, (18, 9, 9), task="multi_class", class_names=LESIONS, ordered=True)


def nuclei(folder: Path) -> None:
    """Pink tiles of two sizes with violet discs, some touching, and 16-bit masks of instances."""
    _masked(folder, 6, "nucleus", mask_kind="instance")


def lesion_masks(folder: Path) -> None:
    """The same with masks of two classes."""
    _masked(folder, 7, "lesion", mask_kind="classes")


def slides(folder: Path) -> None:
    """A pyramid of 0.5 micrometres a pixel with two violet fields on pink tissue, and their outlines."""
    import tifffile  # only this one needs it

    rng = np.random.default_rng(8)
    side, boxes = 512, ((120, 130, 90), (290, 270, 110))
    pixels = np.empty((side, side, 3), float)
    pixels[:] = _GLASS
    pixels[64:448, 64:448] = _stained(rng, 384, 0.05)
    for top, left, size in boxes:
        pixels[top : top + size, left : left + size] = _stained(rng, size, 0.6)
    picture = (pixels + rng.normal(0, 2, pixels.shape)).clip(0, 255).astype(np.uint8)
    folder.mkdir(parents=True, exist_ok=True)
    with tifffile.TiffWriter(folder / "slide.tif") as writer:
        for step in (1, 4):
            level = picture.reshape(side // step, step, side // step, step, 3).mean((1, 3)).astype(np.uint8)
            per_cm = 1e4 / (0.5 * step)
            writer.write(
                level, subfiletype=0 if step == 1 else 1, tile=(128, 128), photometric="rgb", compression="zlib",
                metadata=None, resolution=(per_cm, per_cm), resolutionunit="CENTIMETER",
            )  # fmt: skip
    features = [
        {
            "type": "Feature",
            "geometry": {
                "type": "Polygon",
                "coordinates": [[[x, y], [x + size, y], [x + size, y + size], [x, y + size], [x, y]]],
            },
            "properties": {"objectType": "annotation", "classification": {"name": "tumour"}},
        }
        for y, x, size in boxes
    ]
    (folder / "slide.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))


def _grid(shape: tuple[int, int, int], zooms: Sequence[float]) -> np.ndarray:
    """Millimetres from the middle, (3, X, Y, Z)."""
    axes = [(np.arange(size) - (size - 1) / 2) * zoom for size, zoom in zip(shape, zooms, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"))


def _ball(grid: np.ndarray, centre: Any, radii: Any) -> np.ndarray:
    """Where an ellipsoid is, bool (X, Y, Z)."""
    centre, radii = (np.asarray(values, float).reshape(3, 1, 1, 1) for values in (centre, radii))
    return (((grid - centre) / radii) ** 2).sum(0) < 1


def _nifti(path: Path, values: np.ndarray, zooms: Sequence[float], flips: Sequence[int] = (1, 1, 1)) -> None:
    """Write a volume; axes with -1 are stored from the other end, and lie where they lay."""
    affine = np.diag([*zooms, 1.0])
    for axis, sign in enumerate(flips):
        if sign < 0:
            values = np.flip(values, axis)
            affine[axis, 3] = affine[axis, axis] * (values.shape[axis] - 1)
            affine[axis, axis] *= -1
    image = nib.Nifti1Image(values, affine)
    image.set_qform(affine, code=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)


def _picture(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def _stained(rng: np.random.Generator, side: int, density: float) -> np.ndarray:
    """Pink with violet nuclei, float (side, side, 3); the density is their share of 8-pixel squares."""
    pixels = np.empty((side, side, 3), float)
    pixels[:] = np.array(_PINK) + rng.normal(0, 6, 3)
    for top in range(0, side - 7, 8):
        for left in range(0, side - 7, 8):
            if rng.random() < density:
                pixels[top + 1 : top + 7, left + 1 : left + 7] = _VIOLET
    return pixels + rng.normal(0, 6, pixels.shape)


def _stripes(side: int) -> np.ndarray:
    """0 and 1 in diagonal stripes, (side, side, 1)."""
    rows, columns = np.indices((side, side))
    return ((rows + columns) // 5 % 2)[..., None]


def _classes(
    folder: Path,
    draw: dict[str, Callable[[], np.ndarray]],
    names: Sequence[str],
    count: int,
    sizes: tuple[int, int, int],
) -> list[dict[str, Any]]:
    """`count` pictures of each class, in turn, so that each list has all classes; two of a class are of one patient."""
    assert sum(sizes) == count * len(names)
    items = []
    for number in range(count):
        for label, name in enumerate(names):
            file = f"{name}/{number}.png"
            _picture(folder / file, draw[name]().clip(0, 255).astype(np.uint8))
            section = sum(number * len(names) >= end for end in np.cumsum(sizes[:2]))
            items.append({"image": file, "label": label, "patient_id": f"{name}{section}_{number // 2}"})
    return items


def _masked(folder: Path, seed: int, name: str, mask_kind: str) -> None:
    rng = np.random.default_rng(seed)
    items = []
    for number in range(11):
        side = 64 if number % 3 == 0 else 48
        rows, columns = np.indices((side, side))
        objects = np.zeros((side, side), np.uint16)
        for index in range(1, 7):
            row, column = rng.integers(0, side, 2)
            objects[(rows - row) ** 2 + (columns - column) ** 2 < rng.integers(4, 9) ** 2] = 250 + index
        pixels = np.where(objects[..., None] > 0, _VIOLET, _PINK) + rng.normal(0, 8, (side, side, 3))
        mask = objects if mask_kind == "instance" else (objects > 0).astype(np.uint8)
        item = {"image": f"images/t{number}.png", "label": f"masks/t{number}.png", "patient_id": f"p{number}"}
        _picture(folder / item["image"], pixels.clip(0, 255).astype(np.uint8))
        _picture(folder / item["label"], mask)
        items.append(item)
    _datalist(folder, items, (6, 2, 3), class_names=["background", name], mask_kind=mask_kind)


def _datalist(folder: Path, items: list[dict[str, Any]], sizes: tuple[int, int, int], **shared: Any) -> None:
    """Write `datalist.json` with the items in their order in the three lists."""
    assert sum(sizes) == len(items)
    first, second = np.cumsum(sizes[:2])
    lists = {"training": items[:first], "validation": items[first:second], "test": items[second:]}
    (folder / "datalist.json").write_text(json.dumps({**shared, **lists}))

"""Small skull-stripped heads with a nested tumour, one NIfTI file a sequence, for the tests of the checks."""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from bundle_runtime.data.body import coarse_picture
from bundle_runtime.data.conventions import Convention, convention
from custom_components.tumour_labels import TISSUES
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from nifti_files import save

SEQUENCES = ("flair", "t1", "t1ce", "t2")
REGION_NAMES = ["background", "TC", "WT", "ET"]
SHAPE = (32, 36, 30)
RAS = np.diag([2.0, 2, 3, 1])
FLIPS = [axes for count in range(1, 4) for axes in itertools.combinations(range(3), count)]
# Intensity of brain and of the tissue codes 1 to 3.
_LOOKS = {
    "flair": (100, 220, 180, 200),
    "t1": (100, 80, 60, 90),
    "t1ce": (100, 80, 60, 260),
    "t2": (100, 180, 200, 150),
}


def draw(seed: int = 0, tumour: bool = True) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Sequences (int16, background 0) and tissue codes (uint8) of a head in RAS, longer at the back and below."""
    rng = np.random.default_rng(seed)
    x, y, z = (np.arange(n) - (n - 1) / 2 for n in SHAPE)
    grid = np.stack(np.meshgrid(x, y, z, indexing="ij"))
    size = np.array([13.0, 16, 12]) * rng.uniform(0.92, 1.02, 3)
    along = grid[1] / size[1]
    brain = (grid[0] / (size[0] * (1 - 0.25 * along))) ** 2 + along**2 + (grid[2] / size[2]) ** 2 < 1
    stem = (grid[0] / 3) ** 2 + ((grid[1] + 5) / 3) ** 2 < 1
    brain |= stem & (grid[2] < 0) & (grid[2] > -14)
    centre = np.array([rng.choice([-4.0, 4]), rng.uniform(-3, 3), rng.uniform(0, 3)])
    far = np.linalg.norm(grid - centre[:, None, None, None], axis=0)
    codes = np.zeros(SHAPE, np.uint8)
    if tumour:
        for radius, tissue in ((7.5, "oedema"), (5.0, "enhancing tumour"), (3.5, "non-enhancing core")):
            codes[(far < radius) & brain] = TISSUES.index(tissue)
    images = {}
    for name in SEQUENCES:
        plain = np.array(_LOOKS[name])[codes] * rng.uniform(0.9, 1.1)
        images[name] = np.where(brain, np.maximum(plain + rng.normal(0, 6, SHAPE), 1), 0).astype(np.int16)
    return images, codes


def picture(volume: np.ndarray, affine: np.ndarray = RAS) -> np.ndarray:
    """The coarse picture of a volume that has a body in it."""
    found = coarse_picture(nib.Nifti1Image(volume, affine), volume)
    assert found is not None
    return found


def head(
    folder: Path,
    case: str = "p",
    rule: str | Convention = "brats2018",
    sequences: Sequence[str] = SEQUENCES,
    seed: int = 0,
    tumour: bool = True,
    axes: str = "RAS",
    stacked: bool = False,
    codes: np.ndarray | None = None,
) -> dict[str, Any]:
    """An item as `datalist.items` gives it, with its files written.

    Args:
        folder: where to.
        case: its name.
        rule: the convention of the label.
        sequences: those that it has, in this order.
        seed: of the anatomy.
        tumour: whether there is one.
        axes: how the voxels are stored.
        stacked: one 4-D file instead of one file a sequence.
        codes: other tissue codes than those drawn.
    """
    images, drawn = draw(seed, tumour)
    known = rule if isinstance(rule, Convention) else convention(rule)
    values = np.zeros(len(TISSUES), np.uint8)
    for value, tissue in known.tissues.items():
        values[TISSUES.index(tissue)] = value
    label = str(_stored(folder / f"{case}_seg.nii.gz", values[drawn if codes is None else codes], axes))
    if stacked:
        files = [str(_stored(folder / f"{case}.nii.gz", np.stack([images[name] for name in sequences], -1), axes))]
    else:
        files = [str(_stored(folder / f"{case}_{name}.nii.gz", images[name], axes)) for name in sequences]
    return {
        "image": files[0] if stacked else files,
        "label": label,
        "case": case,
        "file": files[0],
        "patient_id": case,
        "unlabelled": [],
        "sequences": list(sequences),
        "label_convention": known.to_text(),
    }


def head_list(folder: Path, class_names: list[str] | None = REGION_NAMES, **sections: list[dict[str, Any]]) -> Path:
    """Write a datalist of such items."""
    dropped = {"case", "file"}
    content: dict[str, Any] = {
        section: [{key: value for key, value in item.items() if key not in dropped} for item in items]
        for section, items in sections.items()
    }
    path = folder / "datalist.json"
    path.write_text(json.dumps(content if class_names is None else {**content, "class_names": class_names}))
    return path


def _stored(path: Path, data: np.ndarray, axes: str) -> Path:
    affine = np.diag([2.0, 2, 3, 1])
    turn = ornt_transform(io_orientation(affine), axcodes2ornt(axes))
    image = nib.Nifti1Image(data, affine).as_reoriented(turn)
    return save(path, np.asarray(image.dataobj), image.affine)

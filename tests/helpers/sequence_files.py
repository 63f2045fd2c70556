"""Small heads: one volume a sequence."""

from pathlib import Path

import nibabel as nib
import numpy as np

FOUR = ("flair", "t1", "t1ce", "t2")


def head(folder: Path, *names: str) -> Path:
    """Write one small volume a name."""
    for index, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        data = np.random.default_rng(index).uniform(1, 9, (6, 5, 4)).astype(np.float32)
        nib.save(nib.Nifti1Image(data, np.eye(4)), folder / name)
    return folder


def four(case: str, joint: str = "_", endings: tuple[str, ...] = FOUR) -> list[str]:
    return [f"{case}{joint}{ending}.nii.gz" for ending in endings]

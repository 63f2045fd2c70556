"""Labels of tumours that look wrong although their values are known: exchanged names, enhancement that is none."""

from collections.abc import Mapping

import numpy as np
from custom_components.tumour_labels import TISSUES

from .verify import Found

_OEDEMA, _CORE, _ENHANCING = (TISSUES.index(name) for name in ("oedema", "non-enhancing core", "enhancing tumour"))
_ENOUGH = 50  # voxels of a tissue, to judge it by its look or place
# Medians of T1ce minus T1, both z-scored. In two real heads the enhancing tumour lies 2.6 and 1.1 above the next
# tissue; where it has changed names with one of them, it lies as far below.
ENHANCED = 0.25
INSIDE_OUT = 0.2  # see `core_outside`: about -0.7 in real heads, 0.7 with two tissue names exchanged


def look_at_tissues(
    report: Found, label: str, rule: str, codes: np.ndarray, volumes: Mapping[str, np.ndarray]
) -> float | None:
    """Warn where the core lies outside its oedema, or the enhancing tumour does not look like one.

    Args:
        report: gets the problems.
        label: the file.
        rule: what its values mean, in words.
        codes: its tissue codes (X, Y, Z).
        volumes: sequence name -> voxels (X, Y, Z).

    Returns:
        What `core_outside` does.
    """
    outside, enhanced = core_outside(codes), enhancement(codes, volumes)
    if enhanced is not None and enhanced < ENHANCED:
        text = (
            "its enhancing tumour does not look enhanced: on T1ce it is not brighter than the rest of the tumour "
            f"by {ENHANCED} standard deviations (found {enhanced:.2g}); are label_convention and sequences right?"
        )
        report.add("warning", label, text)
    if outside is not None and outside > INSIDE_OUT:
        text = (
            f"read as {rule}, it has the non-enhancing core around the oedema, not inside it ({outside:+.2f}; about "
            f"-0.7 is usual, above {INSIDE_OUT} is not); is label_convention right for this case?"
        )
        report.add("warning", label, text)
    return outside


def enhancement(codes: np.ndarray, volumes: Mapping[str, np.ndarray]) -> float | None:
    """How much brighter the enhancing tumour is than the brightest other tissue, by medians of T1ce minus T1.

    Both sequences are z-scored over their non-zero voxels; without T1, T1ce alone is taken.

    Args:
        codes: tissue codes (X, Y, Z).
        volumes: sequence name -> voxels (X, Y, Z).

    Returns:
        A difference in standard deviations; None without T1ce, enhancing tumour or another tissue to compare it with.
    """
    if "t1ce" not in volumes:
        return None
    masks = {code: codes == code for code in (_OEDEMA, _CORE, _ENHANCING)}
    masks = {code: mask for code, mask in masks.items() if np.count_nonzero(mask) >= _ENOUGH}
    if _ENHANCING not in masks or len(masks) < 2:
        return None
    looks = {code: np.zeros(np.count_nonzero(mask)) for code, mask in masks.items()}
    for name, sign in (("t1ce", 1), ("t1", -1)):
        if name in volumes:
            volume = volumes[name]
            head = volume[volume != 0].astype(np.float32)
            if not head.size or not np.isfinite(head).all() or head.std() == 0:
                return None
            for code, mask in masks.items():
                looks[code] += sign * (volume[mask] - head.mean()) / head.std()
    medians = {code: float(np.median(look)) for code, look in looks.items()}
    enhancing = medians.pop(_ENHANCING)
    return enhancing - max(medians.values())


def core_outside(codes: np.ndarray) -> float | None:
    """How much more of the non-enhancing core's surface than of the oedema's faces what is no tumour.

    The oedema surrounds the core, so this is about -0.7 in real heads, and as much above 0 where the two names are
    exchanged: `msd` and `brats2023` give the values 1 and 2 opposite meanings, and no value tells.

    Args:
        codes: tissue codes (X, Y, Z).

    Returns:
        The difference of two shares, -1 to 1; None where either tissue has too few voxels.
    """
    where = np.nonzero(codes)
    if any(np.count_nonzero(codes == code) < _ENOUGH for code in (_OEDEMA, _CORE)):
        return None
    box = codes[tuple(slice(max(0, axis.min() - 1), axis.max() + 2) for axis in where)].astype(np.uint8)
    faces = np.zeros((len(TISSUES), len(TISSUES)))  # between neighbouring voxels of two codes, in both directions
    for axis in range(3):
        near, far = np.moveaxis(box, axis, 0)[:-1].ravel(), np.moveaxis(box, axis, 0)[1:].ravel()
        pairs = np.bincount(len(TISSUES) * near + far, minlength=len(TISSUES) ** 2).reshape(faces.shape)
        faces += pairs + pairs.T
    np.fill_diagonal(faces, 0)
    surface = faces.sum(axis=1)
    if surface[_OEDEMA] == 0 or surface[_CORE] == 0:
        return None
    return round(float(faces[_CORE, 0] / surface[_CORE] - faces[_OEDEMA, 0] / surface[_OEDEMA]), 3)

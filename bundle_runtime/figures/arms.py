"""Two segmentations of a case beside the reference and their errors, from maps that an evaluation kept."""

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from custom_components.errors import InputError
from matplotlib.figure import Figure

from ..files import file_name, short_name, write_atomically
from .panels import Cut, Montage, class_colour, grey_window, same_shape

# Colours that neither tissue has nor the first classes: the blue of the first class would be taken for an error.
ERRORS = {"missed": (0.9, 0.1, 0.1), "invented": (0.0, 0.9, 1.0), "another class": (1.0, 0.85, 0.0)}


@dataclass
class Maps:
    """One case of an evaluation: the image as it is looked at, reference and prediction.

    Attributes:
        image: uint8 (X, Y[, Z]) grey, in standard orientation, or a colour picture (X, Y, 3).
        label: uint8 (X, Y[, Z]) class indices.
        prediction: likewise.
        spacing: (axes,) voxel size.
    """

    image: np.ndarray
    label: np.ndarray
    prediction: np.ndarray
    spacing: np.ndarray

    def write(self, folder: Path, case: str) -> None:
        """Keep the maps as `<folder>/<case>.npz`; the image in the grey window of its picture."""
        stream = io.BytesIO()
        np.savez_compressed(stream, **asdict(self))
        write_atomically(_file(folder, case), stream.getvalue())

    @classmethod
    def read(cls, folder: str | Path, case: str) -> "Maps":
        """Read what `write` kept below an evaluation's folder.

        Raises:
            InputError: it kept none of this case.
        """
        file = _file(Path(folder) / "pictures" / "maps", case)
        if not file.is_file():
            raise InputError(f"{file} is not there; evaluate with --keep_maps true, which keeps what pictures show.")
        with np.load(file) as stored:
            return cls(**stored)


def _file(folder: Path, case: str) -> Path:
    return folder / f"{short_name(file_name(case))}.npz"


def unit_window(image: np.ndarray, label: np.ndarray) -> np.ndarray:
    """The image as 8 bits, from black to white of the grey window around the reference."""
    low, high = grey_window(image, label > 0 if label.any() else None)
    return np.clip(255 * (image - low) / (high - low), 0, 255).round().astype(np.uint8)


def arms_figure(
    cases: Sequence[tuple[str, Sequence[str], Maps, Maps]],
    names: Sequence[str],
    class_names: Sequence[str],
    path: str | Path,
) -> Figure:
    """Draw a row a case: reference, both predictions, the errors of both, in the slice that holds most errors.

    Args:
        cases: title of the row, what stands below each prediction, and the maps of both arms, of the same image.
        names: of the two arms.
        class_names: by class index; index 0 is the background.
        path: PNG file, written atomically.

    Raises:
        ValueError: the arms hold images of different sizes.
    """
    cuts = [_cut(a, b) for *_, a, b in cases]
    montage = Montage(
        [[cut.size(cut.axes[0])] * 5 for cut in cuts],
        titles=[("reference", *names, *(f"{name}: errors" for name in names))],
        names=["\n".join(filter(None, (row[0], cut.name(cut.axes[0])))) for row, cut in zip(cases, cuts, strict=True)],
        notes=[("", *told) for _, told, *_ in cases],
    )
    shown, coloured = set[int](), any(a.image.ndim > a.label.ndim for *_, a, _ in cases)
    for row, cut, (*_, a, b) in zip(montage.panels, cuts, cases, strict=True):
        axis = cut.axes[0]
        for panel in row:
            cut.show(panel, a.image, axis, (0, 255))
        for panel, classes in zip(row, (a.label, a.prediction, b.prediction), strict=False):
            shown |= cut.outline(panel, classes, axis, len(class_names), coloured)
        for panel, side in zip(row[3:], (a, b), strict=True):
            kinds = error_kinds(cut.plane(side.label, axis), cut.plane(side.prediction, axis))
            panel.tint([(mask, (*ERRORS[kind], 0.8)) for kind, mask in kinds.items()])
    possible = dict(list(ERRORS.items())[: 3 if len(class_names) > 2 else 2])
    return montage.save(path, {class_names[index]: class_colour(index, coloured) for index in sorted(shown)} | possible)


def _cut(a: Maps, b: Maps) -> Cut:
    """Through the planes of a case that hold most errors; without any, most of the reference."""
    grey = a.image[..., 0] if a.image.ndim > a.label.ndim else a.image
    shape = same_shape(image=grey, a=a.prediction, b=b.prediction)
    wrong = (a.prediction != a.label) | (b.prediction != a.label)
    wrong = wrong if wrong.any() else a.label > 0
    across = [wrong.sum(tuple(i for i in range(wrong.ndim) if i != axis)).argmax() for axis in range(wrong.ndim)]
    return Cut(shape, a.spacing.tolist(), [int(index) for index in across])


def error_kinds(label: np.ndarray, prediction: np.ndarray) -> dict[str, np.ndarray]:
    """Where a prediction is wrong, by the names of `ERRORS`: masks of the arrays' shape."""
    wrong = label != prediction
    there, called = label > 0, prediction > 0
    return dict(zip(ERRORS, (wrong & there & ~called, wrong & ~there, wrong & there & called), strict=True))

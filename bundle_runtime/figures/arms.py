"""Two segmentations of a case beside the reference and their errors, from maps that an evaluation kept."""

import io
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from custom_components.errors import InputError
from matplotlib.figure import Figure

from ..files import file_name, write_atomically
from .panels import WIDTH_INCHES, Cut, class_colour, grey_window, name_classes, panel_grid, same_shape, save_figure

# Colours that neither tissue has nor the first classes: the blue of the first class would be taken for an error.
ERRORS = {"missed": (0.9, 0.1, 0.1), "invented": (0.0, 0.9, 1.0), "another class": (1.0, 0.85, 0.0)}
_LETTER_INCHES = 0.075  # of a row's title


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
    return folder / f"{file_name(case)}.npz"


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
    widths, heights = zip(*(cut.size(cut.axes[0]) for cut in cuts), strict=True)
    figure, grid = panel_grid([max(widths)] * 5, heights, "", legend=True)
    letters = int(WIDTH_INCHES / (5 * max(widths)) * min(heights) / _LETTER_INCHES)
    shown, coloured = set[int](), any(a.image.ndim > a.label.ndim for *_, a, _ in cases)
    for row, cut, (title, told, a, b) in zip(grid, cuts, cases, strict=True):
        axis = cut.axes[0]
        for panel, classes in zip(row, (a.label, a.prediction, b.prediction, None, None), strict=True):
            cut.show(panel, a.image, axis, (0, 255))
            if classes is not None:
                shown |= cut.outline(panel, classes, axis, len(class_names), coloured)
        for panel, side in zip(row[3:], (a, b), strict=True):
            kinds = error_kinds(side.label, side.prediction)
            cut.tint(panel, [(mask, (*ERRORS[kind], 0.8)) for kind, mask in kinds.items()], axis)
        lines = [textwrap.fill(line, max(letters, 8)) for line in (*title.split("\n"), cut.name(axis)) if line]
        row[0].set_ylabel("\n".join(lines), fontsize=9)
        for panel, text in zip(row[1:3], told, strict=True):
            panel.set_xlabel(text, fontsize=9)
    for panel, title in zip(grid[0], ("reference", *names, *(f"{name}: errors" for name in names)), strict=True):
        panel.set_title(textwrap.fill(title, 24), fontsize=10)
    possible = dict(list(ERRORS.items())[: 3 if len(class_names) > 2 else 2])
    name_classes(figure, {class_names[index]: class_colour(index, coloured) for index in sorted(shown)} | possible)
    save_figure(figure, path)
    return figure


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

"""Two segmentations of a case beside the reference and their errors, from maps that an evaluation kept."""

import io
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from custom_components.errors import InputError

from ..files import write_atomically
from .panels import Cut, class_colour, grey_window, name_classes, panel_grid, same_shape, save_figure

ERRORS = {"missed": (0.9, 0.1, 0.1), "invented": (0.1, 0.45, 1.0), "another class": (1.0, 0.85, 0.0)}


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
    return folder / (re.sub(r"[^A-Za-z0-9._-]+", "_", case) + ".npz")


def unit_window(image: np.ndarray, label: np.ndarray) -> np.ndarray:
    """The image as 8 bits, from black to white of the grey window around the reference."""
    low, high = grey_window(image, label > 0 if label.any() else None)
    return np.clip(255 * (image - low) / (high - low), 0, 255).round().astype(np.uint8)


def arms_figure(
    cases: Sequence[tuple[str, Maps, Maps]], names: Sequence[str], class_names: Sequence[str], path: str | Path
) -> Figure:
    """Draw a row a case: reference, both predictions, the errors of both, in the slice that holds most errors.

    Args:
        cases: title of the row, and the maps of both arms, of the same image.
        names: of the two arms.
        class_names: by class index; index 0 is the background.
        path: PNG file, written atomically.

    Raises:
        ValueError: the arms hold images of different sizes.
    """
    cuts = []
    for _, a, b in cases:
        shape = same_shape(
            image=a.image[..., 0] if a.image.ndim > a.label.ndim else a.image, a=a.prediction, b=b.prediction
        )
        wrong = (a.prediction != a.label) | (b.prediction != a.label)
        wrong = wrong if wrong.any() else a.label > 0
        across = [wrong.sum(tuple(i for i in range(wrong.ndim) if i != axis)).argmax() for axis in range(wrong.ndim)]
        cuts.append(Cut(shape, a.spacing.tolist(), [int(index) for index in across]))
    sizes = [cut.size(cut.axes[0]) for cut in cuts]
    titles = ("reference", *names, *(f"errors of {name}" for name in names))
    figure, grid = panel_grid([max(w for w, _ in sizes)] * 5, [h for _, h in sizes], "", legend=True)
    shown: set[int] = set()
    for row, cut, (title, a, b) in zip(grid, cuts, cases, strict=True):
        axis = cut.axes[0]
        for panel, classes in zip(row, (a.label, a.prediction, b.prediction, None, None), strict=True):
            cut.show(panel, a.image, axis, (0, 255))
            if classes is not None:
                shown |= cut.outline(panel, classes, axis, len(class_names))
        for panel, side in zip(row[3:], (a, b), strict=True):
            kinds = error_kinds(side.label, side.prediction)
            cut.tint(panel, [(mask, (*ERRORS[kind], 0.8)) for kind, mask in kinds.items()], axis)
        row[0].set_ylabel(f"{title}\n{cut.name(axis)}".strip(), fontsize=9)
    for panel, title in zip(grid[0], titles, strict=True):
        panel.set_title(title, fontsize=10)
    name_classes(figure, {class_names[index]: class_colour(index) for index in sorted(shown)} | ERRORS)
    save_figure(figure, path)
    return figure


def error_kinds(label: np.ndarray, prediction: np.ndarray) -> dict[str, np.ndarray]:
    """Where a prediction is wrong, by the names of `ERRORS`: masks of the arrays' shape."""
    wrong = label != prediction
    there, called = label > 0, prediction > 0
    return dict(zip(ERRORS, (wrong & there & ~called, wrong & ~there, wrong & there & called), strict=True))

"""What stands where in the figure of a `Montage`, read off its Axes."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.transforms import Bbox


@dataclass
class Shown:
    """A panel: its images from the lowest on, its place in inches, and the words at it."""

    images: list[AxesImage]
    box: Bbox
    title: str
    name: str
    note: str
    letters: str  # left, right, top, bottom

    def pixels(self, number: int = 0) -> np.ndarray:
        array = self.images[number].get_array()
        assert array is not None
        return array


def shown(figure: Figure) -> list[Shown]:
    """The panels, row by row."""
    (axes,) = figure.axes
    places: dict[tuple[float, ...], list[AxesImage]] = {}
    for image in axes.images:
        places.setdefault(tuple(image.get_extent()), []).append(image)
    panels = []
    for (left, right, bottom, top), images in places.items():
        box, middle = Bbox([[left, top], [right, bottom]]), ((left + right) / 2, (top + bottom) / 2)
        at = [
            "".join(
                text.get_text() for text in axes.texts if np.allclose(getattr(text, "xy", text.get_position()), place)
            )
            for place in (
                (middle[0], top), (left, middle[1]), (middle[0], bottom),
                *(box.min + box.size * share for share in ((0.02, 0.5), (0.98, 0.5), (0.5, 0.02), (0.5, 0.98))),
            )
        ]  # fmt: skip
        panels.append(Shown(images, box, *at[:3], "".join(at[3:])))
    return sorted(panels, key=lambda panel: (round(float(panel.box.min[1] + panel.box.max[1]), 6), panel.box.min[0]))


def words_stand_apart(figure: Figure) -> bool:
    """Whether no word is cut off at the figure's edge or stands over another or over a picture."""
    (axes,) = figure.axes
    pictures = {tuple(image.get_extent()): image.get_window_extent() for image in axes.images}
    words = [text for text in axes.texts if hasattr(text, "xy")] + [*figure.texts, *figure.legends]
    boxes = [word.get_window_extent() for word in words if getattr(word, "get_text", lambda: "legend")()]
    inside = all(min(box.x0, box.y0) >= 0 and (box.max <= figure.bbox.max).all() for box in boxes)
    return inside and not any(one.overlaps(other) for one, other in combinations([*boxes, *pictures.values()], 2))

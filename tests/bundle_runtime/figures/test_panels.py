from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from bundle_runtime.figures.panels import Montage, save_figure
from matplotlib.figure import Figure
from matplotlib.image import imread
from shown_panels import shown, words_stand_apart


def test_a_failure_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    save_figure(Figure(), path)
    before = path.read_bytes()

    def no_space(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", no_space)
        with pytest.raises(OSError, match="No space left"):
            save_figure(Figure(figsize=(1, 1)), path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]


def test_panels_are_on_one_scale_in_the_file(tmp_path: Path) -> None:
    montage = Montage([[(40, 30), (20, 60)], [(40, 10), (40, 10)]], "title", [["a", "b"]])
    colours = [(1.0, 0, 0), (0, 1.0, 0), (0, 0, 1.0), (1.0, 0, 1.0)]
    for panel, colour in zip(chain(*montage.panels), colours, strict=True):
        panel.show(np.array([[colour]]))
    montage.save(tmp_path / "a.png")
    picture = imread(tmp_path / "a.png")
    sizes, middles = [], []
    for colour in colours:
        rows, columns = np.nonzero((picture == colour).all(axis=-1))
        sizes.append((np.ptp(columns) + 1, np.ptp(rows) + 1))
        middles.append((columns.mean(), rows.mean()))
    unit = sizes[0][0] / 40
    np.testing.assert_allclose(sizes, np.multiply([(40, 30), (20, 60), (40, 10), (40, 10)], unit), atol=2)
    (a, b, c, d) = middles  # a row has one middle, and so has a column
    np.testing.assert_allclose([a[1], c[1], a[0], b[0]], [b[1], d[1], c[0], d[0]], atol=1)


LONG = "BRATS2012_HG0015_OF_A_LONG_NAME and what stands below it"


@pytest.mark.parametrize(
    ("size", "classes"),
    [((100, 100), ["lesion", "missed"]), ((300, 20), [f"{LONG} {n}" for n in range(9)]), ((20, 300), [3 * LONG])],
)
def test_no_word_is_cut_off_or_over_another_or_a_picture(tmp_path, size, classes) -> None:
    titles, notes = [[LONG] * 3, ["short", "", LONG]], [["", LONG, "mean Dice 0.801"], []]
    montage = Montage([[size] * 3] * 2, 3 * LONG, titles, [LONG, "flair\naxial, z = 5"], notes)
    for row in montage.panels:
        for panel in row:
            panel.show(np.zeros((1, 1)))
    figure = montage.save(tmp_path / "a.png", dict.fromkeys(classes, (1.0, 0, 0)))
    assert words_stand_apart(figure)
    assert ["".join(panel.title.split()) for panel in shown(figure)[3:]] == ["short", "", "".join(LONG.split())]
    assert [text.get_text().replace("\n", " ") for text in figure.legends[0].get_texts()] == classes

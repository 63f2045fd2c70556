import numpy as np
import pytest
from bundle_runtime.figures.classification import calibration_figure, confusion_figure, roc_figure, roc_of_runs
from bundle_runtime.scores.classification import reliability
from PIL import Image

NAMES = [f"finding {i}" for i in range(14)]
RNG = np.random.default_rng(0)
LABELS = (RNG.random((200, 14)) < 0.3).astype(float)
PROBABILITIES = 1 / (1 + np.exp(-RNG.normal(size=(200, 14)) - LABELS))


def look_at(path):
    with Image.open(path) as picture:
        assert picture.width > 300
        assert picture.height > 200
        assert picture.getcolors(10) is None  # more than ten: something is drawn


def test_roc_curves_end_in_the_corners_and_name_their_area(tmp_path):
    labels = LABELS.copy()
    labels[:, 3] = 0
    labels[:50, 0] = np.nan
    figure = roc_figure(PROBABILITIES, labels, NAMES, tmp_path / "roc.png", "test")
    look_at(tmp_path / "roc.png")
    lines = figure.axes[0].lines[1:]
    assert len(lines) == 14
    for index, line in enumerate(lines):
        x, y = line.get_data()
        if index == 3:  # no positives: named without a curve
            assert len(x) == 0
            continue
        assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
        assert float(line.get_label().split()[-1]) == pytest.approx(np.trapezoid(y, x), abs=6e-4)
    assert figure.axes[0].get_title() == "test"
    (legend,) = figure.legends
    gap = legend.get_window_extent().x0 - figure.axes[0].get_window_extent().x1
    assert 0 <= gap < 0.05 * figure.bbox.width


@pytest.mark.parametrize("number", [1, 4, 5])
@pytest.mark.parametrize("of_runs", [True, False])
def test_no_words_of_an_axis_are_cut_off(tmp_path, number, of_runs):
    if of_runs:
        figure = roc_of_runs({"scratch": (PROBABILITIES, LABELS)}, NAMES[:number], tmp_path / "roc.png")
    else:
        bins = {name: reliability(PROBABILITIES[:, i], LABELS[:, i]) for i, name in enumerate(NAMES[:number])}
        figure = calibration_figure(bins, tmp_path / "calibration.png")
    words = [text for text in figure.texts if text.get_text()]
    assert len(words) >= 2
    for box in (text.get_window_extent() for text in words):
        assert min(box.x0, box.y0) >= 0
        assert box.x1 <= figure.bbox.x1
        assert box.y1 <= figure.bbox.y1


@pytest.mark.parametrize(("number", "numbered"), [(3, [0, 1, 2]), (6, [3, 4, 5]), (5, [2, 3, 4]), (8, [4, 5, 6, 7])])
def test_the_lowest_panel_of_each_column_has_numbers(tmp_path, number, numbered):
    bins = {name: reliability(PROBABILITIES[:, i], LABELS[:, i]) for i, name in enumerate(NAMES[:number])}
    figure = calibration_figure(bins, tmp_path / "calibration.png")
    with_numbers = [any(label.get_visible() for label in axes.get_xticklabels()) for axes in figure.axes[:number]]
    assert [index for index, shown in enumerate(with_numbers) if shown] == numbered
    assert "larger a dot" in figure.get_supxlabel()


@pytest.mark.parametrize("number", [1, 3, 14])
def test_calibration_has_a_panel_a_class(tmp_path, number):
    bins = {name: reliability(PROBABILITIES[:, i], LABELS[:, i]) for i, name in enumerate(NAMES[:number])}
    figure = calibration_figure(bins, tmp_path / "calibration.png")
    look_at(tmp_path / "calibration.png")
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title() for axes in shown] == NAMES[:number]
    x, y = shown[0].lines[1].get_data()
    count, predicted, found = bins[NAMES[0]]
    assert np.array_equal(x, predicted[count > 0])
    assert np.array_equal(y, found[count > 0])


def test_calibration_of_a_finding_that_nobody_knows(tmp_path):
    figure = calibration_figure({"x": reliability(np.ones(3), np.full(3, np.nan))}, tmp_path / "calibration.png")
    assert len(figure.axes[0].lines[1].get_data()[0]) == 0


def test_confusion_matrix_shows_counts(tmp_path):
    labels, called = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 1, 0])
    figure = confusion_figure(labels, called, ["a", "b", "c"], tmp_path / "confusion.png")
    look_at(tmp_path / "confusion.png")
    numbers = {text.get_position(): text.get_text() for text in figure.axes[0].texts}
    assert numbers[(0, 0)] == "2"
    assert numbers[(1, 0)] == "1"  # true a, called b
    assert numbers[(0, 2)] == "1"
    assert figure.axes[0].images[0].get_array()[0].tolist() == pytest.approx([2 / 3, 1 / 3, 0])

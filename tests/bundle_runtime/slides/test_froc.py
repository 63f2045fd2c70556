import numpy as np
import pytest
from bundle_runtime.slides.annotations import Lesions
from bundle_runtime.slides.froc import RATES, Hits, curve, hits, report, score
from bundle_runtime.slides.heatmap import Point
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.metrics.froc import compute_fp_tp_probs, compute_froc_curve_data, compute_froc_score


def slide(false: list[float], found: list[float], lesions: int) -> Hits:
    return Hits(np.array(false, np.float32), np.array(found, np.float32), lesions, 0)


def by_hand(slides: list[Hits]) -> float:
    """Every threshold counted one by one."""
    thresholds = sorted({float(p) for entry in slides for p in (*entry.false, *entry.found)}, reverse=True)
    total, points = sum(entry.lesions for entry in slides), [(0.0, 0.0)]
    for threshold in thresholds:
        false = sum(int((entry.false >= threshold).sum()) for entry in slides) / len(slides)
        found = sum(int((entry.found >= threshold).sum()) for entry in slides) / total
        points.append((false, found))
    values = []
    for rate in RATES:
        below = [point for point in points if point[0] <= rate]
        above = [point for point in points if point[0] > rate]
        left = below[-1]
        if not above:
            values.append(left[1])
        else:
            right = above[0]
            values.append(left[1] + (right[1] - left[1]) * (rate - left[0]) / (right[0] - left[0]))
    return float(np.mean(values))


probability = st.integers(1, 20).map(lambda value: value / 20)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.lists(probability, max_size=6), st.lists(probability, max_size=4), st.integers(0, 3)),
                min_size=1, max_size=5))  # fmt: skip
def test_score_is_that_of_counting(drawn: list[tuple[list[float], list[float], int]]) -> None:
    slides = [slide(false, found, len(found) + missed) for false, found, missed in drawn]
    if sum(entry.lesions for entry in slides) == 0:
        assert np.isnan(score(slides))
    else:
        assert score(slides) == pytest.approx(by_hand(slides), abs=1e-6)


@settings(max_examples=50, deadline=None)
@given(st.lists(probability, min_size=1, max_size=6), st.lists(probability, min_size=1, max_size=4))
def test_it_is_monais_where_a_lesion_was_missed(false: list[float], found: list[float]) -> None:
    """There the threshold that MONAI leaves out is the 0 of the missed lesion."""
    tps = np.array([*found, 0.0], np.float32)
    expected = compute_froc_score(*compute_froc_curve_data(np.array(false, np.float32), tps, len(tps), 2))
    ours = score([slide(false, found, len(tps)), slide([], [], 0)])
    assert ours == pytest.approx(float(expected))


def test_a_perfect_detection_scores_one() -> None:
    """MONAI alone gives 0: it drops the lowest of all scores, here the only one."""
    assert compute_froc_score(*compute_froc_curve_data(np.zeros(0), np.array([0.9]), 1, 1)) == 0
    assert score([slide([], [0.9], 1)]) == 1


def test_without_detections_and_without_lesions() -> None:
    assert score([slide([], [], 2)]) == 0
    assert np.isnan(score([slide([0.5], [], 0)]))
    assert report([slide([0.5], [], 0)], ["p"])["score"] is None


def test_points_and_lesions() -> None:
    labels = np.zeros((10, 10), np.int32)
    labels[:4, :4], labels[6:, 6:], labels[0, 9] = 1, 2, 3
    lesions = Lesions(labels, (10.0, 10.0), [3])
    places = [(15, 15, 0.6), (25, 25, 0.8), (55, 55, 0.7), (5, 95, 0.9), (99.9, 99.9, 0.4), (100, 5, 0.3)]
    points = [Point(float(row), float(column), value, 0, 1) for row, column, value in places]
    found = hits(points, lesions)
    assert sorted(found.found.tolist()) == pytest.approx([0.4, 0.8])  # the best in each lesion
    assert sorted(found.false.tolist()) == pytest.approx([0.3, 0.7])  # the one in an excluded lesion is neither
    assert (found.lesions, found.excluded) == (2, 1)
    rows, columns = (np.array([place[axis] for place in places[:5]]) / 10 for axis in (0, 1))
    false, true, count = compute_fp_tp_probs(np.array([p[2] for p in places[:5]]), rows, columns, labels, [3])
    assert (sorted(false), sorted(true[true > 0]), count) == ([0.7], pytest.approx([0.4, 0.8]), 2)


def test_a_slide_without_anything() -> None:
    found = hits([], Lesions(np.zeros((4, 4), np.int32), (1.0, 1.0), []))
    assert (len(found.false), len(found.found), found.lesions) == (0, 0, 0)


def test_report() -> None:
    slides = [slide([0.5, 0.2], [0.9], 2), slide([0.3], [0.8, 0.6], 2), slide([0.7], [], 0)]
    found = report(slides, ["a", "b", "c"], seed=1)
    low, high = found["interval_95"]
    assert low <= found["score"] <= high
    assert found == report(slides, ["a", "b", "c"], seed=1)
    assert found["sensitivity_at"]["8"] == 0.75
    assert (found["slides"], found["lesions"]) == (3, 4)
    rates = found["curve"]["false_positives_per_slide"]
    assert rates == sorted(rates)
    assert report(slides, ["a", "a", "a"])["interval_95"] == [None, None]  # one patient tells no spread


def test_a_report_says_when_a_score_counts() -> None:
    slides = [slide([0.5], [0.9], 1)] * 10
    few = "Only 9 patients: bootstrap intervals are too narrow with fewer than 10."
    (trained,) = report(slides, [f"p{number}" for number in range(10)])["notes"]
    assert "neither been trained nor selected on" in trained
    assert report(slides[:9], [f"p{number}" for number in range(9)])["notes"] == [trained, few]


def test_the_curve_falls_to_nothing() -> None:
    rates, sensitivity = curve([slide([0.5], [0.9], 1)])
    assert (rates[-1], sensitivity[-1]) == (0, 0)
    assert (rates[0], sensitivity[0]) == (1, 1)

"""Scores of objects against brute force and examples worked by hand."""

import time

import numpy as np
import pytest
from bundle_runtime.scores.instances import Counts, count_objects, score_picture, scores, total
from custom_components.errors import InputError
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import linear_sum_assignment

SHAPE = st.tuples(st.integers(1, 9), st.integers(1, 9))
PAIRS = SHAPE.flatmap(
    lambda shape: st.tuples(*[arrays(np.int32, shape, elements=st.sampled_from([0, 0, 1, 2, 5, 900]))] * 2)
)


def masks(objects: np.ndarray) -> list[np.ndarray]:
    return [objects == number for number in np.unique(objects) if number]


def ious(ours: list[np.ndarray], theirs: list[np.ndarray]) -> np.ndarray:
    table = [[(a & b).sum() / (a | b).sum() for b in theirs] for a in ours]
    return np.array(table).reshape(len(ours), len(theirs))


def brute_force_aji(reference: np.ndarray, prediction: np.ndarray) -> tuple[int, int]:
    """Algorithm 1 of Kumar et al., 2017, word by word."""
    ours, theirs = masks(reference), masks(prediction)
    overlap = union = 0
    used = set()
    for mask in ours:
        best = max(range(len(theirs)), key=lambda j: (mask & theirs[j]).sum() / (mask | theirs[j]).sum(), default=None)
        if best is None or not (mask & theirs[best]).any():
            union += mask.sum()
            continue
        overlap += (mask & theirs[best]).sum()
        union += (mask | theirs[best]).sum()
        used.add(best)
    union += sum(mask.sum() for j, mask in enumerate(theirs) if j not in used)
    return overlap, union


@given(PAIRS)
@settings(max_examples=300, deadline=None)
def test_counts_are_those_of_brute_force(pair: tuple[np.ndarray, np.ndarray]) -> None:
    reference, prediction = pair
    counts = count_objects(reference, prediction)
    assert (counts.aji_overlap, counts.aji_union) == brute_force_aji(reference, prediction)
    table = ious(masks(reference), masks(prediction))
    matched = table > 0.5
    assert (matched.sum(0) <= 1).all()
    assert (matched.sum(1) <= 1).all()
    rows, columns = linear_sum_assignment(np.where(matched, table, 0), maximize=True)  # another way to match
    found = table[rows, columns]
    assert counts.tp == (found > 0.5).sum()
    assert counts.iou_sum == pytest.approx(found[found > 0.5].sum())
    assert counts.tp + counts.fn == table.shape[0]
    assert counts.tp + counts.fp == table.shape[1]


@given(PAIRS)
@settings(max_examples=100, deadline=None)
def test_scores_lie_in_0_1_and_fit_together(pair: tuple[np.ndarray, np.ndarray]) -> None:
    found = scores(count_objects(*pair))
    for value in found.values():
        assert np.isnan(value) or 0 <= value <= 1
    if not np.isnan(found["sq"]):
        assert found["pq"] == pytest.approx(found["sq"] * found["object_f1"])
    if not np.isnan(found["object_precision"]) and found["object_precision"] + found["object_recall"] > 0:
        p, r = found["object_precision"], found["object_recall"]
        assert found["object_f1"] == pytest.approx(2 * p * r / (p + r))


@given(PAIRS, st.permutations([1, 2, 5, 900]))
@settings(max_examples=60, deadline=None)
def test_numbers_of_objects_do_not_matter(pair: tuple[np.ndarray, np.ndarray], order: list[int]) -> None:
    table = np.zeros(901, np.int32)
    table[[1, 2, 5, 900]] = order
    one, other = scores(count_objects(*pair)), scores(count_objects(pair[0], table[pair[1]]))
    for metric in ("pq", "object_f1"):  # ties of the aggregated Jaccard index go by number
        assert one[metric] == pytest.approx(other[metric], nan_ok=True)


def test_an_example_worked_by_hand() -> None:
    """Two nuclei of 4 pixels; one found with 3 of 4 pixels, one missed, one invented of 2 pixels."""
    reference = np.array([[1, 1, 0, 2, 2, 0, 0], [1, 1, 0, 2, 2, 0, 0]])
    prediction = np.array([[7, 7, 0, 0, 0, 0, 9], [7, 0, 0, 0, 0, 0, 9]])
    counts = count_objects(reference, prediction)
    assert counts == Counts(tp=1, fp=1, fn=1, iou_sum=0.75, aji_overlap=3, aji_union=4 + 4 + 2)
    found = scores(counts)
    assert found["aji"] == pytest.approx(0.3)
    assert found["sq"] == pytest.approx(0.75)
    assert found["object_f1"] == pytest.approx(0.5)
    assert found["pq"] == pytest.approx(0.375)


def test_an_iou_of_exactly_a_half_is_no_match() -> None:
    reference, prediction = np.array([[1, 1, 0]]), np.array([[1, 1, 1]])
    assert count_objects(reference, prediction).tp == 1
    assert count_objects(np.array([[1, 0, 0, 0]]), np.array([[1, 1, 0, 0]])).tp == 0


def test_two_nuclei_that_one_prediction_covers_may_both_take_it() -> None:
    """As the paper has it; its area then counts once for each."""
    counts = count_objects(np.array([[1, 1, 2, 2]]), np.array([[3, 3, 3, 3]]))
    assert (counts.aji_overlap, counts.aji_union, counts.tp) == (4, 8, 0)


def test_nothing_on_both_sides_is_undefined_and_on_one_side_0() -> None:
    nothing, something = np.zeros((3, 3), int), np.eye(3, dtype=int)
    assert all(np.isnan(value) for value in scores(count_objects(nothing, nothing)).values())
    for pair in ((nothing, something), (something, nothing)):
        found = scores(total([score_picture(*(side > 0 for side in pair), 2, *pair)[0]]))
        assert [float(found[name]) for name in ("dice", "iou", "aji", "pq", "object_f1")] == [0.0] * 5
        assert np.isnan(found["sq"])


def test_classes_are_scored_by_themselves() -> None:
    label, prediction = np.array([[1, 1, 2, 2]]), np.array([[1, 1, 1, 2]])
    one, two = score_picture(label, prediction, 3, label, np.array([[1, 1, 1, 2]]))
    assert scores(one)["dice"] == pytest.approx(0.8)
    assert (two.overlap, two.reference, two.predicted) == (1, 2, 1)
    assert (one.tp, two.tp, two.fn) == (1, 0, 1)


def test_maps_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="expected one grid"):
        count_objects(np.zeros((2, 2), int), np.zeros((2, 3), int))
    with pytest.raises(InputError, match="expected one grid"):
        score_picture(np.zeros((2, 2), int), np.zeros((2, 3), int), 2)
    with pytest.raises(InputError, match="expected class indices 0 to 1"):
        score_picture(np.zeros((2, 2), int), np.full((2, 2), 2), 2)


def test_a_thousand_nuclei_take_no_time() -> None:
    """1000 x 1000 pixels; a bound of 3 s leaves a busy machine room (0.3 s alone)."""
    side = np.arange(1000)
    objects = (side[:, None] // 31) * 33 + side // 31 + 1
    objects = np.where((side[:, None] % 31 < 25) & (side % 31 < 25), objects, 0)
    start = time.perf_counter()
    counts = count_objects(objects, np.roll(objects, 3, axis=1))
    assert time.perf_counter() - start < 3
    assert counts.tp > 1000

"""Bootstrap intervals of means."""

import math

import numpy as np
import pytest
from bundle_runtime.scores.intervals import bootstrap_interval


def test_interval_holds_the_mean_and_is_seeded():
    values = np.random.default_rng(3).normal(10, 2, size=40)
    low, high = bootstrap_interval(values)
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * values.std(ddof=1) / math.sqrt(40), rel=0.15)
    assert bootstrap_interval(values) == (low, high)
    assert bootstrap_interval([*values, math.nan]) == (low, high)
    assert bootstrap_interval(values, seed=1) != (low, high)


def test_degenerate_values_fall_back_and_one_case_has_no_interval():
    assert bootstrap_interval([0.5, 0.5, 0.5]) == (0.5, 0.5)
    assert np.isnan(bootstrap_interval([0.5])).all()
    assert np.isnan(bootstrap_interval([])).all()
    assert np.isnan(bootstrap_interval([math.nan, math.nan])).all()
    assert np.isnan(bootstrap_interval([0.5, 0.7], groups=["a", "a"])).all()


def test_groups_are_drawn_whole():
    values = np.repeat(np.random.default_rng(0).normal(size=12), 8)  # eight equal images of each patient
    patients = np.repeat([f"p{i}" for i in range(12)], 8)
    alone, grouped = bootstrap_interval(values), bootstrap_interval(values, groups=patients)
    assert grouped[1] - grouped[0] > 2 * (alone[1] - alone[0])
    one_each = bootstrap_interval(values[::8], groups=patients[::8])
    assert grouped == pytest.approx(one_each)

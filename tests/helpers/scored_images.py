"""Synthetic scores of classified images, for several tests."""

import numpy as np
from bundle_runtime.scores.classification_report import Case, ClassificationReport

FINDINGS = ["Effusion", "Mass", "Hernia"]
GRADES = ["none", "mild", "severe"]


def patients(number, images=3):
    """`number` images, `images` of each patient."""
    return [f"p{i // images}" for i in range(number)]


def cases(number, images=3):
    return [Case(f"c{i}", patient, f"/data/c{i}.png") for i, patient in enumerate(patients(number, images))]


def several(number=120, seed=0, skill=1.5, unknown=0.1):
    """Probabilities and labels of findings, some unknown, with ties; the last one is rare."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((number, 3)) < (0.4, 0.2, 0.1)).astype(float)
    logits = np.round(rng.normal(size=(number, 3)) + skill * (labels - 0.5), 1)
    labels[rng.random((number, 3)) < unknown] = np.nan
    return 1 / (1 + np.exp(-logits)), labels


def single(number=120, seed=0, skill=1.0):
    """Probabilities and class indices."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(3, size=number)
    powers = np.exp(rng.normal(size=(number, 3)) + skill * np.eye(3)[labels])
    return powers / powers.sum(axis=1, keepdims=True), labels


def report(task="multi_label", number=120, seed=0, skill=1.5, images=3, **settings):
    probabilities, labels = (several if task == "multi_label" else single)(number, seed, skill)
    names = FINDINGS if task == "multi_label" else GRADES
    return ClassificationReport(names, task, cases(number, images), probabilities, labels, **settings)

"""A small study whose stages a stand-in runs."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.studies.study import Study
from benchmarks.studies.workshop import Workshop

STAND_IN = [sys.executable, str(Path(__file__).with_name("stand_in.py"))]
CONTENT: dict[str, Any] = {
    "question": "Drawn numbers",
    "bundle": "cxr14_mae",
    "data": {"folder": "{work}"},
    "settings": {"img_size": 32},
    "pretrain": {"max_epochs": 4},
    "train": {"max_epochs": 5},
    "shares": {0.1: {}, 1.0: {"max_epochs": 3}},
    "seeds": [0, 1],
    "tune": {"grid": {"learning_rate": [1.0e-4, 1.0e-3, 1.0e-2]}, "seed": 0},
    "baseline": "scratch",
    "arms": {
        "scratch": {"train": {"init": "scratch"}, "tune": True},
        "mae": {"title": "MAE", "pretrain": {"mask_ratio": 0.75}, "train": {"init": "mae"}, "tune": "scratch"},
    },
    "smoke": {"seeds": [0], "shares": {1.0: {}}, "arms": {"mae": None}},
}


@pytest.fixture
def make_study(tmp_path: Path) -> Callable[..., Study]:
    """A study from `CONTENT` with some keys changed."""

    def make(size: str | None = None, **changes: Any) -> Study:
        path = tmp_path / "drawn.yaml"
        path.write_text(yaml.safe_dump({**CONTENT, **changes}))
        return Study.load(path, size)

    return make


@pytest.fixture
def make_workshop(tmp_path: Path) -> Callable[[Study], Workshop]:
    """Its workshop, with a datalist, whose stages the stand-in runs."""

    def make(study: Study) -> Workshop:
        folder = tmp_path / "work"
        folder.mkdir(exist_ok=True)
        lists = {"training": [{"image": "a"}], "validation": [{"image": "b"}], "test": [{"image": "c"}]}
        (folder / "datalist.json").write_text(json.dumps(lists))
        return Workshop(folder, study.data, command=STAND_IN)

    return make


@pytest.fixture
def calls(tmp_path: Path) -> Callable[[], list[str]]:
    """What the stand-in has done so far."""

    def read() -> list[str]:
        path = tmp_path / "work" / "calls.txt"
        return path.read_text().splitlines() if path.exists() else []

    return read

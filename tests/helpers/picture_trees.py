"""Empty files with the names of pictures, and what a datalist says of them."""

from collections import Counter
from pathlib import Path
from typing import Any

SECTIONS = ("training", "validation", "test")


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def by_image(made: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {item["image"]: item for part in SECTIONS for item in made[part]}


def sizes(made: dict[str, Any]) -> list[int]:
    return [len(made[part]) for part in SECTIONS]


def class_counts(made: dict[str, Any], part: str) -> dict[int, int]:
    return dict(Counter(item["label"] for item in made[part]))

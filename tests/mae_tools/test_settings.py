"""Settings of several places as those of one command."""

import inspect
from typing import Any

import pytest
from mae_tools.settings import settings_of, with_arguments


class Size:
    """A size.

    Attributes:
        width: of it, in pixels,
            or more.
        height: likewise.
    """

    def __init__(self, width: int, height: int = 3) -> None:
        self.area = width * height


def save(place: str, quality: int = 9) -> None:
    """Save.

    Args:
        place: where to.
        quality: how well.
    """


@settings_of(Size, save, without=("place",))
def draw(name: str, quality: int = 1, **settings: Any) -> int:
    """Draw.

    Args:
        name: of it.

    Raises:
        ValueError: never.
    """
    return Size(**settings).area * quality


def test_signature_and_help_are_those_of_all() -> None:
    parameters = inspect.signature(draw).parameters
    assert list(parameters) == ["name", "quality", "width", "height"]
    assert parameters["quality"].default == 1  # the command's own
    assert parameters["width"].kind is inspect.Parameter.KEYWORD_ONLY
    assert draw.__doc__ == (
        "Draw.\n\nArgs:\n    name: of it.\n    quality: how well.\n    width: of it, in pixels,\n        or more.\n"
        "    height: likewise.\n\nRaises:\n    ValueError: never."
    )
    assert draw("a", width=2) == 6


def test_a_setting_that_nobody_describes_is_no_help() -> None:
    with pytest.raises(StopIteration):
        with_arguments(draw, [save], ["name", "depth"])

import pytest
from bundle_runtime.scores.text import count


@pytest.mark.parametrize(
    ("number", "what", "text"),
    [
        (1, "cases", "1 case"),
        (2, "cases", "2 cases"),
        (0, "slides", "0 slides"),
        (1, "lines in volumes.csv", "1 line in volumes.csv"),
    ],
)
def test_one_of_a_kind_has_no_plural(number: int, what: str, text: str) -> None:
    assert count(number, what) == text

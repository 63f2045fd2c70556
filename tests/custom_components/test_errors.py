import pytest
from custom_components.errors import InputError, one_of, within


def test_a_setting_is_one_of_those_allowed() -> None:
    assert one_of("channels", 3, (1, 3)) == 3
    with pytest.raises(InputError, match=r"^channels is 4; choose one of 1, 3\.$"):
        one_of("channels", 4, (1, 3))


@pytest.mark.parametrize(
    ("interval", "inside", "outside", "said"),
    [
        ("[0, 1]", (0, 0.5, 1), (-0.1, 1.1), "at least 0 and at most 1"),
        ("(0, 1)", (0.1, 0.9), (0, 1), "above 0 and below 1"),
        ("[0, inf)", (0, 1e9), (-1, float("inf")), "at least 0."),
    ],
)
def test_a_setting_lies_in_its_interval(interval: str, inside: tuple, outside: tuple, said: str) -> None:
    for value in inside:
        assert within("ratio", value, interval) == value
    for value in (*outside, float("nan")):
        with pytest.raises(InputError) as caught:
            within("ratio", value, interval)
        assert str(caught.value).startswith(f"ratio is {value}; it must be {said}")

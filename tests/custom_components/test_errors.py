import pytest

from custom_components.errors import InputError, one_of


def test_a_setting_is_one_of_those_allowed() -> None:
    assert one_of("channels", 3, (1, 3)) == 3
    with pytest.raises(InputError, match=r"^channels is 4; choose one of 1, 3\.$"):
        one_of("channels", 4, (1, 3))

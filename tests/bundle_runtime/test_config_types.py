import pytest

from bundle_runtime.config_types import default_of, read_value, refuse_unknown_paths
from custom_components.errors import InputError


@pytest.mark.parametrize(
    ("value", "default", "read"),
    [
        ("false", True, False),
        ("null", 4, None),
        ("None", 4, None),
        ("null", "hist", None),
        ("none", "hist", "none"),  # a word of its own in `equalise`
        ("1e-4", 1.5e-4, 1e-4),
        (3, 1.5, 3),
        ([16, 16, 8], 16, [16, 16, 8]),
        ("$2 * @seed", 4, "$2 * @seed"),
        ((1, 2), [0], (1, 2)),
        ("scratch", "mae", "scratch"),
        (5, None, 5),
        (False, "ram", False),
    ],
)
def test_values_take_the_type_of_the_default(value: object, default: object, read: object) -> None:
    found = read_value("key", value, default)
    assert found == read
    assert type(found) is type(read)


@pytest.mark.parametrize(
    ("value", "default", "sentence"),
    [
        ("fast", 1e-3, "key is the text 'fast', expected a number"),
        (True, 3, "key is True, expected a number"),
        ("yes", False, "key is the text 'yes', expected true or false"),
        (1, False, "key is 1, expected true or false"),
        ("[liver,right kidney]", ["liver"], "expected a list; quote its words"),
        (96, [64, 64, 64], r"key is 96, expected a list such as \[64, 64, 64\]"),
    ],
)
def test_another_type_is_one_sentence(value: object, default: object, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        read_value("key", value, default)


def test_defaults_that_are_expressions() -> None:
    content = {
        "init": "mae",
        "rate": "$1.0 if @init == 'mae' else 2.0",
        "same": "@rate",
        "broken": "$1 / 0",
        "plain": 3,
    }
    found = [default_of(key, content) for key in ("rate", "same", "broken", "plain")]
    assert found == [1.0, 1.0, "$1 / 0", 3]


CONFIG = {
    "optimizer": {"_target_": "torch.optim.AdamW", "lr": 1.0},
    "inferer": {"_target_": "SlidingWindowInferer", "overlap": 0.5},
    "steps": {"transforms": [{"keys": "image"}]},
    "network": "@local_network",
}


@pytest.mark.parametrize(
    "path", ["inferer#overlap", "inferer::mode", "optimizer#amsgrad", "steps#transforms#0#keys", "inferer#_disabled_"]
)
def test_entries_and_arguments_that_exist(path: str) -> None:
    refuse_unknown_paths([path], CONFIG, "train.yaml")


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("inferer#overlapp", r" \(did you mean 'overlap'\?\)"),
        ("optimizr#lr", r" \(did you mean 'optimizer'\?\)"),
        ("steps::transforms::1::keys", ""),
        ("network#depth", ""),
    ],
)
def test_what_is_not_there_is_named(path: str, hint: str) -> None:
    with pytest.raises(InputError, match=f"Unknown setting '{path.replace('::', '#')}'{hint}: train.yaml"):
        refuse_unknown_paths([path], CONFIG, "train.yaml")

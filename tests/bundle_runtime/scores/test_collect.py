"""What is taken from an evaluation engine."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from bundle_runtime.scores.collect import decollated, logits_of, tensor_of
from custom_components.errors import InputError


def engine(batch: Any, output: Any) -> Any:
    return SimpleNamespace(state=SimpleNamespace(batch=batch, output=output))


def test_cases_come_beside_their_outputs() -> None:
    assert list(decollated(engine([{"case": "a"}, {"case": "b"}], [1, 2]), "x")) == [
        ({"case": "a"}, 1),
        ({"case": "b"}, 2),
    ]
    with pytest.raises(TypeError, match=r"str needs lists of dicts .* decollate to true"):
        decollated(engine({}, []), "x")
    with pytest.raises(ValueError, match="shorter"):
        list(decollated(engine([{}, {}], [1]), "x"))


def test_a_tensor_is_looked_up_in_the_output_first() -> None:
    one, two = torch.zeros(1), torch.ones(1)
    assert tensor_of(engine({"index": one}, {"index": two}), "index") is two
    assert tensor_of(engine({"index": one}, {"pred": two}), "index") is one
    with pytest.raises(TypeError, match="output has no tensor 'index'"):
        tensor_of(engine({"index": one}, {"pred": two}), "index", output_only=True)
    with pytest.raises(TypeError, match="output or batch has no tensor 'index'"):
        tensor_of(engine([{"index": one}], {"index": 3}), "index")


@pytest.mark.parametrize("shape", [(2, 3), (2,), (2, 4, 1)])
def test_logits_must_be_as_many_as_there_are_classes(shape: tuple[int, ...]) -> None:
    assert logits_of(engine({}, {"pred": torch.zeros(5, 4)}), 4).shape == (5, 4)
    with pytest.raises(InputError, match="numbers an image and there are 4 class_names"):
        logits_of(engine({}, {"pred": torch.zeros(shape)}), 4)

"""What an evaluation engine hands over, case by case or batch by batch, over all processes."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from custom_components.distributed import gather_objects
from custom_components.errors import InputError
from ignite.engine import Engine
from torch import Tensor

Work = Callable[[Mapping[str, Any], dict[str, Any]], None]


def nothing_came(engine: Engine) -> bool:
    """Whether no case of the batch got through the network, see `InferenceInputs.iteration`."""
    return bool(engine.state.batch == [])


def decollated(engine: Engine, who: object) -> Iterator[tuple[Mapping[str, Any], dict[str, Any]]]:
    """The cases of the engine's batch, each beside its output.

    Raises:
        TypeError: the engine does not give lists of dicts.
    """
    batch, output = engine.state.batch, engine.state.output
    if not (isinstance(batch, list) and isinstance(output, list)):
        raise TypeError(
            f"{type(who).__name__} needs lists of dicts in state.batch and state.output: set decollate to true"
        )
    return zip(batch, output, strict=True)


def each_case(engine: Engine, who: object, work: Work, what: str) -> None:
    """Let `work` take the cases of the engine's batch one by one, each beside its output.

    In a run that lists its cases (`InferenceInputs.iteration`) an error costs its case alone, and the others go on.

    Args:
        engine: an evaluator.
        who: asks, for the message.
        work: takes a case.
        what: is done to it, a participle.

    Raises:
        TypeError: the engine does not give lists of dicts.
        InputError: by a case of another run; its name stands in front.
    """
    inputs = getattr(engine.state, "inputs", None)
    for source, item in decollated(engine, who):
        try:
            work(source, item)
        except Exception as error:  # whatever it was, the others go on
            found = {**item, **source}
            case = str(found.get("case") or "a case")
            if inputs is not None:
                inputs.lost(case, str(found.get("file", "")), what, error)
            elif isinstance(error, InputError):
                raise InputError(f"{case}: {error}") from error
            else:
                raise


def tensor_of(engine: Engine, key: str, output_only: bool = False) -> Tensor:
    """A tensor of the engine's output, or of its batch.

    Raises:
        TypeError: there is none.
    """
    for source in [engine.state.output] if output_only else [engine.state.output, engine.state.batch]:
        if isinstance(source, Mapping) and isinstance(source.get(key), Tensor):
            return source[key]
    where = "output" if output_only else "output or batch"
    raise TypeError(f"The evaluator's {where} has no tensor {key!r}; set decollate to false and let the data give it.")


def logits_of(engine: Engine, classes: int, of: str = "an image") -> Tensor:
    """The logits (B, K) of the engine's output.

    Raises:
        InputError: there are not as many a picture as there are classes.
    """
    logits = tensor_of(engine, "pred", output_only=True)
    if logits.ndim != 2 or logits.shape[1] != classes:
        raise InputError(
            f"The network gives {list(logits.shape[1:])} numbers {of} and there are {classes} class_names; give"
            " those that it was trained with."
        )
    return logits


class Predictions:
    """Collects logits and labels by the position of the image in its list.

    An image that comes twice, as samplers that fill up the last batches of a distributed run make it, is kept once.
    Logits are kept as float32: in fp16 many scores tie. Those that already come as 16 bits have lost what parts them.

    Attributes:
        narrow: the type of logits that came as 16 bits, else empty.
    """

    def __init__(self) -> None:
        self._parts: list[tuple[Tensor, ...]] = []
        self.narrow = ""

    def clear(self) -> None:
        """Forget everything."""
        self._parts, self.narrow = [], ""

    def add(self, engine: Engine, keep_on_device: bool = False) -> None:
        """Take in a batch: "pred" and "label" of the engine's output, "index" of its batch.

        Args:
            engine: a MONAI evaluator with `decollate: false`.
            keep_on_device: do not wait for the device.

        Raises:
            TypeError: the engine gives something else.
        """
        output, batch = engine.state.output, engine.state.batch
        if nothing_came(engine):
            return
        if not (isinstance(output, Mapping) and isinstance(batch, Mapping)):
            raise TypeError("scores of images need dicts in state.output and state.batch: set decollate to false")
        label: Any = output["label"]
        label = label["label"] if isinstance(label, Mapping) else label
        index = output["index"] if "index" in output else batch["index"]
        logits = output["pred"].detach()
        if logits.element_size() < 4:
            self.narrow = str(logits.dtype).removeprefix("torch.")
        parts = (index.detach(), logits.float(), label.detach())
        self._parts.append(parts if keep_on_device else tuple(part.cpu() for part in parts))

    def gather(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All images of all processes in the order of the list. Collective.

        Returns:
            index (N,), logits (N, K) float32, labels (N,) or (N, K); empty arrays where there is nothing.
        """
        parts = [tuple(part.cpu().numpy() for part in batch) for batch in self._parts]
        parts = [batch for rank in gather_objects(parts) for batch in rank]
        if not parts:
            return np.empty(0, np.int64), np.empty((0, 0), np.float32), np.empty(0)
        index, logits, labels = (np.concatenate(column) for column in zip(*parts, strict=True))
        index, first = np.unique(index, return_index=True)
        return index, logits[first], labels[first]

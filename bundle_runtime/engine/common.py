"""What several handlers need: which process speaks, where the run stands, what to do when it fails."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines.workflow import Workflow

Failure = Callable[[Workflow, BaseException], None]


def epochs_done(engine: Workflow) -> int:
    """Number of completed epochs, from the iteration count (`state.epoch` is already the next one inside an epoch)."""
    return engine.state.iteration // max(engine.state.epoch_length or 1, 1)


def in_last_iteration(engine: Workflow) -> bool:
    """Whether the iteration that has just run completes an epoch."""
    return engine.state.iteration % max(engine.state.epoch_length or 1, 1) == 0


def due(engine: Engine, interval: int) -> bool:
    """Whether the epoch that has just been completed is an `interval`-th one or the last of the run."""
    epoch = engine.state.epoch
    return epoch == engine.state.max_epochs or (interval > 0 and epoch % interval == 0)


def once(engine: Workflow, event: Any, handler: Callable[..., Any]) -> None:
    """Add `handler` to `event` unless it is there; called at `STARTED` it puts it behind those that `attach` added."""
    if not engine.has_event_handler(handler, event):
        engine.add_event_handler(event, handler)


def keep(engine: Workflow, name: str, item: Any) -> None:
    """Have the state of `item` (`state_dict`, `load_state_dict`) stored and restored by the engine's `Checkpoint`."""
    stateful(engine)[name] = item


def stateful(engine: Workflow) -> dict[str, Any]:
    """Return what handlers have given to `keep`, by name."""
    return vars(engine).setdefault("stateful", {})


def on_failure(engine: Workflow, callback: Failure) -> None:
    """Call `callback(engine, error)` when the run fails; the error then goes on.

    Ignite drops an exception as soon as anybody listens for it, and the first listener that raises hides the rest: so
    all callbacks of an engine share one listener, which calls each once and raises the error again.
    """
    callbacks: list[Failure] = vars(engine).setdefault("failure_callbacks", [])
    callbacks.append(callback)
    if len(callbacks) == 1:
        engine.add_event_handler(Events.EXCEPTION_RAISED, _run_callbacks)


def _run_callbacks(engine: Workflow, error: BaseException) -> None:
    # Ignite reports an error of an iteration twice, from its inner and its outer loop.
    if vars(engine).get("failure_seen") is not error:
        vars(engine)["failure_seen"] = error
        for callback in vars(engine)["failure_callbacks"]:
            callback(engine, error)
    raise error


def names_of(batch: Any, items: Sequence[Mapping[str, Any]] = ()) -> list[str]:
    """Return what a batch's items are called, each once: the strings under `file`, else those under `case`.

    A batch that has only the positions of its items, under `index`, is looked up in `items`.
    """
    if isinstance(batch, Mapping) and "index" in batch and items:
        batch = [items[position] for position in batch["index"].tolist()]
    items = batch if isinstance(batch, (list, tuple)) else [batch]
    for key in ("file", "case"):
        found = [item[key] for item in items if isinstance(item, Mapping) and key in item]
        names = [str(name) for value in found for name in ([value] if isinstance(value, str) else value)]
        if names:
            return list(dict.fromkeys(names))
    return []


def scalars(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return the entries of `engine.state.metrics` that are one number, as Python floats, in their order."""
    found = {}
    for name, value in metrics.items():
        if isinstance(value, torch.Tensor):
            if value.numel() == 1:
                found[name] = float(value)
        elif hasattr(value, "item") and getattr(value, "size", 1) == 1:  # numpy
            found[name] = float(value.item())
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            found[name] = float(value)
    return found


def is_nan(value: Any) -> bool:
    """Whether a metric's value is the number NaN."""
    number = scalars({"value": value}).get("value")
    return number is not None and math.isnan(number)

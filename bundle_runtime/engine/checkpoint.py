"""Interrupted equals uninterrupted: the whole state of a training, saved atomically and restored exactly.

The file is written whole or not at all and read without running code.
"""

import os
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from custom_components.distributed import any_rank, distributed, is_main, say
from custom_components.errors import InputError
from custom_components.networks.find import unwrap
from ignite.engine import Events
from monai.engines import SupervisedTrainer
from monai.engines.workflow import Workflow

from ..failures import DISK_FULL, causes
from ..files import write_atomically
from ..weights.describe import network_difference
from .common import due, epochs_done, in_last_iteration, on_failure, once, stateful
from .signals import LeaveToParent, StopSignals

FORMAT = 3
_STATE_OF_EVALUATOR = ("best_metric", "best_metric_epoch", "epoch")
# In a distributed run the processes must agree on when to stop; asking costs a wait for the device, so not every
# iteration.
_AGREE_EVERY = 10


class Checkpoint:
    """Saves everything a training needs to go on and, with `resume`, goes on from it; attach to the trainer.

    What is stored: network (without the DDP or compile wrapper), optimizer, what handlers give to `keep`, iteration,
    epoch length, the evaluator's best metric and its epoch, `settings`. No random state: in this package every draw
    depends on (seed, epoch or iteration, item). Only the main process writes; every process loads.

    It is saved after every `interval` epochs and at the end, behind validation and the history row whatever the order
    of the list; and on SIGTERM or Ctrl-C, after the running iteration (where that ends an epoch, or during validation:
    after the validation). Then the run stops, `COMPLETED` handlers are skipped, `engine.state.interrupted` names the
    signal, and `exit_if_interrupted` gives the process the exit code that belongs to it. A second signal acts at once.
    SIGKILL loses what came after the last save, never the save.

    A mid-epoch save needs a data loader whose sampler can start inside an epoch (`resume_at(epoch, n_items)`, epoch
    counted from 1 as `set_epoch` gets it); without one the run stops at the epoch's end.

    Args:
        path: The checkpoint file, e.g. `models/checkpoint.pt`; replaced atomically at each save.
        resume: Go on from `path` if it exists; if it does not (killed before the first save), start at epoch 0 and say
            so.
        interval: Epochs between saves.
        step: The trainer's `iteration_update` if it has a state (the loss scaler of fp16).
        evaluator: The evaluator whose best metric is kept.
        settings: Values that must not change across an interruption, by config key (seed, batch_size, ...).
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        resume: bool = False,
        interval: int = 1,
        step: Any = None,
        evaluator: Any = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = Path(path)
        self.resume = resume
        self.interval = max(int(interval), 1)
        self.evaluator = evaluator
        self.step = step
        self.sampler: Any = None  # found in the data loader when the run starts
        self.settings = plain(dict(settings or {}), "settings")
        self._saved_iteration = -1
        self._signals = StopSignals()

    def attach(self, engine: Workflow) -> None:
        """Attach to the trainer."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_STARTED, self._register_last)
        engine.add_event_handler(Events.TERMINATE, self._release_signals)
        engine.add_event_handler(Events.COMPLETED, self._complete)
        on_failure(engine, self._release_signals)

    # Start and resume

    def _start(self, engine: SupervisedTrainer) -> None:
        engine.state.interrupted = None
        self._find_sampler(engine)
        if is_main():
            for left in self.path.parent.glob(f".{self.path.name}.*"):  # of a run that was killed while it wrote
                left.unlink()
        if self.resume and self.path.exists():
            self._restore(engine, read_checkpoint(self.path))
        elif self.resume:
            say(f"There is no checkpoint {self.path} yet: starting at epoch 0.")
        elif self.path.exists() and self._saved_iteration < 0:  # not by this run, in an earlier round
            say(f"Starting anew; {self.path} of an earlier run will be replaced (--resume true would go on from it).")
        for source in (engine, self.evaluator):
            LeaveToParent.protect(getattr(source, "data_loader", None))
        self._signals.catch()

    def _find_sampler(self, engine: Workflow) -> None:
        loader = getattr(engine, "data_loader", None)
        if hasattr(getattr(loader, "sampler", None), "resume_at"):
            self.sampler = loader.sampler  # type: ignore[union-attr]
        length = len(loader) if hasattr(loader, "__len__") else None  # type: ignore[arg-type]
        if length is not None and length != engine.state.epoch_length:
            warnings.warn(
                f"epoch_length is {engine.state.epoch_length} but the data loader has {length} batches: an epoch does "
                "not end with the data, so a resumed run will see the items in another order than an uninterrupted "
                "one.",
                stacklevel=2,
            )

    def _restore(self, engine: SupervisedTrainer, saved: dict[str, Any]) -> None:
        self._refuse_another_run(engine, saved)
        unwrap(engine.network).load_state_dict(saved["network"])
        for note in load_optimizer(engine.optimizer, saved["optimizer"]):
            say(f"Note: the optimizer's {note} since the checkpoint was written; this run's value is used.")
        for name, item in self._all_stateful(engine).items():
            item.load_state_dict(saved["stateful"][name])
        if self.evaluator is not None and saved["evaluator"] is not None:
            for key in _STATE_OF_EVALUATOR:
                setattr(self.evaluator.state, key, saved["evaluator"][key])
        engine.state.iteration = self._saved_iteration = saved["iteration"]
        done = engine.state.epoch = epochs_done(engine)
        inside = engine.state.iteration - done * engine.state.epoch_length
        total = engine.state.max_epochs
        if done >= total:
            say(f"{self.path} has {done} of {total} epochs: nothing left to train.")
            return
        if inside:
            if self.sampler is None:
                raise InputError(
                    f"The checkpoint {self.path} was written inside an epoch, but this run's sampler cannot start "
                    "there; use the sampler of the run that wrote it (EpochSampler), or start again with --resume "
                    "false."
                )
            self.sampler.resume_at(done + 1, inside * engine.data_loader.batch_size)  # type: ignore[union-attr]
        where = f"epoch {done + 1} of {total}" + (f", after {inside} of its iterations" if inside else "")
        say(f"Going on from {self.path}: {where} (iteration {engine.state.iteration}).")

    def _all_stateful(self, engine: Workflow) -> dict[str, Any]:
        return stateful(engine) | ({"step": self.step} if hasattr(self.step, "state_dict") else {})

    def _refuse_another_run(self, engine: SupervisedTrainer, saved: dict[str, Any]) -> None:
        found = network_difference(saved["network"], unwrap(engine.network))
        found = found or optimizer_difference(saved["optimizer"], engine.optimizer, saved["optimizer_class"])
        if not found and saved["epoch_length"] != engine.state.epoch_length:
            found = (
                f"its epochs have {saved['epoch_length']} iterations, this run's {engine.state.epoch_length} (another "
                "number of training cases, batch size or processes)"
            )
        for key, value in self.settings.items():
            if not found and key in saved["settings"] and saved["settings"][key] != value:
                found = _another_setting(key, saved["settings"][key], value)
        for name in self._all_stateful(engine):
            if not found and name not in saved["stateful"]:
                found = f"it holds no state of '{name}'"
        if found:
            raise InputError(
                f"The checkpoint {self.path} does not belong to this run: {found}. Restore that setting to go on, or "
                "start again: with --overwrite true in place of --resume true, or with another output_dir."
            )

    # Save

    def _register_last(self, engine: Workflow) -> None:
        # Added in the first epoch, so that it runs behind everything that others add at attach or at STARTED.
        once(engine, Events.ITERATION_COMPLETED, self._stop_inside_epoch)
        once(engine, Events.EPOCH_COMPLETED, self._epoch_completed)

    def _epoch_completed(self, engine: SupervisedTrainer) -> None:
        stop = any_rank(self._signals.received is not None, engine.state.device)
        if stop or due(engine, self.interval):
            self.save(engine)
        if stop and engine.state.epoch < engine.state.max_epochs:
            self._stop(engine)

    def _stop_inside_epoch(self, engine: SupervisedTrainer) -> None:
        if in_last_iteration(engine) or self.sampler is None:
            return  # the epoch's validation belongs to it: stop behind that
        if distributed() and engine.state.iteration % _AGREE_EVERY:
            return
        if any_rank(self._signals.received is not None, engine.state.device):
            self.save(engine)
            self._stop(engine)

    def _stop(self, engine: Workflow) -> None:
        engine.state.interrupted = self._signals.received or "a signal to another process"
        say(
            f"Stopped by {engine.state.interrupted} at iteration {engine.state.iteration}; --resume true goes on from "
            "there."
        )
        engine.terminate(skip_completed=True)

    def _release_signals(self, *_: Any) -> None:
        self._signals.release()

    def _complete(self, engine: SupervisedTrainer) -> None:
        self._signals.release()
        if self._saved_iteration != engine.state.iteration:
            self.save(engine)

    def save(self, engine: SupervisedTrainer) -> None:
        """Write the checkpoint now. Collective in a distributed run.

        Raises:
            InputError: The disk is full, the loss or a weight is not finite; the previous checkpoint is untouched.
        """
        # `FiniteLoss.state_dict` refuses here if a loss that it has not yet looked at is NaN.
        states = {name: plain(item.state_dict(), name) for name, item in self._all_stateful(engine).items()}
        network = plain(unwrap(engine.network).state_dict(), "network")
        self._refuse_broken_weights(engine, network)
        state = None
        if self.evaluator is not None:
            state = {key: plain(getattr(self.evaluator.state, key)) for key in _STATE_OF_EVALUATOR}
            if isinstance(state["best_metric"], torch.Tensor):
                state["best_metric"] = state["best_metric"].item()
        content = {
            "format": FORMAT,
            "network": network,
            "optimizer": plain(engine.optimizer.state_dict(), "optimizer"),
            "optimizer_class": type(engine.optimizer).__name__,
            "stateful": states,
            "evaluator": state,
            "iteration": engine.state.iteration,
            "epoch": epochs_done(engine),
            "epoch_length": engine.state.epoch_length,
            "settings": self.settings,
        }
        if is_main():
            write_checkpoint(self.path, content)
        self._saved_iteration = engine.state.iteration

    def _refuse_broken_weights(self, engine: Workflow, network: Mapping[str, torch.Tensor]) -> None:
        # The loss is seen one step before the weights it leads to: a finite loss can still have infinite gradients.
        names = [name for name, tensor in network.items() if tensor.is_floating_point()]
        finite = torch.stack([network[name].isfinite().all() for name in names]).tolist() if names else []
        if not all(finite):
            raise InputError(
                f"After iteration {engine.state.iteration} the weight '{names[finite.index(False)]}' is NaN or "
                f"infinite, so no checkpoint was written and {self.path} is as before; lower learning_rate or set amp "
                "to off, then resume."
            )


def _another_setting(key: str, stored: Any, value: Any) -> str:
    """How a setting differs, as half a sentence; nobody reads a fingerprint of 64 digits, let alone two."""
    if key == "data_fingerprint":
        return f"the training list is another one (fingerprint {str(stored)[:8]}..., here {str(value)[:8]}...)"
    return f"it was trained with {key} {stored}, this run has {key} {value}"


def plain(value: Any, key: str = "") -> Any:
    """Return `value` with only tensors, numbers, strings and their containers in it, as `weights_only` demands.

    It may hold numpy scalars and tensor subclasses; `key` says where it stands.

    Raises:
        TypeError: Something else is in it.
    """
    if isinstance(value, torch.Tensor):
        return value.detach().as_subclass(torch.Tensor)
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        return {k: plain(v, f"{key}.{k}") for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(plain(v, f"{key}[{i}]") for i, v in enumerate(value))
    raise TypeError(
        f"The checkpoint entry '{key}' is a {type(value).__name__}; only tensors, numbers and strings are stored"
    )


def write_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content` to `path` atomically: at every moment `path` is the old checkpoint or the new one, whole.

    Raises:
        InputError: The disk is full or refuses; the previous checkpoint is untouched, no temporary file is left.
    """
    try:
        write_atomically(path, lambda stream: torch.save(content, stream))
        _sync_folder(path.parent)
    except Exception as error:
        # torch.save's zip writer answers a failed write with a RuntimeError and keeps the OSError as its context.
        cause = next((one for one in causes(error) if isinstance(one, OSError)), None)
        if cause is None:
            raise
        raise InputError(_write_failure(path, content, cause)) from error


def _write_failure(path: Path, content: Mapping[str, Any], cause: OSError) -> str:
    kept = "the one before it is untouched" if path.exists() else "there is none before it"
    if cause.errno not in DISK_FULL:
        return (
            f"The checkpoint {path} cannot be written ({cause.strerror}); {kept}. Give a folder that can be written to."
        )
    needed, free = _bytes_of(content) / 2**20, shutil.disk_usage(path.parent).free / 2**20
    return (
        f"No space to write the checkpoint {path} ({cause.strerror}): it needs about {needed:,.1f} MiB and "
        f"{free:,.1f} MiB are free; {kept}. Free some space, then run again with --resume true."
    )


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)  # the new name itself must survive a power cut
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _bytes_of(value: Any) -> int:
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, Mapping):
        return sum(_bytes_of(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return sum(_bytes_of(item) for item in value)
    return 0


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a training checkpoint to the CPU.

    Raises:
        InputError: Truncated, not a checkpoint of this package, or a pickle that wants to run code (never executed).
    """
    advice = "give the checkpoint that this training wrote, or start again with --resume false"
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises RuntimeError, UnpicklingError, EOFError, ... by the kind of damage
        reason = str(error).strip().split("\n")[0][:160]
        raise InputError(
            f"The checkpoint {path} cannot be read ({type(error).__name__}: {reason}); {advice}."
        ) from error
    if not isinstance(content, dict) or "format" not in content:
        raise InputError(f"The file {path} is not a training checkpoint (it has no 'format' entry); {advice}.")
    if content["format"] != FORMAT:
        raise InputError(
            f"The checkpoint {path} has format {content['format']}, this version reads {FORMAT}: finish that training "
            "with the version that wrote it, or start it again with --overwrite true in place of --resume true."
        )
    return content


def optimizer_difference(saved: Mapping[str, Any], optimizer: torch.optim.Optimizer, kind: str) -> str | None:
    """Return the first difference between a stored state and `optimizer` as half a sentence; None if they fit."""
    if kind != type(optimizer).__name__:
        return f"its optimizer is {kind}, this run uses {type(optimizer).__name__}"
    theirs, ours = saved["param_groups"], optimizer.param_groups
    if len(theirs) != len(ours):
        return f"its optimizer has {len(theirs)} parameter groups, this run has {len(ours)}"
    for index, (old, new) in enumerate(zip(theirs, ours, strict=True)):
        if old.get("name") != new.get("name"):
            return f"its parameter group {index} is '{old.get('name')}', this run has '{new.get('name')}'"
        if len(old["params"]) != len(new["params"]):
            return f"its parameter group {index} holds {len(old['params'])} tensors, this run {len(new['params'])}"
    return None


def load_optimizer(optimizer: torch.optim.Optimizer, saved: Mapping[str, Any]) -> list[str]:
    """Load an optimiser's state; weight decay, betas and the like stay those of this run's config.

    Returns what differed, as short notes ("weight_decay 0.05 -> 0.1").
    """
    configured = [{k: v for k, v in group.items() if k not in ("params", "lr")} for group in optimizer.param_groups]
    optimizer.load_state_dict(dict(saved))
    notes: dict[str, None] = {}
    for group, wanted in zip(optimizer.param_groups, configured, strict=True):
        for key, value in wanted.items():
            stored = group.get(key)
            if key != "initial_lr" and _as_list(stored) != _as_list(value):
                notes[f"{key} {stored} -> {value}"] = None
        group.update(wanted)
    return list(notes)


def _as_list(value: Any) -> Any:
    return list(value) if isinstance(value, (list, tuple)) else value

"""A training from its first to its last step; an earlier run in the same folder is not lost by accident."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from custom_components.distributed import is_main
from custom_components.errors import InputError

from ..config import resolve
from .lock import in_use
from .signals import exit_if_interrupted

STATE = "training_state.pt"
_LEFT_BEHIND = ("pictures", "tensorboard")  # would be mixed with those of the new run


def train(
    output_dir: str | os.PathLike[str],
    weights: str | os.PathLike[str],
    resume: bool = False,
    overwrite: bool = False,
    before: Sequence[str] = (),
) -> None:
    """Run the config's `train::trainer`; the `run` of every training.

    Args:
        output_dir: folder of state, history, pictures and logs.
        weights: what the next stage reads.
        resume: go on with the training that `output_dir` holds.
        overwrite: replace it.
        before: entries of the config that are made first, in this order: what they refuse, they refuse before anything
            of an earlier training is removed.

    Raises:
        InputError: `output_dir` holds an earlier training, and neither `resume` nor `overwrite` is set; or another
            training is writing into it or into the folder of the weights.
        SystemExit: a signal has stopped the training (see `exit_if_interrupted`).
    """
    folder = Path(output_dir)
    refuse_earlier_run(folder, resume, overwrite)
    with in_use(folder, Path(weights).parent):
        for entry in before:
            resolve(entry)
        remove_earlier_run(folder, resume)
        trainer = resolve("train::trainer")
        trainer.run()
    exit_if_interrupted(trainer)
    if is_main():
        written = str(weights) if Path(weights).is_file() else f"none ({weights} was not written)"
        print(f"Weights: {written}; history, pictures and logs: {output_dir}", flush=True)


def alone(output_dir: str | os.PathLike[str], entry: str) -> Any:
    """Make an entry of the config while no other run may write into the folder; the `run` of a linear probe.

    Raises:
        InputError: a training or probe is writing into it.
    """
    with in_use(Path(output_dir)):
        return resolve(entry)


def refuse_earlier_run(folder: Path, resume: bool = False, overwrite: bool = False) -> None:
    """Stop before anything is read or written where a training would replace an earlier one.

    Raises:
        InputError: the folder holds the state of a training, and neither `resume` nor `overwrite` is set.
    """
    if (folder / STATE).exists() and not (resume or overwrite):
        raise InputError(
            f"{folder} holds an earlier training, finished or not. Add --resume true to go on with it, --output_dir "
            "and --model_dir to keep it and start another, or --overwrite true to replace it and its weights."
        )


def remove_earlier_run(folder: Path, resume: bool = False) -> None:
    """Remove state, pictures and TensorBoard files of the earlier training, unless this run goes on with it."""
    if resume or not is_main() or not (folder / STATE).exists():
        return
    print(f"Replacing the earlier training in {folder}.", flush=True)
    for name in _LEFT_BEHIND:
        shutil.rmtree(folder / name, ignore_errors=True)
    (folder / STATE).unlink()

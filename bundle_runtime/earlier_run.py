"""A folder that holds an earlier training: not overwritten unless somebody says so."""

import shutil
from pathlib import Path

from custom_components.distributed import is_main
from custom_components.errors import InputError

STATE = "training_state.pt"
_LEFT_BEHIND = ("pictures", "tensorboard")  # would be mixed with those of the new run


def refuse(output_dir: str | Path, resume: bool = False, overwrite: bool = False) -> None:
    """Stop before anything is read or written where a training would replace an earlier one.

    Raises:
        InputError: `output_dir` holds the state of a training, and neither `resume` nor `overwrite` is set.
    """
    if (Path(output_dir) / STATE).exists() and not (resume or overwrite):
        raise InputError(
            f"{output_dir} holds an earlier training, finished or not. Add --resume true to go on with it, "
            "--output_dir and --model_dir to keep it and start another, or --overwrite true to replace it and its "
            "weights."
        )


def remove(output_dir: str | Path, resume: bool = False) -> None:
    """Remove state, pictures and TensorBoard files of the earlier training, unless this run goes on with it."""
    if resume or not is_main() or not (Path(output_dir) / STATE).exists():
        return
    print(f"Replacing the earlier training in {output_dir}.", flush=True)
    for name in _LEFT_BEHIND:
        shutil.rmtree(Path(output_dir) / name, ignore_errors=True)
    (Path(output_dir) / STATE).unlink(missing_ok=True)

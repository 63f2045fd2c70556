"""The last words of a training: where its results are."""

import os
from pathlib import Path

from custom_components.distributed import is_main


def tell_results(weights: str | os.PathLike[str], output_dir: str | os.PathLike[str]) -> None:
    """Print where a training has left its weights and everything else; a step of `finalize`.

    Args:
        weights: What the next stage reads.
        output_dir: Folder of history, pictures and logs.
    """
    if is_main():
        written = str(weights) if Path(weights).is_file() else f"none ({weights} was not written)"
        print(f"Weights: {written}; history, pictures and logs: {output_dir}", flush=True)

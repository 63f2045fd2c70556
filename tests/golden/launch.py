"""Runs MONAI's command line several times, each in a process of its own, and imports the large libraries once.

Started as a script with a JSON file: a list of {"arguments", "folder", "log"}. Ends with the first command that fails
and its exit code. A forked child starts where `python -m monai.bundle` starts after its imports, and no command sees
what an earlier one left in memory.
"""

import importlib
import json
import os
import runpy
import sys
import traceback
from pathlib import Path

LIBRARIES = (
    "ignite.engine", "ignite.handlers", "matplotlib.pyplot", "monai.bundle", "monai.data", "monai.engines",
    "monai.handlers", "monai.inferers", "monai.losses", "monai.metrics", "monai.networks.nets", "monai.transforms",
    "nibabel", "safetensors.torch", "scipy.ndimage", "scipy.stats", "skimage.measure", "skimage.morphology",
    "sklearn.linear_model", "sklearn.metrics", "sklearn.neighbors", "torch", "torch.utils.tensorboard", "yaml",
)  # fmt: skip


def _become(arguments: list[str], folder: str, log: str) -> None:
    """What a child does instead of returning."""
    code = 1
    try:
        os.chdir(folder)
        with open(log, "wb") as stream:
            for descriptor in (1, 2):
                os.dup2(stream.fileno(), descriptor)
        sys.argv = ["monai.bundle", *arguments]
        try:
            runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)
            code = 0
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
        except BaseException:
            traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main() -> int:
    """Run all; returns the exit code."""
    commands = json.loads(Path(sys.argv[1]).read_text())
    for name in LIBRARIES:
        importlib.import_module(name)
    for command in commands:
        child = os.fork()
        if child == 0:
            _become(**command)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status:
            return abs(status)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Commands as a user starts them, each in a process of its own, forked from one that has imported the large libraries.

A command starts where `python -m <module>` stands after the imports of PyTorch and MONAI, which take longer than most
of what these tests run. Nothing of this repository is imported before the fork: no command sees what another has left.
"""

import functools
import multiprocessing
import os
import re
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from multiprocessing.context import ForkServerContext
from pathlib import Path
from pydoc import locate

ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = [
    "ignite.engine", "ignite.handlers", "matplotlib.pyplot", "monai.bundle", "monai.data", "monai.engines",
    "monai.handlers", "monai.inferers", "monai.losses", "monai.metrics", "monai.networks.nets", "monai.transforms",
    "nibabel", "safetensors.torch", "scipy.ndimage", "scipy.stats", "skimage.measure", "skimage.morphology",
    "sklearn.linear_model", "sklearn.metrics", "sklearn.neighbors", "torch", "torch.utils.tensorboard", "yaml",
]  # fmt: skip


@functools.cache
def context() -> ForkServerContext:
    """Where processes come from; one thread each unless asked otherwise."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(LIBRARIES)
    return made


def run(
    *arguments: object,
    cwd: str | Path | None = None,
    environment: Mapping[str, str] | None = None,
    timeout: float = 240,
    repository: bool = True,
) -> subprocess.CompletedProcess[str]:
    """What `python -m <arguments>` does.

    Args:
        *arguments: the module and its arguments.
        cwd: the folder to start it in.
        environment: variables that are set besides.
        timeout: seconds; it is killed then.
        repository: whether this repository's packages can be imported, or only those below `cwd`.

    Raises:
        subprocess.TimeoutExpired: it took longer.
    """
    words = [str(argument) for argument in arguments]
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder) / "out", Path(folder) / "err"
        given = (words, str(cwd or Path.cwd()), str(out), str(err), dict(environment or {}), repository)
        process = context().Process(target=_become, args=given)
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(words, timeout)
        code = process.exitcode
        texts = [path.read_text(errors="replace") if path.exists() else "" for path in (out, err)]
    return subprocess.CompletedProcess(words, code, *texts)


def _become(words: list[str], folder: str, out: str, err: str, environment: dict[str, str], repository: bool) -> None:
    for descriptor, path in ((1, out), (2, err)):
        with open(path, "wb") as stream:
            os.dup2(stream.fileno(), descriptor)
    os.chdir(folder)
    os.environ.update(environment)
    sys.path.insert(0, folder)  # as -m does
    if not repository:
        here = (str(ROOT), str(ROOT / "tests" / "helpers"))
        sys.path[:] = [path for path in sys.path if os.path.abspath(path or ".") not in here]
        sys.meta_path[:] = [f for f in sys.meta_path if "editable" not in getattr(f, "__module__", "")]
    sys.argv = list(words)
    runpy.run_module(words[0], run_name="__main__", alter_sys=True)


def imported_by(config: Path) -> set[str]:
    """Our modules that are imported once everything that a config names is, in a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "modules.txt"
        process = context().Process(target=_import_all, args=(str(config), str(told)))
        process.start()
        process.join()
        if process.exitcode:
            raise RuntimeError(f"{config}: something that it names cannot be imported")
        return set(told.read_text().split())


def _import_all(config: str, told: str) -> None:
    for name in set(re.findall(r"(?:custom_components|bundle_runtime)(?:[.]\w+)+", Path(config).read_text())):
        if locate(name) is None:
            raise ImportError(name)
    ours = ("custom_components", "bundle_runtime")
    Path(told).write_text("\n".join(name for name in sys.modules if name.startswith(ours)))

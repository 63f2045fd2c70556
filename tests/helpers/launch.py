"""Commands as a user starts them, each in a process of its own, forked from one that has imported the large libraries.

A command starts where `python -m <module>` stands after the imports of PyTorch and MONAI, which take longer than most
of what these tests run. Nothing of this repository is imported before the fork: no command sees what another has left.
"""

import atexit
import functools
import gc
import multiprocessing
import os
import re
import runpy
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from multiprocessing import connection
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from pydoc import locate

ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = [
    "ignite.engine", "ignite.handlers", "matplotlib.pyplot", "monai.bundle", "monai.data", "monai.engines",
    "monai.handlers", "monai.inferers", "monai.losses", "monai.metrics", "monai.networks.nets", "monai.transforms",
    "nibabel", "safetensors.torch", "scipy.ndimage", "scipy.stats", "skimage.measure", "skimage.morphology",
    "sklearn.linear_model", "sklearn.metrics", "sklearn.neighbors", "torch", "torch._dynamo",
    "torch.utils.tensorboard", "yaml",
]  # fmt: skip


@functools.cache
def context() -> ForkServerContext:
    """Where processes come from; one thread each unless asked otherwise."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(LIBRARIES)
    return made


def spare_the_disk() -> None:
    """No file of this process waits for the disk: only a power cut would show it, and tests write thousands of them."""
    os.fsync = lambda descriptor: None  # tests of a full disk put in its place what fails


def run(
    *arguments: object,
    cwd: str | Path | None = None,
    environment: Mapping[str, str] | None = None,
    timeout: float = 240,
    repository: bool = True,
    processes: int = 0,
    first: str = "",
) -> subprocess.CompletedProcess[str]:
    """What `python -m <arguments>` does, or `python <arguments>` with a script.

    Args:
        *arguments: the module, or the file of a script, and its arguments.
        cwd: the folder to start it in.
        environment: variables that are set besides.
        timeout: seconds; it is killed then.
        repository: whether this repository's packages can be imported, or only those below `cwd`.
        processes: so many of them as one training, with the variables that torchrun sets; 0: one, without them.
        first: Python that each process runs before the command.

    Raises:
        subprocess.TimeoutExpired: it took longer.
    """
    words = [str(argument) for argument in arguments]
    ranks: list[dict[str, str]] = [{}]
    if processes:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
        place |= {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes)}
        ranks = [{**place, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(processes)]
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder) / "out", Path(folder) / "err"
        given = (words, str(cwd or Path.cwd()), str(out), str(err))
        started = [
            context().Process(target=_become, args=(*given, {**(environment or {}), **rank}, repository, first))
            for rank in ranks
        ]
        for process in started:
            process.start()
        end = time.monotonic() + timeout
        while any(process.exitcode is None for process in started) and not any(p.exitcode for p in started):
            if time.monotonic() > end:
                break
            connection.wait([process.sentinel for process in started if process.exitcode is None], 1.0)
        codes = [process.exitcode for process in started]
        for process in started:  # one that failed leaves the others waiting
            process.kill()
            process.join()
        if None in codes and not any(codes):
            raise subprocess.TimeoutExpired(words, timeout)
        texts = [path.read_text(errors="replace") if path.exists() else "" for path in (out, err)]
    return subprocess.CompletedProcess(words, next(filter(None, codes), 0), *texts)


def _become(
    words: list[str], folder: str, out: str, err: str, environment: dict[str, str], repository: bool, first: str = ""
) -> None:
    for descriptor, path in ((1, out), (2, err)):
        with open(path, "ab") as stream:
            os.dup2(stream.fileno(), descriptor)
    multiprocessing.set_start_method(None, force=True)  # loader processes come as they do by themselves
    gc.freeze()  # what the libraries hold is not looked through for garbage again
    spare_the_disk()
    os.chdir(folder)
    os.environ.update(environment)
    sys.path.insert(0, folder)  # as -m does
    if not repository:
        here = (str(ROOT), str(ROOT / "tests" / "helpers"))
        sys.path[:] = [path for path in sys.path if os.path.abspath(path or ".") not in here]
        sys.meta_path[:] = [f for f in sys.meta_path if "editable" not in getattr(f, "__module__", "")]
    sys.argv = list(words)
    exec(first, {})
    try:
        if words[0].endswith(".py"):
            sys.path.insert(0, str(Path(words[0]).parent))
            runpy.run_path(words[0], run_name="__main__")
        else:
            runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    except Exception:
        sys.excepthook(*sys.exc_info())  # as the interpreter does; multiprocessing would write a traceback of its own
        sys.exit(1)
    finally:
        atexit._run_exitfuncs()  # as the interpreter does; multiprocessing leaves them out


def start(*arguments: object, cwd: str | Path) -> BaseProcess:
    """Start `python -m <arguments>` and go on; what it prints is nobody's business."""
    words = [str(argument) for argument in arguments]
    process = context().Process(target=_become, args=(words, str(cwd), os.devnull, os.devnull, {}, True))
    process.start()
    return process


def together(work: Callable[..., object], *arguments: object, processes: int = 2) -> None:
    """Call `work(rank, *arguments)` in several processes at once, and wait for them.

    Raises:
        RuntimeError: one of them failed; what it said is on stderr.
    """
    started = [context().Process(target=work, args=(rank, *arguments)) for rank in range(processes)]
    for process in started:
        process.start()
    for process in started:
        process.join(240)
    codes = [process.exitcode for process in started]
    for process in started:
        process.kill()
    if any(codes) or None in codes:
        raise RuntimeError(f"processes ended with {codes}")


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

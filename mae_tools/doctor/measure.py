"""Measures a few steps of a stage, in a process of its own.

The stage runs through MONAI's command as ever, but for its entry `run`, which is `clock` here. Nothing is saved: the
process ends as soon as it has seen enough.
"""

import contextlib
import json
import multiprocessing
import os
import statistics
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from bundle_runtime.config import resolve
from bundle_runtime.engine.manifest import peak_memory
from bundle_runtime.files import write_json
from ignite.engine import Engine, Events
from monai.bundle import ConfigParser
from monai.bundle.scripts import run as monai_run
from tqdm import tqdm

_ENOUGH = 4  # steps


def clock(out: str, seconds: float, engine: str, dataset: str | None = None) -> None:
    """Run the engine of this config for some steps, write into a JSON file what they took, and end the process.

    What is written: preparation (seconds until the data set is there), held (MiB that it keeps in memory; None where
    the system does not tell), steps, step (median seconds of those after the first) and the peaks of `peak_memory`.

    Args:
        out: the file.
        seconds: after so long no further step is waited for; but a training, whose first one is slower, takes two.
        engine: id of the trainer or evaluator.
        dataset: id of the data set, where it is prepared before the first step.
    """
    before, began, least = _resident(), time.monotonic(), 1 if dataset is None else 2
    if dataset is not None:
        resolve(dataset)
    after = _resident()
    found: dict[str, Any] = {"preparation": time.monotonic() - began}
    found["held"] = None if before is None or after is None else max(0.0, after - before)
    stamps: list[float] = []

    def stamp() -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        stamps.append(time.monotonic())

    def step(running: Engine) -> None:
        stamp()
        taken, late = len(stamps) - 1, stamps[-1] - stamps[0] > seconds
        enough = taken >= _ENOUGH or (late and taken >= least)
        length, epochs = running.state.epoch_length or 0, running.state.max_epochs or 1
        if enough or taken == length * epochs:  # before the last handlers, which would save weights
            end()

    def end() -> None:
        times = [last - first for first, last in pairwise(stamps)]
        found.update(peak_memory(), steps=len(times), step=statistics.median(times[1:] or times))
        write_json(out, found)
        for worker in multiprocessing.active_children():
            worker.terminate()
        sys.stdout.flush()
        os._exit(0)  # no state, weights or pictures are written

    runner = resolve(engine)
    runner.add_event_handler(Events.STARTED, stamp)
    runner.add_event_handler(Events.ITERATION_COMPLETED, step)
    runner.run()
    end()


def _resident() -> float | None:
    """MiB that this process has in memory now; None where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def apart(plan_file: str, said_file: str) -> None:
    """Run one measurement in a process that was started for it; what goes wrong is said in a file.

    Args:
        plan_file: JSON of `files` (the config and its overlays), `settings` and `weights`: where to save untrained
            ones for a stage that loads some, else None.
        said_file: gets stderr.
    """
    for descriptor, path in ((1, os.devnull), (2, said_file)):
        with open(path, "w") as stream:
            os.dup2(stream.fileno(), descriptor)
    warnings.simplefilter("ignore")
    tqdm.set_lock(threading.RLock())  # its own, for several processes, would outlive this one
    try:
        _run(plan_file)
    except Exception:
        sys.excepthook(*sys.exc_info())  # as a process of its own would end: one sentence where one is enough
        sys.exit(1)


@contextlib.contextmanager
def server(method: str = "fork") -> Iterator[Callable[[str, str], int | None]]:
    """Runs `apart` in processes that are forked from one which has imported all they need; gives their exit codes.

    Args:
        method: how that one is started; "fork" is quick, but only for a program that has used neither CUDA nor threads.
    """
    context = multiprocessing.get_context(method)
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, ours))  # type: ignore[attr-defined]
    process.start()
    theirs.close()

    def run(plan_file: str, said_file: str) -> int | None:
        ours.send((plan_file, said_file))
        return ours.recv()

    try:
        yield run
    finally:
        ours.close()
        process.join()


def _serve(asked: Connection, other: Connection) -> None:
    other.close()  # else the end of the one who asks would not be seen
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        while True:
            process = multiprocessing.get_context("fork").Process(target=apart, args=asked.recv())
            process.start()
            process.join()
            asked.send(process.exitcode)


def _run(plan_file: str) -> None:
    plan = json.loads(Path(plan_file).read_text(encoding="utf-8"))
    if plan["weights"]:
        parser = ConfigParser()
        parser.read_config(plan["files"])
        parser.update({key: value for key, value in plan["settings"].items() if key in parser})
        torch.save(parser.get_parsed_content("network_def").state_dict(), plan["weights"])
    monai_run(config_file=plan["files"], **plan["settings"])

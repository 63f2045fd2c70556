"""A request to stop (SIGTERM, Ctrl-C) becomes a note that the training reads at a moment that suits it."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import torch.distributed as dist
from custom_components.distributed import distributed, is_main
from torch.utils.data import DataLoader

_STDERR = 2
_WHAT_NOW = "stopping after this update, or the validation that is running, and saving; a second signal stops at once."


class StopSignals:
    """Notes SIGTERM and SIGINT instead of dying of them; a second one acts as it would have.

    Attributes:
        received: Name of the signal that came; None if none did.
    """

    def __init__(self) -> None:
        self.received: str | None = None
        self._previous: dict[int, Any] = {}

    def catch(self) -> None:
        """Begin to listen. Only a process's main thread can; elsewhere nothing changes."""
        self.received = None
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._note)

    def release(self) -> None:
        """Put back what was in force before `catch`."""
        while self._previous:
            number, handler = self._previous.popitem()
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number).name
        if is_main():
            # Past Python's buffers, which the signal may have interrupted in the midst of a line. A terminal that is
            # gone must not keep the training from saving.
            with contextlib.suppress(OSError):
                os.write(_STDERR, f"\n{self.received}: {_WHAT_NOW}\n".encode())
        self.release()


def exit_if_interrupted(engine: Any) -> None:
    """End the process as a shell expects it of an interrupted command; the last step of a training's config.

    Whatever comes next, such as the stage that would read the weights, can then see that they are unfinished.

    Args:
        engine: The trainer that has run; `Checkpoint` notes in its state which signal stopped it.

    Raises:
        SystemExit: A signal stopped it: 128 + its number, 130 for Ctrl-C and 143 for SIGTERM.
    """
    name = getattr(engine.state, "interrupted", None)
    if not name:
        return
    if distributed():
        dist.barrier()  # torchrun ends the others when one has left: the main process must have written
        dist.destroy_process_group()
    number = signal.SIGINT if name == signal.SIGINT.name else signal.SIGTERM  # the other processes know no name
    raise SystemExit(128 + number)


class LeaveToParent:
    """A `worker_init_fn` that leaves signals to the parent of a data loader's worker.

    Ctrl-C, torchrun and cluster schedulers signal whole process groups. A worker that obeys takes the training down in
    the midst of the iteration that it wanted to finish.

    Args:
        before: The `worker_init_fn` that this one replaces; it is called first.
    """

    def __init__(self, before: Callable[[int], Any] | None = None) -> None:
        self.before = before

    def __call__(self, worker_id: int) -> None:
        """Set up the signals of this worker process."""
        if self.before is not None:
            self.before(worker_id)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if hasattr(signal, "sigwaitinfo"):  # not on macOS and Windows
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
            threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()

    @classmethod
    def protect(cls, loader: Any) -> None:
        """Give the workers that `loader` will start this behaviour."""
        if isinstance(loader, DataLoader) and not isinstance(loader.worker_init_fn, cls):
            loader.worker_init_fn = cls(loader.worker_init_fn)


def _end_with_parent(parent: int) -> None:
    # The loader itself ends a worker that does not finish with SIGTERM, and waits for it: that one must be obeyed.
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)

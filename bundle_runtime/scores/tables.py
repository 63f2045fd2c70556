"""Tables of an inference for people: rows kept until its end, gathered over all processes, written by the first."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from custom_components.distributed import gather_objects, is_main
from ignite.engine import Events
from monai.engines.workflow import Workflow


class Table(ABC):
    """Handler of an evaluator that writes tables when it ends.

    A case that failed on the way has no row, and one that comes twice has one. Tables of an earlier run are removed at
    the start, so that none is ever older than what lies beside it.

    Attributes:
        rows: by what tells a case from all others.

    Args:
        paths: the files.
    """

    def __init__(self, *paths: Path) -> None:
        self.paths = paths
        self.rows: dict[Any, Any] = {}

    def attach(self, engine: Workflow) -> None:
        """Attach to the evaluator."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._take)
        engine.add_event_handler(Events.COMPLETED, self._finish)

    @abstractmethod
    def _take(self, engine: Workflow) -> None:
        """Add the rows of a batch."""

    @abstractmethod
    def _write(self) -> None:
        """Write the files."""

    def _start(self, engine: Workflow) -> None:
        self.rows = {}
        if is_main():
            for path in self.paths:
                path.unlink(missing_ok=True)

    def _finish(self, engine: Workflow) -> None:
        self.rows = {key: row for part in gather_objects(self.rows) for key, row in part.items()}
        if is_main():
            self._write()

"""What inference runs share: what can be used runs, the rest is listed, and the exit code tells."""

import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import current_thread, main_thread
from typing import TYPE_CHECKING, Any

import torch
from custom_components.distributed import is_main
from custom_components.errors import InputError
from monai.data.utils import list_data_collate
from monai.engines.utils import IterationEvents
from torch.utils.data import DataLoader, Dataset, Subset, default_convert

from ..failures import find_input_error, sentence_of
from ..files import write_json
from .schema import Item
from .verify import ItemInputError, Problem, sentence

if TYPE_CHECKING:  # a run on volumes has no code of pictures
    from .verify_pictures import Seen

_LISTED = 5
NOT_FINITE = "the network's output is not finite; check the weights, and that amp is bf16 or off"


class InferenceInputs:
    """The cases of an inference run. A failing one is noted, and the next one is taken.

    Args:
        output_dir: folder for `failures.json`, written by `finish` when something failed.

    Attributes:
        count: cases that were found.
        problems: everything that could not be used so far.
    """

    noun = "images"
    told = ""  # printed at the end, of `done`, `failed` and `place`

    def __init__(self, output_dir: str | Path) -> None:
        self.output_dir = Path(output_dir)
        self.count = 0
        self.problems: list[Problem] = []
        self.output_dir.mkdir(parents=True, exist_ok=True)  # a place that cannot be written shows before the first case
        (self.output_dir / "failures.json").unlink(missing_ok=True)

    def set_aside(self, case: str, file: str, reason: str) -> None:
        """Note that a case could not be used."""
        self.problems.append(Problem("", case, file, "error", reason))

    def lost(self, case: str, file: str, what: str, error: BaseException) -> None:
        """The same of one that could not be segmented, scored, ..., and why."""
        self.set_aside(case, file, f"it could not be {what} ({sentence_of(error).removesuffix('.')})")

    def take(self, items: Sequence[Item], seen: "Mapping[str, Seen]") -> list[Item]:
        """The items whose files gave a picture, with `warning` and the like of `about`; the others are set aside.

        Args:
            items: each of one file.
            seen: what each file holds.

        Raises:
            InputError: none is left.
        """
        usable = []
        for item in items:
            found = seen[item["file"]]
            if found.problem:
                self.set_aside(item["case"], item["file"], found.problem)
            else:
                usable.append({**item, **self.about(found)})
        if not usable:
            self.finish()
        return usable

    def about(self, found: "Seen") -> dict[str, Any]:
        """What a picture adds to its item: why its result may mean nothing (equal pixels, a tiny picture), or ""."""
        return {"warning": "; ".join(found.doubts())}

    def finish(self) -> None:
        """Print what was done, and report what could not be used.

        Raises:
            InputError: naming the first of them and why; the results of the others are written.
        """
        failed = len({problem.case for problem in self.problems})
        if self.told and is_main():
            print(self.told.format(done=self.count - failed, failed=failed, place=self.output_dir), flush=True)
        if not self.problems:
            return
        rows: list[dict[str, Any]] = [{"file": problem.file, "problem": problem.message} for problem in self.problems]
        path = self.output_dir / "failures.json"
        try:
            write_json(path, rows, ensure_ascii=False)  # for people, with the names as they are
            where = f"Listed in {path}."
        except OSError as error:  # a full disk may be why they failed
            where = f"They could not be listed: {sentence_of(error)}"
        listed = "; ".join(str(problem) for problem in self.problems[:_LISTED])
        more = f"; and {len(self.problems) - _LISTED} more" if len(self.problems) > _LISTED else ""
        raise InputError(f"{failed} of {self.count} {self.noun} could not be used: {listed}{more}. {where}")

    def iteration(self, engine: Any, batch: dict[str, Any]) -> Any:
        """The evaluator's `iteration_update`: a case that cannot be read, or that fails on the way, is set aside."""
        engine.state.inputs = self  # for handlers, see `each_case`
        if not engine.has_event_handler(_check_output, IterationEvents.FORWARD_COMPLETED):
            engine.add_event_handler(IterationEvents.FORWARD_COMPLETED, _check_output)
        if "problem" in batch:
            for case, file, problem in zip(batch["case"], batch["file"], batch["problem"], strict=True):
                self.set_aside(case, file, problem)
        else:
            try:
                return engine._iteration(engine, batch)
            except Exception as error:  # whatever it was, it is listed, and it decides the exit code
                if "case" in batch:
                    self.lost(batch["case"][0], batch["file"][0], "segmented", error)
                elif len(batch["index"]) == 1:
                    item = engine.data_loader.dataset.data[int(batch["index"])]
                    self.lost(item["case"], item["file"], "classified", error)
            if len(batch["image"]) > 1:  # here, where the error no longer holds the memory that may have run out
                return self._one_by_one(engine, batch)
        engine.state.batch = []
        return []

    def _one_by_one(self, engine: Any, batch: Mapping[str, torch.Tensor]) -> Any:
        """The same for each image of a batch alone, so that one that fails costs itself; the others are joined."""
        parts = []
        for row in range(len(batch["image"])):
            alone = {key: values[row : row + 1] for key, values in batch.items()}
            output = self.iteration(engine, alone)
            parts += [(alone, output)] if output else []
        joined = [{key: _joined([part[key] for part in side]) for key in side[0]} for side in zip(*parts, strict=True)]
        engine.state.batch, output = joined or ([], [])
        return output


def _joined(values: Sequence[Any]) -> Any:
    """Tensors along their first axis; None, where there are no labels, stays."""
    return torch.cat(list(values)) if isinstance(values[0], torch.Tensor) else values[0]


def check_finite(logits: torch.Tensor) -> None:
    """Refuse what a network says where it says nothing: as a class map it would look like any other.

    Raises:
        InputError: NaN, or infinity.
    """
    values = torch.as_tensor(logits)
    # By its extremes: a copy in float32, or a mask, would take as much memory again.
    if not (values.amax().float() - values.amin().float()).isfinite():
        raise InputError(f"{NOT_FINITE}.")


def _check_output(engine: Any) -> None:
    check_finite(engine.state.output["pred"])


class EvaluatedCases(InferenceInputs):
    """The cases of an evaluation: those that fail are left out of the scores, named, and decide the exit code.

    Args:
        output_dir: see `InferenceInputs`.
        items: of the datalist; none where a cache of pictures hands them over, see `take`.
    """

    noun = "cases"

    def __init__(self, output_dir: str | Path, items: Sequence[Item] = ()) -> None:
        super().__init__(output_dir)
        self.count = len(items)

    def take(self, items: Sequence[Item], seen: "Mapping[str, Seen]") -> list[Item]:
        """See `InferenceInputs.take`."""
        self.count += len(items)
        return super().take(items, seen)


class CaseDataset(Dataset):
    """The cases of an inference, each read and verified when its turn comes; a batch is one case.

    A case that cannot be used comes as `case`, `file` and `problem`, for `InferenceInputs.iteration`.

    Args:
        data: the items.
        transform: MONAI transforms.
    """

    def __init__(self, data: Sequence[Item], transform: Callable[[Mapping[str, Any]], Any]) -> None:
        self.data, self.transform = data, transform

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Any:
        item = self.data[index]
        try:
            return self.transform(dict(item))
        except Exception as error:  # whatever it was: one bad file must not cost the results of the others
            reason = find_input_error(error)
            if isinstance(reason, ItemInputError) and reason.problems:
                problem = reason.problems[0]
                return {"case": item["case"], "file": problem.file, "problem": problem.message}
            text = f"it could not be prepared ({sentence_of(error).removesuffix('.')})"
            said = text if reason is None else sentence(reason, item["file"])
            return self.failed(index, said)

    def failed(self, index: int, reason: str) -> dict[str, Any]:
        """What stands for a case that cannot be used."""
        return {"case": self.data[index]["case"], "file": self.data[index]["file"], "problem": reason}


class CaseLoader(DataLoader):
    """The batches of cases one by one, in their order; a loader process that dies costs its case alone.

    With it die the cases that it had read ahead. So the one that was waited for is read again by a process of its own;
    if that dies as well, what the data set's `failed` makes of it stands for it. New processes then read the others.

    Args:
        dataset: a `CaseDataset`, or another one with `failed(index, reason)`.
        num_workers: processes that read ahead; 0 reads in the main one.
        batched: the elements of the data set are whole batches, else each becomes one.
    """

    def __init__(self, dataset: Any, num_workers: int = 0, batched: bool = False) -> None:
        self.settings: dict[str, Any] = {
            "batch_size": None if batched else 1,
            "collate_fn": default_convert if batched else list_data_collate,
            "pin_memory": batched and torch.cuda.is_available(),
            "generator": torch.Generator(),  # its own: reading takes no random numbers of the run
        }
        super().__init__(dataset, num_workers=num_workers, **self.settings)

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        cases: Any = self.dataset
        done, alone = 0, False
        while done < len(cases):
            part = Subset(cases, range(done, done + 1 if alone else len(cases)))
            try:
                for batch in DataLoader(part, num_workers=min(self.num_workers, len(part)), **self.settings):
                    with _undisturbed():
                        done += 1
                        yield batch
                alone = False
            except (RuntimeError, ConnectionError, EOFError) as error:
                if alone:
                    failed = cases.failed(done, sentence_of(error).removesuffix("."))
                    done += 1
                    yield self.settings["collate_fn"](failed if self.batch_size is None else [failed])
                alone = not alone


@contextmanager
def _undisturbed() -> Iterator[None]:
    """No loader process that dies interrupts the work on a case; it is found out when it is waited for.

    PyTorch's handler of the signal raises in the main thread wherever that is, mostly in the network on another case.
    """
    if not hasattr(signal, "SIGCHLD") or current_thread() is not main_thread():
        yield
        return
    handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, handler)

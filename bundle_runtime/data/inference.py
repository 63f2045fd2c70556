"""What inference runs share: what can be used runs, the rest is listed, and the exit code tells."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from custom_components.distributed import is_main
from custom_components.errors import InputError, find_input_error

from ..files import write_json
from .schema import Item
from .verify import ItemInputError, Problem, sentence

_LISTED = 5


class InferenceInputs:
    """The cases of an inference run. A failing one is noted, and the next one is taken.

    Args:
        output_dir: folder for `failures.json`, written by `finish` when something failed.
        section: name of the list that the cases come from.

    Attributes:
        count: cases that were found.
        problems: everything that could not be used so far.
    """

    noun = "images"
    told = ""  # printed at the end, of `done`, `failed` and `place`

    def __init__(self, output_dir: str | Path, section: str = "test") -> None:
        self.section, self.output_dir = section, Path(output_dir)
        self.count = 0
        self.problems: list[Problem] = []
        (self.output_dir / "failures.json").unlink(missing_ok=True)

    def set_aside(self, case: str, file: str, reason: str) -> None:
        """Note that a case could not be used."""
        self.problems.append(Problem(self.section, case, file, "error", reason))

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
        write_json(path, rows)
        listed = "; ".join(str(problem) for problem in self.problems[:_LISTED])
        more = f"; and {len(self.problems) - _LISTED} more" if len(self.problems) > _LISTED else ""
        raise InputError(f"{failed} of {self.count} {self.noun} could not be used: {listed}{more}. Listed in {path}.")

    def iteration(self, engine: Any, batch: dict[str, Any]) -> Any:
        """The evaluator's `iteration_update`: a case that cannot be read, or that fails on the way, is set aside."""
        cases = list(zip(batch["case"], batch["file"], strict=True))
        if "problem" in batch:
            for (case, file), problem in zip(cases, batch["problem"], strict=True):
                self.set_aside(case, file, problem)
        else:
            try:
                return engine._iteration(engine, batch)
            except Exception as error:  # whatever it was, it is listed, and it decides the exit code
                reason = find_input_error(error) or error
                for case, file in cases:
                    self.set_aside(case, file, f"it could not be segmented ({type(reason).__name__}: {reason})")
        engine.state.batch = []
        return []


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
            text = f"it could not be prepared ({type(error).__name__}: {error})"
            said = text if reason is None else sentence(reason, item["file"])
            return {"case": item["case"], "file": item["file"], "problem": said}

"""New pictures to segment: as `ImageInputs`, with names that files can have; a failure does not end the run."""

import re
from typing import Any

from ..errors import find_input_error
from .check_report import Problem
from .image_inputs import ImageInputs


class TileInputs(ImageInputs):
    """The pictures of a segmentation run: what cannot be used is set aside, the rest runs, the exit code tells.

    Arguments, attributes and errors are those of `ImageInputs`; cases are made fit to be the names of result files.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        taken: set[str] = set()
        for item in self.items:
            wanted = re.sub(r"[^A-Za-z0-9._-]+", "_", item["case"])
            name, number = wanted, 2
            while name in taken:
                name, number = f"{wanted}_{number}", number + 1
            taken.add(name)
            item["case"] = name

    def iteration(self, engine: Any, batch: dict[str, Any]) -> Any:
        """The evaluator's `iteration_update`: a picture that fails on the way is noted, and the next one is taken."""
        cases = list(zip(batch["case"], batch["file"], strict=True))
        try:
            return engine._iteration(engine, batch)
        except Exception as error:  # whatever it was, it is listed, and it decides the exit code
            reason = find_input_error(error) or error
            text = f"it could not be segmented ({type(reason).__name__}: {reason})"
            self.problems += [Problem(self.section, case, file, "error", text) for case, file in cases]
            engine.state.batch = []
            return []

    def finish(self) -> None:
        """Print how many pictures were segmented, and report those that could not be used.

        Raises:
            InputError: naming the first of them and why; the results of the others are written.
        """
        failed = len({problem.case for problem in self.problems})
        print(f"Segmented: {self.count - failed} picture(s) in {self.output_dir}; {failed} failed.", flush=True)
        super().finish()

"""New pictures to segment: as `ImageInputs`, with names that files can have; a failure does not end the run."""

import re
from typing import Any

from .case_by_case import CaseByCase
from .image_inputs import ImageInputs


class TileInputs(CaseByCase, ImageInputs):
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

    def finish(self) -> None:
        """Print how many pictures were segmented, and report those that could not be used.

        Raises:
            InputError: naming the first of them and why; the results of the others are written.
        """
        failed = len({problem.case for problem in self.problems})
        print(f"Segmented: {self.count - failed} picture(s) in {self.output_dir}; {failed} failed.", flush=True)
        super().finish()

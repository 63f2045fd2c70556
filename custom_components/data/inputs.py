"""New images for inference: found in a folder or a datalist, screened, and the failures reported at the end."""

import json
from pathlib import Path
from typing import Any

from ..errors import InputError, find_input_error
from ..files import write_atomically
from . import datalist as datalists
from .check import screen
from .check_case import Problem
from .schema import Item
from .sequences import file_stem

SUFFIXES = (".nii", ".nii.gz")


class Inputs:
    """The images of an inference run: what cannot be used is set aside, the rest runs, the exit code tells.

    Args:
        dataset_dir: folder of images (`.nii`, `.nii.gz`), searched without its subfolders, or the base of the datalist.
        datalist: a datalist whose `section` is read instead of the folder; None takes the folder.
        section: section of the datalist.
        channels: image channels that the network takes.
        output_dir: folder for `failures.json`, written by `finish` when something failed.

    Attributes:
        items: the usable items; each has image, file, case, patient_id.

    Raises:
        InputError: no image was found, or none of them can be used.
    """

    def __init__(
        self,
        dataset_dir: str,
        datalist: str | None = None,
        section: str = "test",
        channels: int = 1,
        output_dir: str = ".",
    ) -> None:
        if datalist is None:
            found = _in_folder(Path(dataset_dir))
        else:
            found = datalists.items(datalist, section, dataset_dir, need_label=False)
        for item in found:
            item.pop("label", None)
        self.items, self.problems = screen(found, channels)
        self.count, self.section, self.output_dir = len(found), section, Path(output_dir)
        (self.output_dir / "failures.json").unlink(missing_ok=True)
        if not self.items:
            self.finish()

    def iteration(self, engine: Any, batch: dict[str, Any]) -> Any:
        """The evaluator's `iteration_update`: a case that fails on the way is noted, and the next one is taken."""
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
        """Report the images that could not be used.

        Raises:
            InputError: naming each of them and why; the results of the others are written.
        """
        if not self.problems:
            return
        rows: list[dict[str, Any]] = [{"file": problem.file, "problem": problem.message} for problem in self.problems]
        path = self.output_dir / "failures.json"
        write_atomically(path, json.dumps(rows, indent=2) + "\n")
        listed = "; ".join(str(problem) for problem in self.problems)
        failed = len({problem.case for problem in self.problems})
        raise InputError(f"{failed} of {self.count} images could not be used: {listed}. Listed in {path}.")


def _in_folder(folder: Path) -> list[Item]:
    if not folder.is_dir():
        raise InputError(f"dataset_dir {folder} is not a folder; give the folder that holds the images.")
    files = sorted(file for file in folder.iterdir() if file.name.endswith(SUFFIXES) and file.is_file())
    if not files:
        raise InputError(f"dataset_dir {folder} holds no {' or '.join(SUFFIXES)} file; give the folder of the images.")
    stems = [file_stem(file) for file in files]
    twice = next((stem for stem in stems if stems.count(stem) > 1), None)
    if twice is not None:
        raise InputError(f"dataset_dir {folder} holds two images named {twice} (.nii and .nii.gz); remove one of them.")
    return [
        {"image": str(file), "file": str(file), "case": file_stem(file), "patient_id": file_stem(file)}
        for file in files
    ]

"""New pictures for inference: found in a folder or a datalist, decoded once, and the failures reported at the end."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from custom_components.distributed import is_main
from custom_components.errors import InputError

from ..check.check_report import Problem
from ..check.image_inspect import Seen, inspect_files, is_picture_file
from ..files import write_json
from . import datalist as datalists
from .folder import holds_report, image_folder
from .image_file import PICTURE_SUFFIXES
from .schema import Item, as_list


class ImageInputs:
    """The pictures of an inference run: what cannot be used is set aside, the rest runs, the exit code tells.

    Args:
        dataset_dir: folder of pictures and DICOM files, searched with its subfolders (hidden ones, `output_dir` and
            what `check` wrote left out), or the base of the datalist. A file without a known ending counts if its
            first bytes are those of a picture or of DICOM.
        datalist: a datalist whose `section` is read instead of the folder; None takes the folder.
        section: section of the datalist.
        output_dir: folder for `failures.json`, written by `finish` when something failed.
        num_workers: processes that decode; 0 decodes in this one.
        modalities: what the network was made for, as DICOM names it (CR, DX, ...); None for any.
        views: view positions that it was made for, as DICOM names them (PA, AP, ...); None for any.

    Attributes:
        items: the usable items; each has image, file, case, patient_id, and `warning`: why its result may mean nothing
            (another modality or view than those above, equal pixels), or "". In a folder a picture's case is its name,
            and its patient that of the DICOM header, or else the case.

    Raises:
        InputError: no picture was found, or none of them can be used.
    """

    def __init__(
        self,
        dataset_dir: str,
        datalist: str | None = None,
        section: str = "test",
        output_dir: str = ".",
        num_workers: int = 0,
        modalities: Sequence[str] | None = None,
        views: Sequence[str] | None = None,
    ) -> None:
        self.section, self.output_dir = section, Path(output_dir)
        wanted = {"modality": modalities, "view position": views}
        expected = {name: as_list(values) for name, values in wanted.items() if values is not None}
        if datalist is not None:
            found = datalists.items(datalist, section, dataset_dir, need_label=False)
        else:
            found = _in_folder(dataset_dir, self.output_dir)
        self.count = len(found)
        self.items: list[Item] = []
        self.problems: list[Problem] = []
        single = [item for item in found if len(as_list(item["image"])) == 1]
        for item in found:
            if len(as_list(item["image"])) > 1:
                self._set_aside(item, f"is one of {len(item['image'])} files of an item, expected one picture an item")
        seen = inspect_files([item["file"] for item in single], num_workers=num_workers, progress=is_main())
        for item, entry in zip(single, seen, strict=True):
            if entry.problem:
                self._set_aside(item, entry.problem)
            else:
                known = {"patient_id": entry.patient} if datalist is None and entry.patient else {}
                self.items.append({**item, **known, "warning": _warning(entry, expected)})
        (self.output_dir / "failures.json").unlink(missing_ok=True)
        if not self.items:
            self.finish()

    def finish(self) -> None:
        """Report the pictures that could not be used.

        Raises:
            InputError: naming the first of them and why; the results of the others are written.
        """
        if not self.problems:
            return
        rows: list[dict[str, Any]] = [{"file": problem.file, "problem": problem.message} for problem in self.problems]
        path = self.output_dir / "failures.json"
        write_json(path, rows)
        listed = "; ".join(str(problem) for problem in self.problems[:5])
        more = f"; and {len(self.problems) - 5} more" if len(self.problems) > 5 else ""
        raise InputError(
            f"{len(self.problems)} of {self.count} images could not be used: {listed}{more}. Listed in {path}."
        )

    def _set_aside(self, item: Item, reason: str) -> None:
        self.problems.append(Problem(self.section, item["case"], item["file"], "error", reason))


def _warning(seen: Seen, expected: Mapping[str, Sequence[str]]) -> str:
    """Why the network may not have been made for a picture; what its header leaves open speaks for it."""
    found = ["all its pixels are equal"] if seen.constant else []
    said = {"modality": seen.modality, "view position": seen.view}
    for name, wanted in expected.items():
        if said[name] and said[name].upper() not in wanted:
            found.append(f"its DICOM {name} is {said[name]}, expected {' or '.join(wanted)}")
    return "; ".join(found)


def _in_folder(dataset_dir: str, output_dir: Path) -> list[Item]:
    """The items of a folder and its subfolders, in the order of their paths."""
    folder = image_folder(dataset_dir)
    own = os.path.abspath(output_dir)  # earlier results are no input
    files: list[Path] = []
    for here, folders, names in os.walk(folder):
        inside = (name for name in folders if not name.startswith(".") and os.path.join(here, name) != own)
        folders[:] = sorted(inside)
        if Path(here) != folder and holds_report(names):
            folders[:] = []
            continue
        files += [Path(here, name) for name in sorted(names) if not name.startswith(".") and name.upper() != "DICOMDIR"]
    files = [file for file in files if is_picture_file(file)]
    if not files:
        raise InputError(
            f"dataset_dir {dataset_dir} and its subfolders hold no picture ({', '.join(PICTURE_SUFFIXES)}, or DICOM "
            "without an ending); give the folder of the images."
        )
    stems = Counter(_stem(file) for file in files)
    cases = [_stem(file) if stems[_stem(file)] == 1 else file.relative_to(folder).as_posix() for file in files]
    return [
        {"image": str(file), "file": str(file), "case": case, "patient_id": case}
        for file, case in zip(files, cases, strict=True)
    ]


def _stem(file: Path) -> str:
    """The name without an ending that says what the file is; `1.2.840.7` has none."""
    return file.stem if file.suffix.lower() in PICTURE_SUFFIXES else file.name

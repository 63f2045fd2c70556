"""New volumes for inference: found in a folder or a datalist, and the failures reported at the end."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from custom_components.errors import InputError

from ..dicom.pixels import text
from ..dicom.series import Export, NoVolume, Series, series_below
from . import datalist as datalists
from .find import DETACHED, VOLUMES, files_below, image_folder, other_kind, other_volumes, some, without_masks
from .inference import InferenceInputs
from .schema import Item
from .sequences import file_stem, readable
from .volume import UnusableError


class Inputs(InferenceInputs):
    """The volumes of an inference run, which go through a `CaseDataset`.

    Args:
        dataset_dir: folder of images (NIfTI, NRRD, MetaImage, DICOM series), searched with all its subfolders but those
            of labels, or the base of the datalist.
        datalist: a datalist whose `section` is read instead of the folder; None takes the folder.
        section: section of the datalist.
        output_dir: folder for `failures.json`.

    Attributes:
        items: each has image, file, case and patient_id.

    Raises:
        InputError: no image was found.
    """

    told = "Written: {done} label map(s) in {place}; {failed} image(s) failed."

    def __init__(
        self, dataset_dir: str, datalist: str | None = None, section: str = "test", output_dir: str = "."
    ) -> None:
        super().__init__(output_dir)
        if datalist is not None:
            found = datalists.items(datalist, section, dataset_dir, need_label=False)
        else:
            found = self.in_folder(image_folder(dataset_dir, output_dir))
        self.count = len(found) + len(self.problems)
        self.items: list[Item] = self.usable(found)
        if not self.items:
            self.finish()

    def usable(self, found: list[Item]) -> list[Item]:
        """The items that can be predicted; the others go to the problems."""
        return found

    def in_folder(self, folder: Path) -> list[Item]:
        """The volumes in a folder and below it; series that cannot be used go to the problems.

        Raises:
            InputError: none is there.
        """
        listed = files_below(folder, leave_out=[self.output_dir])
        files = without_masks(listed, VOLUMES)
        paths = {str(folder / file): file for file in files if file.lower().endswith(VOLUMES)}
        series, others = series_below(folder, files)
        for path, found in series.items():
            inside = os.path.relpath(path, folder)
            name = inside if os.path.isdir(path) else f"{os.path.dirname(inside)}/{text(found.header, 'SeriesNumber')}"
            paths[path] = folder.name if inside == "." else name
        cases = _case_names(paths)
        for path, found in series.items():
            try:
                found.stack()
            except NoVolume as reason:
                others.refused[path] = f"{found.title()} {reason}"
                del cases[path]
            except UnusableError as reason:
                self.set_aside(cases.pop(path), path, f"{found.title()} {reason}")
        unknown = tell_left_out(folder, files, series, others)
        if not cases and not self.problems:
            raise InputError(
                f"dataset_dir {folder} holds no volume, at any depth{unknown}; expected {', '.join(VOLUMES)} files or "
                "DICOM series (folders named label, mask or seg are left out)."
            )
        return [
            {"image": path, "file": path, "case": case, "patient_id": case}
            for path, case in sorted(cases.items(), key=lambda pair: pair[1])
        ]


def _case_names(paths: Mapping[str, str]) -> dict[str, str]:
    """A name for each path from its place in the folder: the last part, or all of them where others end alike."""
    short = {path: file_stem(inside) if inside.lower().endswith(VOLUMES) else inside for path, inside in paths.items()}
    counts = Counter(short.values())
    names: dict[str, str] = {}
    for path, inside in paths.items():
        alone = counts[short[path]] == 1 or short[path] == inside  # a series has all parts already
        wanted = short[path] if alone else inside.removesuffix(Path(inside).name) + short[path]
        wanted, number = readable(wanted.replace("/", "_")), 1
        while wanted in names.values():
            number += 1
            wanted = f"{wanted}_{number}"
        names[path] = wanted
    return names


def tell_left_out(folder: Path, files: Sequence[str], series: Mapping[str, Series], others: Export) -> str:
    """Print what is no input, and say what is there of other kinds, for the message where nothing else is."""
    reasons = {**others.refused, **dict.fromkeys(others.objects, "is a segmentation or a set of contours")}
    if reasons:
        listed = some((f"{os.path.basename(path)} ({reason})" for path, reason in reasons.items()), 3)
        print(f"{len(reasons)} DICOM object(s) are left out: {listed}.")
    known = {*reasons, *(file for found in series.values() for file in found.files)}
    rest = [file for file in files if str(folder / file) not in known and not file.lower().endswith(VOLUMES)]
    unknown = other_volumes(folder, rest)
    plain = [file for file in rest if other_kind(folder / file) is None and not file.lower().endswith(DETACHED)]
    if plain:
        print(f"{len(plain)} file(s) of {folder} are no volumes and are left out: {some(plain, 3)}.")
    if unknown:
        print(f"{folder}: {unknown} are left out; convert what belongs to the data.")
    return f"; {unknown}: these have to be converted or named so" if unknown else ""

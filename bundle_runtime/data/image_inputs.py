"""New pictures for inference: found in a folder or a datalist, and the failures reported at the end."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from custom_components.errors import InputError

from ..files import file_name
from . import datalist as datalists
from .find import files_below, image_folder, some, without_masks
from .image_file import PICTURE_SUFFIXES, is_picture_file
from .inference import InferenceInputs
from .schema import Item, as_list
from .sequences import readable
from .verify_pictures import Seen


class ImageInputs(InferenceInputs):
    """The pictures of an inference run; they are decoded by an `ImageCache`, which tells what they hold.

    Args:
        dataset_dir: folder of pictures and DICOM files, searched with its subfolders (hidden ones, `output_dir`, what
            `check` wrote and masks beside pictures left out), or the base of the datalist. A file without a known
            ending counts if its first bytes are those of a picture or of DICOM.
        datalist: a datalist whose `section` is read instead of the folder; None takes the folder.
        section: section of the datalist.
        output_dir: folder for `failures.json`.
        modalities: what the network was made for, as DICOM names it (CR, DX, ...); None for any.
        views: view positions that it was made for, as DICOM names them (PA, AP, ...); None for any.

    Attributes:
        items: each has image, file, case and patient_id. In a folder a picture's case is its name, and its patient
            that of the DICOM header, or else the case.

    Raises:
        InputError: no picture was found, or none that could be used.
    """

    def __init__(
        self,
        dataset_dir: str,
        datalist: str | None = None,
        section: str = "test",
        output_dir: str = ".",
        modalities: Sequence[str] | None = None,
        views: Sequence[str] | None = None,
    ) -> None:
        super().__init__(output_dir)
        wanted = {"modality": modalities, "view position": views}
        self.expected = {name: as_list(values) for name, values in wanted.items() if values is not None}
        self.in_folder = datalist is None
        if datalist is not None:
            found = datalists.items(datalist, section, dataset_dir, need_label=False)
        else:
            found = _in_folder(dataset_dir, self.output_dir)
        self.count = len(found)
        self.items: list[Item] = []
        for item in found:
            if len(as_list(item["image"])) > 1:
                text = f"is one of {len(item['image'])} files of an item, expected one picture an item"
                self.set_aside(item["case"], item["file"], text)
            else:
                self.items.append(item)
        if not self.items:
            self.finish()

    def about(self, found: Seen) -> dict[str, Any]:
        """The patient of a header, and why the result may mean nothing: another modality or view than expected, ..."""
        known = {"patient_id": found.patient} if self.in_folder and found.patient else {}
        return {**known, "warning": _warning(found, self.expected)}


class TileInputs(ImageInputs):
    """The pictures of a segmentation run, which go through a `CaseDataset`; cases can be names of result files.

    Arguments, attributes and errors are those of `ImageInputs`.
    """

    told = "Segmented: {done} picture(s) in {place}; {failed} failed."

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        taken: set[str] = set()
        for item in self.items:
            wanted = file_name(item["case"])
            name, number = wanted, 2
            while name in taken:
                name, number = f"{wanted}_{number}", number + 1
            taken.add(name)
            item["case"] = name


def _warning(seen: Seen, expected: Mapping[str, Sequence[str]]) -> str:
    """Why the network may not have been made for a picture; what its header leaves open speaks for it."""
    found = seen.doubts()
    said = {"modality": seen.modality, "view position": seen.view}
    for name, wanted in expected.items():
        if said[name] and said[name].upper() not in wanted:
            found.append(f"its DICOM {name} is {said[name]}, expected {' or '.join(wanted)}")
    return "; ".join(found)


def _in_folder(dataset_dir: str, output_dir: Path) -> list[Item]:
    """The items of a folder and its subfolders, in the order of their paths."""
    folder = image_folder(dataset_dir, output_dir)
    # Earlier results are no input.
    names = without_masks(files_below(folder, leave_out=[output_dir]), PICTURE_SUFFIXES)
    found = [folder / name for name in names if not name.endswith("DICOMDIR")]
    files = list(filter(is_picture_file, found))
    others = [file.relative_to(folder).as_posix() for file in sorted({*found} - {*files})]
    if files and others:
        print(f"{len(others)} file(s) of {folder} are no pictures and are left out: {some(others, 3)}.")
    if not files:
        raise InputError(
            f"dataset_dir {dataset_dir} and its subfolders hold no picture ({', '.join(PICTURE_SUFFIXES)}, or DICOM "
            "without an ending) that is no mask by its name; give the folder of the images."
        )
    stems = Counter(_stem(file) for file in files)
    cases = [_stem(file) if stems[_stem(file)] == 1 else file.relative_to(folder).as_posix() for file in files]
    return [
        {"image": str(file), "file": str(file), "case": case, "patient_id": case}
        for file, case in zip(files, map(readable, cases), strict=True)
    ]


def _stem(file: Path) -> str:
    """The name without an ending that says what the file is; `1.2.840.7` has none."""
    return file.stem if file.suffix.lower() in PICTURE_SUFFIXES else file.name

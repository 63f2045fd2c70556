"""New volumes for inference: found in a folder or a datalist, and the failures reported at the end."""

import os
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from custom_components.errors import InputError

from ..dicom.pixels import text
from ..dicom.series import Export, NoVolume, Series, series_below
from . import datalist as datalists
from .conventions import Convention, convention, predicted_tissues
from .find import VOLUMES, files_below, image_folder, other_volumes, some
from .inference import InferenceInputs
from .schema import Item, as_list
from .sequences import file_stem, group_by_case, patient_of, sequence_names, split_stem, usual_convention
from .verify import sentence
from .volume import UnusableError, stored_shape

# How the names of folders of labels begin: `labelsTr` and `seg_manual`, but not `Seguin`.
_MASK = re.compile(r"(?:(.+)[_. -])?(?:label|mask|seg|segmentation)s?", re.IGNORECASE)  # group 1: of which image
_LABELS = re.compile(r"(label|mask|seg|segmentation)s?(tr|ts|val)?(?![a-z])", re.IGNORECASE)


class Inputs(InferenceInputs):
    """The volumes of an inference run, which go through a `CaseDataset`.

    Args:
        dataset_dir: folder of images (NIfTI, NRRD, MetaImage, DICOM series), searched with all its subfolders but those
            of labels (with `sequences`: with one level of them), or the base of the datalist.
        datalist: a datalist whose `section` is read instead of the folder; None takes the folder.
        section: section of the datalist.
        output_dir: folder for `failures.json`; with `sequences`, images in it are no input.
        sequences: MRI sequences that the network takes. A case is then one file a sequence, named by case and sequence
            or by the sequence alone in a folder a case, or one 4-D file.
        file_sequences: what the volumes of a 4-D file in a folder are, in their order. The file does not say it;
            None assumes the order of `sequences`.
        label_convention: that of all label maps, instead of what the datalist or the file names say.
        class_names: "background" and the regions of the network; a convention must have a value for what they give.

    Attributes:
        items: each has image, file, case, patient_id, and with `sequences` also sequences and label_convention: the
            given one, or that of the datalist, or the one that goes with the file names.

    Raises:
        InputError: no image was found, or predictions cannot be written in the given label_convention.
    """

    told = "Written: {done} label map(s) in {place}; {failed} image(s) failed."

    def __init__(
        self,
        dataset_dir: str,
        datalist: str | None = None,
        section: str = "test",
        output_dir: str = ".",
        sequences: Sequence[str] | None = None,
        file_sequences: Sequence[str] | None = None,
        label_convention: str | Mapping[str, str] | None = None,
        class_names: Sequence[str] = ("background", "TC", "WT", "ET"),
    ) -> None:
        super().__init__(output_dir, section)
        tissues = predicted_tissues(class_names) if sequences is not None else ()
        rule = None if label_convention is None else convention(label_convention)
        if rule is not None:
            rule.require(tissues)
        if datalist is not None:
            found = datalists.items(datalist, section, dataset_dir, need_label=False)
        elif sequences is None:
            found = self._in_folder(image_folder(dataset_dir, output_dir))
        else:
            names = sequence_names(sequences)
            found = self._cases(
                image_folder(dataset_dir, output_dir), names, sequence_names(file_sequences or sequences)
            )
        self.count = len(found) + len(self.problems)
        if sequences is not None:
            _add_conventions(found, rule)
            found = self._writable(found, tissues)
        self.items: list[Item] = found
        if not self.items:
            self.finish()

    def _in_folder(self, folder: Path) -> list[Item]:
        """The volumes in a folder and below it; series that cannot be used go to the problems.

        Raises:
            InputError: none is there.
        """
        listed = files_below(folder, leave_out=[self.output_dir])
        files = [file for file in listed if not any(_LABELS.match(part) for part in file.split("/")[:-1])]
        drawn = _drawn([file for file in files if file.lower().endswith(VOLUMES)])
        files = [file for file in files if file not in drawn]
        for left, what in (({*listed} - {*files} - drawn, "in folders of labels"), (drawn, "named as masks of others")):
            if left:
                print(f"{len(left)} file(s) {what} are left out: {some(sorted(left), 3)}.")
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
        unknown = _tell_left_out(folder, files, series, others)
        if not cases and not self.problems:
            raise InputError(
                f"dataset_dir {folder} holds no volume, at any depth{unknown}; expected {', '.join(VOLUMES)} files or "
                "DICOM series (folders named label, mask or seg are left out)."
            )
        return [
            {"image": path, "file": path, "case": case, "patient_id": case}
            for path, case in sorted(cases.items(), key=lambda pair: pair[1])
        ]

    def _writable(self, items: Sequence[Item], tissues: Sequence[str]) -> list[Item]:
        """The items whose convention has a value for whatever is predicted; the others go to the problems."""
        kept = []
        for item in items:
            try:
                convention(item["label_convention"]).require(tissues)
                kept.append(item)
            except InputError as error:
                self.set_aside(item["case"], item["file"], str(error).removesuffix("."))
        return kept

    def _cases(self, folder: Path, sequences: Sequence[str], file_sequences: Sequence[str]) -> list[Item]:
        """The cases of a folder of MRI sequences; what is wrong with one of them goes to the problems.

        Raises:
            InputError: none is there.
        """
        listed = files_below(folder, 2, [self.output_dir])
        series, others = series_below(folder, listed)
        chosen = [path for path in series if os.path.isdir(path) and split_stem(path) is not None]
        for path in {*series} - {*chosen}:
            others.refused[path] = f"{series[path].title()} lies in no folder named by a sequence"
        shallow = [file for file in listed if file.count("/") <= 1]
        unknown = _tell_left_out(folder, shallow, series, others)
        files = [folder / file for file in shallow if file.lower().endswith(VOLUMES)] + [Path(path) for path in chosen]
        parts = {str(file): split_stem(file) for file in files}
        by_case: dict[str, list[str]] = {}
        for path, named in parts.items():
            if named is not None and named[1].lower() != "seg":
                by_case.setdefault(named[0], []).append(path)
        grouped = (self._grouped(case, paths, sequences) for case, paths in sorted(by_case.items()))
        items = [item for item in grouped if item is not None]
        unnamed = [file for file in files if parts[str(file)] is None]
        whole = [file for file in unnamed if _may_be_whole(file, len(file_sequences))]
        items += self._whole(whole, file_sequences, taken=set(by_case))
        if not items and not self.problems:
            raise InputError(
                f"dataset_dir {folder} and its subfolders hold no case; expected one file a sequence, such as "
                "P1_flair.nii.gz or P1/flair.nii.gz, a folder of DICOM files such as P1/flair, or 4-D files (deeper "
                "subfolders are not searched"
                f"{unknown})."
            )
        left = [file for file in unnamed if file not in whole]
        lost = _unexplained(left, whole, {Path(path).parent for paths in by_case.values() for path in paths})
        for file in lost:
            text = (
                "holds one volume only, unlike the 4-D files beside it, and its name says no sequence; add the others, "
                "name it by its case and sequence, or move it away"
            )
            self.set_aside(str(file.relative_to(folder)), str(file), text)
        rest = [file.name for file in left if file not in lost]
        if rest:
            print(f"{len(rest)} file(s) neither named by a sequence nor 4-D are left out: {some(rest, 3)}.")
        return items

    def _grouped(self, case: str, paths: list[str], sequences: Sequence[str]) -> Item | None:
        """The item of a case with one file a sequence, those that are read first; None if two hold the same one."""
        try:
            found = group_by_case(paths)[case]
        except InputError as error:
            text = str(error)
            file = next(path for path in paths if text.startswith(f"{path}: "))
            self.set_aside(case, file, sentence(error, file))
            return None
        order = [*(name for name in sequences if name in found), *(name for name in found if name not in sequences)]
        return _item([found[name] for name in order], order, case)

    def _whole(self, files: Sequence[Path], file_sequences: Sequence[str], taken: set[str]) -> list[Item]:
        """The items of files that hold all sequences of their case."""
        items: list[Item] = []
        stems = Counter(map(file_stem, files))
        for file in files:
            case = file_stem(file)
            if stems[case] > 1 or case in taken:
                case = f"{file.parent.name}_{case}"
            if case in taken:
                text = f"another image of this folder is named {case} too; rename one of them"
                self.set_aside(case, str(file), text)
                continue
            taken.add(case)
            items.append(_item(str(file), list(file_sequences), case))
        if items:
            order = ", ".join(file_sequences)
            print(f"{len(items)} file(s) without a sequence in the name are assumed to hold {order}, in this order.")
        return items


def _drawn(files: Sequence[str]) -> set[str]:
    """The volumes that are masks by their names: `mask` beside another volume, `a_label` beside one that begins in `a`.

    Volumes that are all called so are images.
    """
    found: set[str] = set()
    stems = {file: (os.path.dirname(file), file_stem(file)) for file in files}
    images = [place for place in stems.values() if not _MASK.fullmatch(place[1])]
    for file, (folder, stem) in stems.items():
        named = _MASK.fullmatch(stem)
        if named and any(place == folder and other.startswith(named[1] or "") for place, other in images):
            found.add(file)
    return found


def _case_names(paths: Mapping[str, str]) -> dict[str, str]:
    """A name for each path from its place in the folder: the last part, or all of them where others end alike."""
    short = {path: file_stem(inside) if inside.lower().endswith(VOLUMES) else inside for path, inside in paths.items()}
    counts = Counter(short.values())
    names: dict[str, str] = {}
    for path, inside in paths.items():
        wanted = short[path] if counts[short[path]] == 1 else inside.removesuffix(Path(inside).name) + short[path]
        wanted, number = wanted.replace("/", "_"), 1
        while wanted in names.values():
            number += 1
            wanted = f"{wanted}_{number}"
        names[path] = wanted
    return names


def _tell_left_out(folder: Path, files: Sequence[str], series: Mapping[str, Series], others: Export) -> str:
    """Print what is no input, and say what is there of other kinds, for the message where nothing else is."""
    reasons = {**others.refused, **dict.fromkeys(others.objects, "is a segmentation or a set of contours")}
    if reasons:
        listed = some((f"{os.path.basename(path)} ({reason})" for path, reason in reasons.items()), 3)
        print(f"{len(reasons)} DICOM object(s) are left out: {listed}.")
    known = {*reasons, *(file for found in series.values() for file in found.files)}
    unknown = other_volumes(folder, [file for file in files if str(folder / file) not in known])
    if unknown:
        print(f"{folder}: {unknown} are left out; convert what belongs to the data.")
    return f"; {unknown}: these have to be converted or named so" if unknown else ""


def _item(image: str | list[str], sequences: list[str], case: str) -> Item:
    first = as_list(image)[0]
    return {"image": image, "sequences": sequences, "file": first, "case": case, "patient_id": patient_of(case)}


def _unexplained(files: Sequence[Path], whole: Sequence[Path], with_sequences: Collection[Path]) -> list[Path]:
    """The 3-D files that look like a case among 4-D ones.

    A file is none in a folder with files named by sequence, nor where it goes by the name of a 4-D file, as its label
    or mask does.
    """
    if not whole:
        return []
    stems = {file_stem(file) for file in whole}
    ends = tuple(f"{stem}{joint}" for stem in stems for joint in "_-")
    return [
        file
        for file in files
        if file.parent not in with_sequences and file_stem(file) not in stems and not file_stem(file).startswith(ends)
    ]


def _add_conventions(items: Sequence[Item], rule: Convention | None) -> None:
    """Give all items the convention `rule`; without it, those that have none the one that goes with their file names.

    What was guessed from file names is printed.
    """
    if rule is not None:
        for item in items:
            item["label_convention"] = rule.to_text()
    guessed: Counter[str] = Counter()
    for item in items:
        if "label_convention" not in item:
            item["label_convention"] = usual_convention(as_list(item["image"]))
            guessed[item["label_convention"]] += 1
    for name, count in guessed.items():
        print(f"{count} case(s) go by the label convention {convention(name).describe()}, by their file names.")


def _may_be_whole(file: Path, count: int) -> bool:
    """Whether a file may hold all `count` sequences of a case; what cannot be read may, and is reported later."""
    try:
        return len(stored_shape(file)) > 3 or count == 1
    except UnusableError:
        return True

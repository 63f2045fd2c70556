"""New heads for inference: the sequences of a case, found in a folder or a datalist."""

import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from custom_components.errors import InputError

from ..dicom.series import series_below
from .conventions import Convention, convention, predicted_tissues
from .find import VOLUMES, brain_masks, files_below, some
from .inputs import Inputs, tell_left_out
from .schema import Item, as_list
from .sequences import file_stem, group_by_case, patient_of, sequence_names, split_stem, usual_convention
from .verify import sentence
from .volume import UnusableError, stored_shape


class SequenceInputs(Inputs):
    """The cases of an inference run on MRI sequences, which go through a `CaseDataset`.

    In a folder and its subfolders a case is one file a sequence, named by case and sequence or by the sequence alone in
    a folder a case, or one 4-D file.

    Args:
        dataset_dir: see `Inputs`, as are the next three; images in `output_dir` are no input.
        datalist: likewise.
        section: likewise.
        output_dir: likewise.
        sequences: those that the network takes.
        file_sequences: what the volumes of a 4-D file in a folder are, in their order. The file does not say it;
            None assumes the order of `sequences`.
        label_convention: that of all label maps, instead of what the datalist or the file names say.
        class_names: "background" and the regions of the network; a convention must have a value for what they give.
        brain_mask: how the masks of the brain in a folder end, or a pattern, see `brain_masks`; what lies outside a
            mask is taken for 0. None: there are none.

    Attributes:
        items: each also has sequences and label_convention: the given one, or that of the datalist, or the one that
            goes with the file names.

    Raises:
        InputError: no case was found, predictions cannot be written in the given label_convention, or a datalist
            stands beside `brain_mask`.
    """

    def __init__(
        self,
        dataset_dir: str,
        datalist: str | None = None,
        section: str = "test",
        output_dir: str = ".",
        sequences: Sequence[str] = (),
        file_sequences: Sequence[str] | None = None,
        label_convention: str | Mapping[str, str] | None = None,
        class_names: Sequence[str] = ("background", "TC", "WT", "ET"),
        brain_mask: str | None = None,
    ) -> None:
        if brain_mask is not None and datalist is not None:
            raise InputError(f"brain_mask is {brain_mask!r}, for a folder; in a datalist each item names its own.")
        self.brain_mask = brain_mask
        self.sequences, self.file_sequences = sequence_names(sequences), sequence_names(file_sequences or sequences)
        self.tissues = predicted_tissues(class_names)
        self.rule = None if label_convention is None else convention(label_convention)
        if self.rule is not None:
            self.rule.require(self.tissues)
        super().__init__(dataset_dir, datalist, section, output_dir)

    def usable(self, found: list[Item]) -> list[Item]:
        """The items whose convention has a value for whatever is predicted; the others go to the problems."""
        _add_conventions(found, self.rule)
        kept = []
        for item in found:
            try:
                convention(item["label_convention"]).require(self.tissues)
                kept.append(item)
            except InputError as error:
                self.set_aside(item["case"], item["file"], str(error).removesuffix("."))
        return kept

    def in_folder(self, folder: Path) -> list[Item]:
        """The cases of a folder of MRI sequences; what is wrong with one of them goes to the problems.

        Raises:
            InputError: none is there.
        """
        listed = files_below(folder, leave_out=[self.output_dir])
        series, others = series_below(folder, listed)
        chosen = [path for path in series if os.path.isdir(path) and split_stem(path) is not None]
        for path in {*series} - {*chosen}:
            others.refused[path] = f"{series[path].title()} lies in no folder named by a sequence"
        unknown = tell_left_out(folder, listed, series, others)
        volumes = [str(folder / file) for file in listed if file.lower().endswith(VOLUMES)]
        masks = {} if self.brain_mask is None else brain_masks(volumes, self.brain_mask)
        files = [Path(path) for path in volumes if path not in masks.values()] + [Path(path) for path in chosen]
        parts = {str(file): split_stem(file) for file in files}
        by_case: dict[str, list[str]] = {}
        for path, named in parts.items():
            if named is not None and named[1].lower() != "seg":
                by_case.setdefault(named[0], []).append(path)
        grouped = (self._grouped(case, paths) for case, paths in sorted(by_case.items()))
        items = [item for item in grouped if item is not None]
        unnamed = [file for file in files if parts[str(file)] is None]
        whole = [file for file in unnamed if _may_be_whole(file, len(self.file_sequences))]
        items += self._whole(whole, taken=set(by_case))
        if not items and not self.problems:
            raise InputError(
                f"dataset_dir {folder} and its subfolders hold no case; expected one file a sequence, such as "
                f"P1_flair.nii.gz or P1/flair.nii.gz, a folder of DICOM files such as P1/flair, or 4-D files{unknown}."
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
        return items if self.brain_mask is None else list(self._masked(items, masks))

    def _masked(self, items: Sequence[Item], masks: Mapping[str, str]) -> Iterator[Item]:
        """The items with the masks of their brains; those without one go to the problems."""
        for item in items:
            if item["case"] in masks:
                yield item | {"brain_mask": masks[item["case"]]}
            else:
                text = f"has no mask of its brain ({self.brain_mask}); add it, or correct brain_mask"
                self.set_aside(item["case"], item["file"], text)

    def _grouped(self, case: str, paths: list[str]) -> Item | None:
        """The item of a case with one file a sequence, those that are read first; None if two hold the same one."""
        try:
            found = group_by_case(paths)[case]
        except InputError as error:
            text = str(error)
            file = next(path for path in paths if text.startswith(f"{path}: "))
            self.set_aside(case, file, sentence(error, file))
            return None
        taken = [name for name in self.sequences if name in found]
        order = [*taken, *(name for name in found if name not in taken)]
        return _item([found[name] for name in order], order, case)

    def _whole(self, files: Sequence[Path], taken: set[str]) -> list[Item]:
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
            items.append(_item(str(file), list(self.file_sequences), case))
        if items:
            order = ", ".join(self.file_sequences)
            print(f"{len(items)} file(s) without a sequence in the name are assumed to hold {order}, in this order.")
        return items


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

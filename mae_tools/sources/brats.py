"""Brain MRI with one file a sequence: BraTS of any year, or a hospital's own folder with some of its sequences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bundle_runtime.data.conventions import Convention, convention
from bundle_runtime.data.find import brain_masks, by_pattern, case_before, some
from bundle_runtime.data.schema import Item, check_background
from bundle_runtime.data.sequences import group_by_case, usual_convention
from custom_components.errors import InputError

from .options import fitting, read_table
from .registry import Root, source
from .split import Found, by_fold, patients_of

# The order in which a case's files are listed; any order would do, as sequences go by name.
_ORDER = ("flair", "t1", "t1ce", "t2")
# BraTS 2023 and later: BraTS-GLI-00005-000 is the first scan of BraTS-GLI-00005, 001 the next.


@source(split=by_fold)
def brats(
    root: Root,
    label_name: str | Sequence[str] = "seg",
    label_convention: str | Mapping[str, str] | None = None,
    conventions: str | Mapping[str, Any] | None = None,
    patients: str | Path | None = None,
    labels: bool = True,
    sequences: str | Mapping[str, str] | None = None,
    background: float | str | None = None,
    mask: str | None = None,
) -> Found:
    """Write the datalist of a folder with one NIfTI file a sequence, searched with all its subfolders.

    A file is named by its case and its sequence (`P1_flair.nii.gz`, `BraTS-GLI-00005-000-t1c.nii.gz`), or by the
    sequence alone in a folder a case (`P1/flair.nii.gz`); so is the label. Any subset of sequences may be there. What
    label values mean is said by a name or by a table such as `{"1": "oedema", "2": "tumour core"}`.

    Args:
        root: the folder.
        label_name: how label files end, e.g. `label`; of several names the first that a case has counts.
        label_convention: msd, brats2018, brats2023 or a table, for all cases (default: brats2023 where a case's files
            end in t2f, t1n, t1c and t2w, otherwise brats2018).
        conventions: the same for some cases, by case pattern: `{"siteB_*": "msd"}`, or that as a JSON text (the last
            pattern that fits counts).
        patients: CSV with the columns `case` and `patient_id`, for patients with several cases (default: one each;
            the time points of BraTS 2023 and the sessions of BIDS are known).
        labels: false lists all cases, without labels, for pre-training or inference.
        sequences: file-name patterns, where names do not end in a sequence: `{"flair": "*Flair*", "t1ce": "*T1c*"}`, or
            that as a JSON text. The case is the folder of a file, or what stands before the pattern in its name.
        background: of heads whose background is not 0: its value, or `corners` for what most corners of a volume share;
            every stage then takes it for 0.
        mask: instead, how files of brain masks end (`brainmask`), or a file-name pattern (`*brain*`); every stage then
            takes what lies outside for 0.

    Raises:
        InputError: no case, a sequence or label that a case has twice, a label without images, a pattern that fits no
            case, an unknown convention, a case missing in the CSV, or a fold that does not exist.
    """
    endings = [label_name] if isinstance(label_name, str) else [str(name) for name in label_name]
    patterns = read_table(sequences, "sequences", '{"flair": "*Flair*"}')
    check_background(background)
    if background is not None and mask is not None:
        raise InputError("background and mask are both given; choose one.")
    files = root.volumes(levels=None)
    masks = {} if mask is None else brain_masks(files, mask)
    cases = _cases(root, [file for file in files if file not in set(masks.values())], endings, patterns)
    if labels:
        cases = _labelled(root.path, cases, endings)
    owner = patients_of(list(cases), patients)
    rules = _conventions(cases, label_convention, conventions) if labels else {}
    entries = [_entry(case) | {"patient_id": owner[name]} for name, case in cases.items()]
    for entry, (name, case) in zip(entries, cases.items(), strict=True):
        entry |= {"label": case.label, "label_convention": _written(rules[name])} if labels else {}
        entry |= {} if mask is None else {"brain_mask": _mask_of(root.path, name, masks)}
    _say_sequences(cases)
    shared = _taken_out(entries, "sequences") | (_taken_out(entries, "label_convention") if labels else {})
    return Found(entries, keys={"modality": "MRI", **shared, "background": background})


@dataclass
class Case:
    """The files of one case: images by sequence name, the label where there is one ("" else)."""

    images: dict[str, str] = field(default_factory=dict)
    label: str = ""

    @property
    def sequences(self) -> list[str]:
        """Names of the sequences, in the usual order."""
        return sorted(self.images, key=lambda name: (_ORDER.index(name) if name in _ORDER else len(_ORDER), name))


def _mask_of(base: Path, case: str, masks: Mapping[str, str]) -> str:
    if case not in masks:
        raise InputError(f"{base}: case {case} has no mask of its brain; add it, correct mask, or exclude the case.")
    return masks[case]


def _cases(root: Root, files: Sequence[str], endings: Sequence[str], patterns: Mapping[str, str]) -> dict[str, Case]:
    """All cases with at least one sequence, sorted by name, with their labels."""
    base = root.path
    labels: dict[str, dict[str, str]] = {}
    for file in files:
        for ending in endings:
            case = case_before(file, ending)
            if case is None:
                continue
            known = labels.setdefault(case, {}).setdefault(ending, file)
            if known != file:
                raise InputError(f"{base / file}: {known} already is the label of case {case}; keep one of them.")
    taken = {file for found in labels.values() for file in found.values()}
    others = [file for file in files if file not in taken]
    groups = by_pattern(others, patterns) if patterns else group_by_case(others)
    images = {
        case: {name: file for name, file in found.items() if name != "seg"}
        for case, found in sorted(groups.items())
    }  # fmt: skip
    images = {case: found for case, found in images.items() if found}
    if not images:
        raise InputError(
            f"{base} holds no case; expected NIfTI files named by their sequence, such as P1_flair.nii.gz or "
            'P1/t1ce.nii.gz, or say how they are named, such as --sequences \'{"flair": "*Flair*"}\'.'
        )
    alone = [next(iter(found.values())) for case, found in sorted(labels.items()) if case not in images]
    if alone:
        raise InputError(f"{base}: no image goes with the label {some(alone)}; name images and label after one case.")
    return {case: Case(found, _first(labels.get(case, {}), endings)) for case, found in images.items()}


def _first(found: Mapping[str, str], endings: Sequence[str]) -> str:
    return next((found[ending] for ending in endings if ending in found), "")


def _labelled(base: Path, cases: dict[str, Case], endings: Sequence[str]) -> dict[str, Case]:
    """The cases with a label; how many have none is printed.

    Raises:
        InputError: none has one.
    """
    labelled = {name: case for name, case in cases.items() if case.label}
    wanted = " or ".join(f"{ending}.nii.gz" for ending in endings)
    if not labelled:
        raise InputError(
            f"{base}: none of its {len(cases)} cases has a label ending in {wanted}; name the ending with label_name, "
            "or list the images alone with --labels false."
        )
    without = [name for name in cases if name not in labelled]
    if without:
        print(f"{len(without)} of {len(cases)} cases left out, no label ending in {wanted}: {some(without)}.")
    return labelled


def _conventions(
    cases: Mapping[str, Case],
    label_convention: str | Mapping[str, str] | None,
    conventions: str | Mapping[str, Any] | None,
) -> dict[str, Convention]:
    """Case -> what its label values mean; what was guessed from file names is printed."""
    if label_convention is not None:
        rules = dict.fromkeys(cases, convention(label_convention))
    else:
        rules = {name: convention(usual_convention(list(case.images.values()))) for name, case in cases.items()}
    guessed = set(rules) if label_convention is None else set()
    for pattern, spec in read_table(conventions, "conventions", '{"siteB_*": "msd"}').items():
        rule = convention(spec)
        for name in fitting(pattern, list(cases), "conventions"):
            rules[name] = rule
            guessed.discard(name)
    for text in sorted({rules[name].describe() for name in guessed}):
        count = sum(rules[name].describe() == text for name in guessed)
        print(f"Labels of {count} case(s) are read as {text}, by their file names; label_convention overrules that.")
    return rules


def _written(rule: Convention) -> str | dict[str, str]:
    """A convention as it stands in a datalist: its name, or the table of a custom one."""
    if rule.name != "custom":
        return rule.name
    return {str(value): tissue for value, tissue in sorted(rule.tissues.items()) if value}


def _say_sequences(cases: Mapping[str, Case]) -> None:
    found = [name for name in _ORDER if any(name in case.images for case in cases.values())]
    print(f"{len(cases)} case(s) with {', '.join(found)}.")
    for name in found:
        lacking = [case for case, files in cases.items() if name not in files.images]
        if lacking:
            print(f"{len(lacking)} of them lack {name}: {some(lacking)}.")


def _taken_out(entries: Sequence[Item], key: str) -> dict[str, Any]:
    """What all items say alike, removed from them to stand at the top; {} where they differ."""
    if any(entry[key] != entries[0][key] for entry in entries):
        return {}
    shared = [entry.pop(key) for entry in entries]
    return {key: shared[0]}


def _entry(case: Case) -> Item:
    """The images of a case and what they are."""
    return {"image": [case.images[sequence] for sequence in case.sequences], "sequences": case.sequences}

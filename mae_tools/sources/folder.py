"""Any folder of NIfTI images and label maps that go together by name."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bundle_runtime.data.find import some, volumes
from bundle_runtime.data.patients import read_patients
from bundle_runtime.data.schema import Item
from bundle_runtime.data.sequences import file_stem
from custom_components.errors import InputError

from .registry import source
from .split import existing_folder, finish, fitting, read_table, split_by_patient

_FOLDERS = (("images", "labels"), ("imagesTr", "labelsTr"))


@source
def folder(
    root: str | Path,
    out: str | Path | None = None,
    class_names: Sequence[str] | None = None,
    val_fraction: float = 0.2,
    test_fraction: float = 0.2,
    seed: int = 0,
    patients: str | Path | None = None,
    unlabelled: str | Mapping[str, Sequence[str]] | None = None,
    modality: str | None = None,
) -> dict[str, Any]:
    """Write the datalist of a folder of pairs.

    They are `images/` and `labels/` with equal file names, or `<case>_image.nii.gz` and `<case>_label.nii.gz`.

    Args:
        root: the folder.
        out: the datalist to write (default: `<root>/datalist.json`).
        class_names: all classes, background first.
        val_fraction: share of the patients that selects.
        test_fraction: share of the patients that is read once, at the end.
        seed: deals the patients.
        patients: CSV with the columns `case` and `patient_id`, for patients with several cases (default: one each).
        unlabelled: classes not drawn in some cases, by case pattern: `{"btcv_*": ["spleen"]}`, or that as a JSON text.
        modality: e.g. CT, noted in the datalist.

    Raises:
        InputError: no pairs, an image or label without its partner, a case missing in the CSV, a pattern that fits
            no case.
    """
    base = existing_folder(root)
    pairs = _pairs(base)
    owner = read_patients(patients, list(pairs))
    missing = _unlabelled(unlabelled, list(pairs), class_names)
    entries: list[Item] = []
    for case, (image, label) in pairs.items():
        entry: Item = {
            "image": image.relative_to(base).as_posix(),
            "label": label.relative_to(base).as_posix(),
            "patient_id": owner.get(case, case),
        }
        if case in missing:
            entry["unlabelled"] = missing[case]
        entries.append(entry)
    datalist: dict[str, Any] = {
        "description": f"{base.resolve().name}: split by patient (seed {seed}).",
        **split_by_patient(entries, val_fraction, test_fraction, seed),
    }
    if class_names is not None:
        datalist["class_names"] = list(class_names)
    if modality is not None:
        datalist["modality"] = modality
    return finish(datalist, base, out)


def _pairs(base: Path) -> dict[str, tuple[Path, Path]]:
    """Case -> (image, label), sorted by case."""
    layout = next((pair for pair in _FOLDERS if all((base / part).is_dir() for part in pair)), None)
    if layout is not None:
        images, labels = ({file_stem(file): file for file in volumes(base / part)} for part in layout)
        expected = f"{layout[0]}/ and {layout[1]}/ with equal file names"
    else:
        stems = {file_stem(file): file for file in volumes(base)}
        images, labels = (
            {stem.removesuffix(ending): file for stem, file in stems.items() if stem.endswith(ending)}
            for ending in ("_image", "_label")
        )
        expected = "images/ and labels/, or <case>_image.nii.gz and <case>_label.nii.gz"
    if not images and not labels:
        raise InputError(f"{base} holds no NIfTI pairs; expected {expected}.")
    alone = sorted(set(images) ^ set(labels))
    if alone:
        raise InputError(f"{base}: image or label is missing for {some(alone)}; expected {expected}.")
    return {case: (images[case], labels[case]) for case in sorted(images)}


def _unlabelled(
    mapping: str | Mapping[str, Sequence[str]] | None, cases: Sequence[str], class_names: Sequence[str] | None
) -> dict[str, list[str]]:
    """Case -> sorted names of the classes that are not drawn in it."""
    example = '{"btcv_*": ["spleen"]}'
    table = read_table(mapping, "unlabelled", example)
    if any(isinstance(names, str) for names in table.values()):
        raise InputError(f"unlabelled is {mapping!r}, expected case patterns with lists of classes, e.g. {example}.")
    found: dict[str, set[str]] = {}
    for pattern, names in table.items():
        unknown = [] if class_names is None else [name for name in names if name not in class_names[1:]]
        if unknown:
            raise InputError(f"unlabelled: {unknown[0]!r} is not among the classes {list(class_names or ())[1:]}.")
        for case in fitting(pattern, cases, "unlabelled"):
            found.setdefault(case, set()).update(names)
    return {case: sorted(names) for case, names in found.items()}

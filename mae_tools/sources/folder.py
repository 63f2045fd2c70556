"""Any folder of NIfTI images and label maps that go together by name."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from bundle_runtime.data.find import by_stem, other_volumes, some
from bundle_runtime.data.schema import Item
from custom_components.errors import InputError

from .options import fitting, name_list, read_table
from .registry import Root, source
from .split import Found, by_patient, patients_of

_FOLDERS = (("images", "labels"), ("imagesTr", "labelsTr"))


@source(split=by_patient)
def folder(
    root: Root,
    class_names: str | Sequence[str] | None = None,
    patients: str | Path | None = None,
    unlabelled: str | Mapping[str, Sequence[str]] | None = None,
    modality: str | None = None,
) -> Found:
    """Write the datalist of a folder of pairs.

    They are `images/` and `labels/` with equal file names, or `<case>_image.nii.gz` and `<case>_label.nii.gz`.

    Args:
        root: the folder.
        class_names: all classes, background first.
        patients: CSV with the columns `case` and `patient_id`, for patients with several cases (default: one each).
        unlabelled: classes not drawn in some cases, by case pattern: `{"btcv_*": ["spleen"]}`, or that as a JSON text.
        modality: e.g. CT, noted in the datalist.

    Raises:
        InputError: no pairs, an image or label without its partner, a case missing in the CSV, a pattern that fits
            no case.
    """
    pairs = _pairs(root)
    class_names = None if class_names is None else name_list(class_names, "class_names")
    owner = patients_of(list(pairs), patients)
    missing = _unlabelled(unlabelled, list(pairs), class_names)
    entries: list[Item] = []
    for case, (image, label) in pairs.items():
        entry: Item = {"image": image, "label": label, "patient_id": owner[case]}
        if case in missing:
            entry["unlabelled"] = missing[case]
        entries.append(entry)
    return Found(entries, keys={"class_names": class_names, "modality": modality})


def _pairs(root: Root) -> dict[str, tuple[str, str]]:
    """Case -> (image, label), sorted by case."""
    base = root.path
    layout = next((pair for pair in _FOLDERS if all((base / part).is_dir() for part in pair)), None)
    if layout is not None:
        images, labels = (by_stem(root.volumes(part)) for part in layout)
        expected = f"{layout[0]}/ and {layout[1]}/ with equal file names"
    else:
        stems = by_stem(root.volumes())
        images, labels = (
            {stem.removesuffix(ending): file for stem, file in stems.items() if stem.endswith(ending)}
            for ending in ("_image", "_label")
        )
        expected = "images/ and labels/, or <case>_image.nii.gz and <case>_label.nii.gz"
    if not images and not labels:
        others = other_volumes(base, root.files())
        instead = f", but {others}; convert them to NIfTI" if others else ""
        raise InputError(f"{base} holds no NIfTI pairs{instead}; expected {expected}.")
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

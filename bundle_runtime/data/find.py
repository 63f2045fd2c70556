"""Files of a folder, found by one walk for pictures, volumes, slides and the sources of a datalist."""

import bisect
import fnmatch
import itertools
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from custom_components.errors import InputError

from .sequences import file_stem, sequence_name

NIFTI = (".nii", ".nii.gz")
THROUGH_ITK = (".nrrd", ".nhdr", ".mha", ".mhd")  # NRRD, MetaImage
DETACHED = (".raw", ".raw.gz", ".zraw")  # voxels of an .nhdr or .mhd
VOLUMES = NIFTI + THROUGH_ITK
DICOM = (".dcm", ".dicom", ".ima")  # or any other, or none
# Volumes of other kinds, by their endings; DICOM files often have none.
_OTHER_VOLUMES = {
    "DICOM": DICOM,
    "Analyze": (".hdr", ".img", ".img.gz"),
    "FreeSurfer": (".mgh", ".mgz"),
    "MINC": (".mnc",),
    "an archive": (".zip", ".tar", ".tgz", ".7z"),
}
# How the names of folders of labels begin: `labelsTr` and `seg_manual`, but not `Seguin`.
_LABELS = re.compile(r"(label|mask|seg|segmentation)s?(tr|ts|val)?(?![a-z])", re.IGNORECASE)
# Of masks, of which several may be numbered; group 1: of which image.
_MASK = re.compile(r"(?:(.+)[_. -])?(?:label|mask|seg|segmentation)s?(?:_\d+)?", re.IGNORECASE)
_REPORT = {"check.html", "check.json"}
_CLUTTER = {"thumbs.db", "desktop.ini", "__macosx"}  # what file managers leave behind


def files_below(
    place: Path,
    levels: int | None = None,
    leave_out: Iterable[str | Path] = (),
    exclude: Collection[str] = (),
    left_out: list[str] | None = None,
) -> list[str]:
    """All files of a folder and `levels` levels of subfolders (None: all) as sorted paths from it, with slashes.

    Links to folders are followed, and a link back to a folder on the way to it is named and left out. Hidden files and
    folders, what file managers leave behind, and the report of a `check` are left out without a word. The paths are
    texts because a hundred thousand `Path` objects take seconds.

    Args:
        place: the folder.
        levels: of subfolders.
        leave_out: folders that are not looked into, such as the output.
        exclude: patterns of `excluded`.
        left_out: gets the files and folders (with a slash at the end) that `exclude` fits.

    Raises:
        InputError: a folder cannot be read.
    """
    own = {os.path.realpath(folder) for folder in leave_out}
    found: list[str] = []
    # Path, its parts from `place`, the real paths of the folders on the way.
    waiting: list[tuple[str, tuple[str, ...], tuple[str, ...]]] = [(os.fspath(place), (), (os.path.realpath(place),))]
    while waiting:
        here, parts, chain = waiting.pop()
        names, folders = _listed(here)
        if set(names) >= _REPORT:
            names = [name for name in names if name not in _REPORT]
        found += ["/".join((*parts, name)) for name in names if _counts((*parts, name), exclude, "", left_out)]
        for name, linked in folders if len(parts) != levels else ():
            inside, path = (*parts, name), os.path.join(here, name)
            real = os.path.realpath(path) if linked else os.path.join(chain[-1], name)
            if not _counts(inside, exclude, "/", left_out) or real in own:
                continue
            if any(f"{known}/".startswith(f"{real}/") for known in chain):
                print(f"{path} is a link back to {real} and is left out.")
                continue
            waiting.append((path, inside, (*chain, real)))
    return sorted(found, key=lambda file: file.split("/"))


def folders_in(place: Path, below: str = "", exclude: Collection[str] = ()) -> list[str]:
    """The sorted names of the folders in a folder of `place` that `files_below` would look into."""
    folders = [name for name, _ in _listed(os.path.join(place, below))[1]]
    kept = [name for name in folders if _counts((*filter(None, below.split("/")), name), exclude, "/")]
    inside = ((name, Path(place, below, name)) for name in kept)
    return sorted(name for name, path in inside if not set(_listed(str(path))[0]) >= _REPORT or files_below(path))


def _listed(folder: str) -> tuple[list[str], list[tuple[str, bool]]]:
    """The names of the files of a folder, and those of its folders and whether they are links."""
    names, folders = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir():
                    folders.append((entry.name, entry.is_symlink()))
                else:
                    names.append(entry.name)
    except OSError as error:
        raise InputError(f"{folder}: the folder cannot be read ({error.strerror or error}).") from error
    return names, folders


def _counts(parts: Sequence[str], exclude: Collection[str], end: str, left_out: list[str] | None = None) -> bool:
    if parts[-1][0] == "." or parts[-1].lower() in _CLUTTER:
        return False
    path = "/".join(parts) + end
    fits = excluded(path, exclude)
    if fits and left_out is not None:
        left_out.append(path)
    return not fits


def excluded(path: str, patterns: Collection[str]) -> bool:
    """Whether a path, a folder on the way to it, or one of their names fits a pattern such as `*_mask*` or `a/b/*`.

    The path of a folder ends with a slash.
    """
    names = [name for name in path.split("/") if name] if patterns else []
    places = {path, *names, *itertools.accumulate(names, "{}/{}".format)}
    return any(fnmatch.fnmatch(each, pattern) for pattern in patterns for each in places)


def say_unfit(place: Path, exclude: Collection[str], left_out: Collection[str]) -> None:
    """Print which patterns of `exclude` fit none of the files and folders that were left out."""
    unfit = [one for one in exclude if not any(excluded(path, [one]) for path in left_out)]
    if unfit:
        print(f"exclude: no file or folder of {place} fits {some(unfit)}.")


def without_masks(files: Sequence[str], endings: tuple[str, ...]) -> list[str]:
    """The files of a folder that are images of an inference; those that are masks by their names are printed.

    They lie in folders of labels, or are `mask` beside another image, `a_label` beside one that begins in `a`. Images
    that are all called so are images.

    Args:
        files: as paths from the folder.
        endings: of images.
    """
    outside = [file for file in files if not any(_LABELS.match(part) for part in file.split("/")[:-1])]
    stems = {file: file_stem(file) for file in outside if file.lower().endswith(endings)}
    images: dict[str, list[str]] = {}  # by folder, sorted
    for file in sorted(stems, key=stems.__getitem__):
        if not _MASK.fullmatch(stems[file]):
            images.setdefault(os.path.dirname(file), []).append(stems[file])
    drawn = set()
    for file, stem in stems.items():
        if named := _MASK.fullmatch(stem):
            beside, begins = images.get(os.path.dirname(file), []), named[1] or ""
            first = bisect.bisect_left(beside, begins)
            if first < len(beside) and beside[first].startswith(begins):
                drawn.add(file)
    for left, what in (({*files} - {*outside}, "in folders of labels"), (drawn, "named as masks of others")):
        if left:
            print(f"{len(left)} file(s) {what} are left out: {some(sorted(left), 3)}.")
    return [file for file in outside if file not in drawn]


def by_stem(files: Iterable[str]) -> dict[str, str]:
    """The files of a folder by their names without ending.

    Raises:
        InputError: a file is there both as `.nii` and as `.nii.gz`.
    """
    found: dict[str, str] = {}
    for file in files:
        known = found.setdefault(file_stem(file), file)
        if known != file:
            raise InputError(f"{known} and {file} have the same name; remove one of them.")
    return found


def other_volumes(place: Path, files: Iterable[str]) -> str:
    """The volumes of other kinds among files, as `2 file(s) that are MINC (a.mnc, b.mnc)`; "" for none."""
    by_kind: dict[str, list[str]] = {}
    for file in files:
        kind = other_kind(place / file)
        if kind is not None:
            by_kind.setdefault(kind, []).append(file)
    return ", ".join(f"{len(named)} file(s) that are {kind} ({some(named, 2)})" for kind, named in by_kind.items())


def other_kind(path: Path) -> str | None:
    """What a volume of another kind is; None for a file that is none."""
    lower = path.name.lower()
    kind = next((kind for kind, endings in _OTHER_VOLUMES.items() if lower.endswith(endings)), None)
    if kind is None and not path.suffix[1:].isalpha() and _is_dicom(path):
        kind = "DICOM"
    return kind


def _is_dicom(path: Path) -> bool:
    try:
        with open(path, "rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:  # gone or unreadable: it is no volume that could be used
        return False


def image_folder(dataset_dir: str | os.PathLike[str], output_dir: str | os.PathLike[str] | None = None) -> Path:
    """The absolute path of `dataset_dir`.

    Raises:
        InputError: there is nothing at that path, it is a single file, or `output_dir` is the same folder.
    """
    path = Path(os.path.abspath(dataset_dir))
    if output_dir is not None and os.path.realpath(path) == os.path.realpath(output_dir):
        raise InputError(
            f"output_dir {output_dir} is the folder of the images, where the next run would take its results for "
            "images; choose another, which may lie in it."
        )
    if path.is_dir():
        return path
    if path.exists():
        raise InputError(
            f"dataset_dir {dataset_dir} is a file, expected a folder; put it into a folder of its own, or give a "
            "datalist that names it."
        )
    raise InputError(f"dataset_dir {dataset_dir} does not exist; give the folder that holds the images.")


def some(names: Iterable[str], limit: int = 8) -> str:
    """The first names of a long list, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - limit} more" if len(listed) > limit else ""
    return ", ".join(listed[:limit]) + more


def case_before(file: str, ending: str) -> str | None:
    """The case of a file, `P1` for `P1_seg.nii.gz` or `P1/seg.nii.gz`; None for a file of another ending."""
    stem = file_stem(file)
    if stem.lower() == ending.lower():
        return Path(file).parent.name
    if stem.lower().endswith((f"_{ending.lower()}", f"-{ending.lower()}")):
        return stem[: -len(ending) - 1]
    return None


def by_pattern(
    files: Sequence[str], patterns: Mapping[str, str], option: str = "sequences"
) -> dict[str, dict[str, str]]:
    """Case -> sequence -> file, for names that fit a pattern; upper and lower case are the same.

    The case is what stands before the pattern in the name of a file, or its folder.

    Raises:
        InputError: a pattern that fits no file, a file of two sequences, or a case that has one twice.
    """
    cases: dict[str, dict[str, str]] = {}
    names = {pattern: sequence_name(name) for name, pattern in patterns.items()}
    unused = set(patterns.values())
    for file in files:
        stem = file_stem(file)
        fitting_it = [pattern for pattern in names if fnmatch.fnmatch(stem.lower(), str(pattern).lower())]
        if len(fitting_it) > 1:
            raise InputError(f"{file} fits the patterns {some(fitting_it)} of sequences; make them narrower.")
        for pattern in fitting_it:
            literal = max(re.split(r"[*?]+", str(pattern)), key=len).lower()
            before = stem[: stem.lower().index(literal)].rstrip("_-. ") if literal in stem.lower() else ""
            case, name = before or Path(file).parent.name, names[pattern]
            known = cases.setdefault(case, {}).setdefault(name, file)
            if known != file:
                raise InputError(f"{file}: {known} already is the {name} of case {case}; keep one of them.")
            unused.discard(pattern)
    if unused:
        raise InputError(f"{option}: no file fits the pattern {some(sorted(unused))}; correct it, or leave it out.")
    return cases


def brain_masks(files: Sequence[str], name: str) -> dict[str, str]:
    """Case -> the mask of its brain.

    Args:
        files: that may be masks.
        name: how masks end (`brainmask`), or a pattern of their names (`*brain*`).

    Raises:
        InputError: a pattern that fits no file, or a case that has two masks.
    """
    if any(sign in name for sign in "*?"):
        return {case: found["mask"] for case, found in by_pattern(files, {"mask": name}, "mask").items()}
    return {case: file for file in files if (case := case_before(file, name)) is not None}

"""The data set layouts by name: a module of this folder registers its own, and gets what all of them can do."""

import functools
import importlib
import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bundle_runtime.data.datalist import write
from bundle_runtime.data.find import VOLUMES, excluded, files_below, folders_in, say_unfit
from bundle_runtime.data.schema import SECTIONS, Datalist, as_list
from bundle_runtime.data.tables import Table
from custom_components.errors import InputError

from ..settings import with_arguments
from .copies import settle
from .earlier_split import split_by_table, split_like
from .left_out import tell_left_out
from .options import name_list
from .split import Found

Split = Callable[..., tuple[Datalist, str]]
Source = Callable[..., Datalist]
Reader = Callable[..., Found | Datalist]  # what a module writes of it
SOURCES: dict[str, Source] = {}
# Settings that say whose the pictures are.
_OWNERS = ("patients", "patient_pattern", "patient_column", "pairs")


@dataclass(frozen=True)
class Root:
    """The folder of a data set.

    Attributes:
        path: the folder.
        exclude: patterns of files and folders that are left out, see `bundle_runtime.data.find.excluded`.
        out: the folder of the datalist.
        converted: that folder gets converted images, and is not looked into.
        used: files of which other images are made, or which have been told of: they are not missed in the datalist.
    """

    path: Path
    exclude: tuple[str, ...] = ()
    out: Path = Path()
    converted: bool = False
    used: set[str] = field(default_factory=set, compare=False)

    @property
    def name(self) -> str:
        """What the folder is called."""
        return self.path.resolve().name

    @functools.cached_property
    def _walk(self) -> tuple[list[str], list[str]]:
        """The files, and the files and folders that `exclude` fits."""
        left_out: list[str] = []
        own = [self.out] if self.converted else []
        return files_below(self.path, leave_out=own, exclude=self.exclude, left_out=left_out), left_out

    @functools.cached_property
    def left_out(self) -> list[str]:
        """The files that `exclude` leaves out, those of excluded folders among them."""
        deep = (
            [place + file for file in files_below(self.path / place)] if place.endswith("/") else [place]
            for place in self._walk[1]
        )
        return [file for files in deep for file in files]

    def say_unfit(self) -> None:
        """See `bundle_runtime.data.find.say_unfit`."""
        say_unfit(self.path, self.exclude, self._walk[1])

    def files(self, below: str = "", levels: int | None = None) -> list[str]:
        """The files of a folder in it and `levels` levels of subfolders (None: all), as paths from the data folder."""
        start = f"{below}/" if below else ""
        depth = start.count("/")
        inside = [file for file in self._walk[0] if file.startswith(start)]
        return [file for file in inside if levels is None or file.count("/") - depth <= levels]

    def folders(self, below: str = "") -> list[str]:
        """The names of the folders in a folder in it."""
        return folders_in(self.path, below, self.exclude)

    def volumes(self, below: str = "", levels: int | None = 0) -> list[str]:
        """The NIfTI, NRRD and MetaImage files of a folder in it, as paths from the data folder."""
        return [file for file in self.files(below, levels) if file.lower().endswith(VOLUMES)]

    def table(self, path: str | Path) -> Table:
        """A table that a setting names, in the folder or anywhere else."""
        return Table(self.path / path if (self.path / path).is_file() else path)


def source(
    function: Reader | None = None,
    split: Split | None = None,
    fixed: Mapping[str, Any] | None = None,
    out_name: str = "datalist.json",
    converts: bool = False,
    **defaults: Any,
) -> Any:
    """Make a function the command `python -m mae_tools datalist <its name>`.

    Its first argument is a `Root`, and it returns what it found, which is split, or the whole datalist; that is written
    here. Its docstring is the command's help. On the command line, and for callers, the first argument is the path of
    the folder, and the settings of the split come on top, by name, and these:

        out: the datalist to write (default: `<root>/datalist.json`).
        exclude: leave out files and folders of this name, such as `*_mask*`, or of this path in the data folder, such
            as `train/other/*`; several patterns are separated by commas.
        split_from: another datalist of the same images or patients, such as that of the pre-training: each image comes
            into the list where that one has it, or else its patient; those that it does not name train.
        sections: instead of it, a table with the columns `case` and `section` (training, validation or test).
        copies: decode every image, and where the same one is there under several names refuse the list, drop all but
            one (the first of training, else of validation, else of test), or keep them, and all images of their
            patients, together in the list that holds most of them; refuse, drop or together (default: do not look).

    Args:
        function: the source.
        split: what deals a `Found` to the lists: `split.by_patient`, `split.by_fold` or `lists.by_class`.
        fixed: settings of the split that this source does not offer, with their values.
        out_name: name of its datalist in the data folder.
        converts: it writes images into the folder that `out` then is, with its datalist; its own docstring says so.
        **defaults: of settings of the split, where they are others than its own.
    """
    if function is None:
        given: dict[str, Any] = {"split": split, "fixed": fixed, "out_name": out_name, "converts": converts}
        return functools.partial(source, **given, **defaults)
    run = _command(function, _Way(split, {**defaults, **(fixed or {})}, frozenset(fixed or ()), out_name, converts))
    SOURCES[function.__name__] = run
    return run


@dataclass(frozen=True)
class _Way:
    """From what a source finds to its datalist: the arguments of `source`, those of `fixed` among the defaults."""

    split: Split | None
    defaults: Mapping[str, Any]
    fixed: frozenset[str]
    out_name: str
    converts: bool

    @functools.cached_property
    def offered(self) -> dict[str, inspect.Parameter]:
        """The settings of the split that the source has."""
        listed = [] if self.split is None else list(inspect.signature(self.split).parameters.values())[1:]
        return {
            each.name: each.replace(kind=each.KEYWORD_ONLY, default=self.defaults.get(each.name, each.default))
            for each in listed
            if each.name not in self.fixed
        }

    def folders(self, base: Path, out: str | Path | None, exclude: str | None) -> tuple[Root, Path, Path]:
        """The data, where the paths of the datalist start, and the datalist."""
        if self.converts and out is None:
            raise InputError("out is not given; name a folder for the converted images.")
        place = base if out is None or not self.converts else Path(out)
        target = place / self.out_name if self.converts or out is None else Path(out)
        patterns = () if exclude is None else tuple(name_list(exclude, "exclude"))
        return Root(base, patterns, target.parent, self.converts), place, target

    def datalist(self, found: Found | Datalist, settings: Mapping[str, Any], root: Root) -> Datalist:
        """What was found, dealt to its lists, without what sources take from a table although it is excluded."""
        if isinstance(found, Found):
            chosen = {**self.defaults, **settings, **found.settings}
            lists, how = (found.given or {}, "") if self.split is None else self.split(found, **chosen)
            keys = {key: value for key, value in found.keys.items() if value is not None}
            said = found.said.replace("{}", how)
            found = {**keys, **lists, "description": f"{found.name or root.name}: {said}."}
        root.say_unfit()
        for part in SECTIONS if root.exclude and not self.converts else ():
            found[part] = [item for item in found[part] if not excluded(str(as_list(item["image"])[0]), root.exclude)]
        return found


def _command(function: Reader, way: _Way) -> Source:
    """A source with the settings that all have."""

    @functools.wraps(function)
    def run(
        root: str | Path,
        *args: Any,
        out: str | Path | None = None,
        exclude: str | None = None,
        split_from: str | Path | None = None,
        sections: str | Path | None = None,
        copies: str | None = None,
        **settings: Any,
    ) -> dict[str, Any]:
        folder, place, target = way.folders(Path(root), out, exclude)
        if not folder.path.is_dir():
            raise InputError(f"{folder.path} is not a folder; give the folder of the data set.")
        refuse_together(target, split_from, sections)
        own = {key: value for key, value in settings.items() if key not in way.offered}
        chosen = {key: value for key, value in settings.items() if key in way.offered}
        made = way.datalist(function(folder, *args, **own), chosen, folder)
        tell_left_out(folder.path, folder.files(), made, folder.used)
        named = inspect.signature(function).bind(folder, *args, **own).arguments
        given: dict[str, Any] = {"split_from": split_from, "sections": sections, "copies": copies}
        made = rearranged(made, place, target, **given, take_patients=not any(named.get(key) for key in _OWNERS))
        return _finish(made, place, target)

    shared = [
        each
        for each in inspect.signature(run, follow_wrapped=False).parameters.values()
        if each.kind is each.KEYWORD_ONLY
    ]
    root, *own = inspect.signature(function).parameters.values()
    signature = inspect.Signature([root.replace(annotation=str | Path), *own, *way.offered.values(), *shared])
    run.__signature__ = signature  # type: ignore[attr-defined]
    said = with_arguments(function, [each for each in (way.split, source) if each is not None], signature.parameters)
    run.__doc__ = said.replace("datalist.json", way.out_name)
    return run


def refuse_together(target: Path, split_from: str | Path | None, sections: str | Path | None) -> None:
    """Stop before anything is read where shared settings, see `source`, make no sense.

    Raises:
        InputError: `split_from` is the datalist that is to be written, or both are given.
    """
    if split_from is not None and target.resolve() == Path(split_from).resolve():
        raise InputError(f"{target}: split_from would be overwritten; copy it under another name first.")
    if split_from is not None and sections is not None:
        raise InputError("split_from and sections are both given; choose one.")


def rearranged(
    made: Datalist,
    base: Path,
    target: Path,
    split_from: str | Path | None = None,
    sections: str | Path | None = None,
    copies: str | None = None,
    take_patients: bool = False,
) -> Datalist:
    """A datalist with its items in other lists, by the shared settings; see `source`.

    Args:
        made: with paths that start at `base`.
        base: the folder of the images.
        target: the datalist that is to be written.
        split_from: see `source`, as `sections` and `copies`.
        sections: likewise.
        copies: likewise.
        take_patients: see `split_like`.
    """
    if split_from is not None:
        made = split_like(made, split_from, base, take_patients)
    if sections is not None:
        made = split_by_table(made, sections, base)
    return made if copies is None else settle(made, copies, base, target)


def _finish(datalist: dict[str, Any], base: Path, target: Path) -> dict[str, Any]:
    """Write the datalist, say so, and return it."""
    if not any(datalist[part] for part in SECTIONS):
        raise InputError(f"{base} holds nothing for a datalist; give another folder, or exclude less.")
    if "task" in datalist:
        # By name: the package of a bundle whose labels are maps holds no such source, and not this module.
        importlib.import_module(f"{__package__}.lists").say_labels(datalist)
    write(target, datalist)
    print(f"Wrote {target}: {', '.join(f'{part} {len(datalist[part])}' for part in SECTIONS)}.")
    empty = [part for part in SECTIONS[1:] if not datalist[part]]
    if (training := datalist[SECTIONS[0]]) and empty:
        alone = len(training) > len({item.get("patient_id") for item in training}) == 1
        why = f" (all {len(training)} items are of one patient)" if alone else ""
        print(f"Note: nothing is in {' and '.join(empty)}{why}; train selects by validation, evaluate reads test.")
    if os.path.abspath(target.parent) != os.path.abspath(base):
        print(f"Its paths start at the data folder: pass --dataset_dir {os.path.abspath(base)} with it.")
    return datalist

"""A bundle of one's own, made from another: its classes, sizes and settings written into configs, metadata and card."""

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from bundle_runtime.config import literal, read_value
from bundle_runtime.data.datalist import load as load_datalist
from bundle_runtime.data.find import VOLUMES
from bundle_runtime.data.schema import SECTIONS, Datalist, as_list
from bundle_runtime.dicom.codes import read_codes
from bundle_runtime.files import write_atomically
from custom_components.errors import InputError
from custom_components.tumour_labels import region_table
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from .agree import METADATA, Described, agreeing, describe, read_metadata
from .bundles import SEGMENTATION, find_bundle, load, stages

_FIRST_VERSION = "0.1.0"
# Settings of which `image_classes` tells in words.
_PREPARED = frozenset({
    "intensity_mode", "intensity_range", "equalise", "equalise_order", "stain", "fit", "pixel_mean", "pixel_std",
    "background", "brain_mask",
})  # fmt: skip
_SECTION = re.compile(r"<!-- settings -->.*<!-- end of settings -->\n", re.S)
_CARDS = Environment(  # Markdown, not HTML: nothing to escape
    loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    autoescape=False,
)  # fmt: skip


class Setting(NamedTuple):
    """A value and where it comes from."""

    value: Any
    source: str


Settings = dict[str, dict[str, Setting]]  # by stage and key


def adopt(
    bundle: str,
    out: str | Path,
    datalist: str | Sequence[str] | None = None,
    overlay: str | Path | None = None,
    name: str | None = None,
    authors: str | None = None,
    data_source: str | None = None,
    data_license: str | None = None,
    segment_codes: str | Path | None = None,
) -> Path:
    """Make a bundle of one's own: every stage, the metadata and the card say its classes, channels, sizes and settings.

    Nothing is trained and no weights are taken over. The demo keeps the drawn data of the original and its settings.

    Args:
        bundle: folder or name of the bundle that it is made from.
        out: folder of the new one; its name becomes that of the package. In `bundles/` it runs as the others do.
        datalist: names classes, and where it has them task, sequences and micrometres a pixel; of bundles that classify
            and segment one for each, "[tiles.json,masks.json]".
        overlay: further values, such as what `check --write_overlay` proposed.
        name: what the bundle is called in words (default: after its folder).
        authors: of the new bundle (default: those of the original).
        data_source: where the data comes from, in words (default: the description of the datalist).
        data_license: conditions of the data, in words.
        segment_codes: YAML file with one's own codes for DICOM SEG: `{spleen: {type: ["78961009", SCT, Spleen]}}`.

    Returns:
        The folder.

    Raises:
        InputError: the folder is in use, a value is unknown or of another type, or datalist and overlay disagree.
    """
    root, target = find_bundle(bundle), Path(out)
    if target.exists() and any(target.iterdir()):
        raise InputError(f"{target} is not empty; name a new folder.")
    lists = {
        Path(file).name: load_datalist(file) for file in ([datalist] if isinstance(datalist, str) else datalist or [])
    }
    settings = gather(root, lists, overlay)
    if segment_codes is not None:
        _add(settings, root, {"segment_codes": _codes(Path(segment_codes))})
    _copy(root, target, settings)
    old, described = read_metadata(root), describe(target)
    content = next(iter(lists.values()), {})
    metadata = agreeing(_retold(old, root, settings, described, content.get("modality")), described)
    metadata |= {
        "name": name or target.resolve().name.replace("_", " "),
        "version": _FIRST_VERSION,
        "changelog": {_FIRST_VERSION: f"adopted from {root.name} {old['version']}"},
        "description": f"Made from {root.name} {old['version']} ({old['name']}): its networks and stages, other data.",
        "data_source": data_source or content.get("description") or "not stated by those who made this bundle",
        **({} if authors is None else {"authors": authors, "copyright": f"Copyright (c) {authors}"}),
    }
    _write_metadata(target, metadata)
    counts = {file: {part: len(found[part]) for part in SECTIONS} for file, found in lists.items()}
    _write_docs(root, target, metadata, counts, data_license, _section(settings, described))
    number = sum(len(values) for values in settings.values())
    print(f"{target}: {number} values in {len(settings)} files; classes {', '.join(described.names)}")
    return target


def _codes(path: Path) -> Setting:
    """The codes of a file, which need not be there later."""
    read = read_codes(str(path)).items()
    return Setting({label: {k: list(v) for k, v in code._asdict().items() if v} for label, code in read}, path.name)


def _write_docs(
    root: Path,
    target: Path,
    metadata: Mapping[str, Any],
    counts: Mapping[str, Mapping[str, int]],
    data_license: str | None,
    section: str,
) -> None:
    """The card, that of the original under its name, and what is known of the data's conditions."""
    (target / "docs").mkdir()
    shutil.copy(root / "docs" / "README.md", target / "docs" / f"{root.name}.md")
    stated = data_license or "Those who made this bundle have not stated the conditions of its data."
    text = f"{metadata['data_source']}\n\n{stated}\n\nNo data is part of this bundle.\n"
    write_atomically(target / "docs" / "data_license.txt", text)
    card = _CARDS.get_template("adopt.md.j2").render(
        metadata=metadata, origin=root.name, stages=sorted(stages(target)), counts=counts, section=section
    )
    write_atomically(target / "docs" / "README.md", card)


def bake(root: Path, target: Path, overlay: str | Path) -> Path:
    """A copy of a bundle with an overlay written into its stages; metadata and card agree, name and version stay.

    Classes that neither names are those of the weights in `models/`, which the copy shares as it does the results.

    Args:
        root: the bundle.
        target: folder of the copy.
        overlay: the file.

    Raises:
        InputError: as `adopt`.
    """
    settings = gather(root, {}, overlay)
    _copy(root, target, settings)
    for folder in ("models", "eval"):
        if (root / folder).is_dir():
            (target / folder).symlink_to(root / folder)
    for path in root.glob("large_files.*"):
        shutil.copy(path, target / path.name)
    described = describe(target)
    _write_metadata(target, agreeing(_retold(read_metadata(root), root, settings, described, None), described))
    shutil.copytree(root / "docs", target / "docs")
    card = target / "docs" / "README.md"
    title, _, rest = _SECTION.sub("", card.read_text(encoding="utf-8")).partition("\n")
    write_atomically(card, f"{title}\n\n{_section(settings, described)}{rest}")
    return target


def gather(root: Path, lists: Mapping[str, Datalist], overlay: str | Path | None) -> Settings:
    """What datalists and an overlay say, for each stage that has such a setting.

    Raises:
        InputError: as `adopt`.
    """
    settings: Settings = {}
    for file, content in lists.items():
        _refuse_another_kind(root, file, content)
        said: dict[str, Setting] = {
            key: Setting(content[key], f"from {file}")
            for key in ("class_names", "task", "sequences", "mpp")
            if key in content
        }
        if "class_names" not in said and _first(root, "class_names") is None:  # regions of tumours stand in the configs
            raise InputError(f"{file}: names no classes; write it with --class_names.")
        _add(settings, root, said, segments="task" not in content)
    if overlay is None:
        return settings
    path = Path(overlay)
    values = load(path)
    known = {key for content in stages(root).values() for key in content}
    for key, value in values.items():
        if key not in known or isinstance(value, dict) != isinstance(_first(root, key), dict):
            raise InputError(
                f"{path}: no stage of {root.name} has a setting {key!r} of that kind; keys stand at their tops."
            )
    notes = dict(re.findall(r"^(\w+):.*?[ \t]#[ \t]*(.+)$", path.read_text(encoding="utf-8"), re.M))
    given = {
        key: Setting(value, f"{path.name}: {notes[key]}" if key in notes else f"from {path.name}")
        for key, value in values.items()
    }
    for stage, names in (
        (s, v["class_names"]) for s, v in settings.items() if "class_names" in v and "class_names" in given
    ):
        if names.value != given["class_names"].value:
            raise InputError(
                f"class_names is {given['class_names'].value} in {path}, {names.value} {names.source} ({stage}); make "
                "them the same."
            )
    _add(settings, root, given)
    return settings


def _refuse_another_kind(root: Path, file: str, content: Datalist) -> None:
    """Refuse a datalist that no stage of a bundle reads, so far as it tells without its images."""
    known = stages(root)
    reads = "volumes" if any("roi_size" in stage for stage in known.values()) else "pictures"
    first = next((str(as_list(item["image"])[0]) for part in SECTIONS for item in content[part]), "")
    if "task" in content or "mask_kind" in content:
        lists = "pictures"
    else:
        lists = "volumes" if first.lower().endswith(VOLUMES) else reads
    if lists != reads:
        raise InputError(f"{file} lists {lists}, and {root.name} learns from {reads}; adopt a bundle of that kind.")
    if reads == "pictures" and "task" not in content and not any(stage.endswith(SEGMENTATION) for stage in known):
        raise InputError(f"{file} has no task, and {root.name} only classifies; take one that segments, or add labels.")
    if "sequences" in known["train"]:
        region_table(content.get("class_names", ["background"]))


def _first(root: Path, key: str) -> Any:
    return next(content[key] for content in stages(root).values() if key in content)


def _add(settings: Settings, root: Path, given: Mapping[str, Setting], segments: bool | None = None) -> None:
    """Give values to the stages that have them; `segments` chooses those of one kind where the bundle has both."""
    known = stages(root)
    both = any(stage.endswith(SEGMENTATION) for stage in known)
    for stage, content in known.items():
        if segments is not None and both and stage.endswith(SEGMENTATION) != segments:
            continue
        for key, setting in given.items():
            if key in content:
                value = (
                    setting.value if isinstance(setting.value, dict) else read_value(key, setting.value, content[key])
                )
                settings.setdefault(stage, {})[key] = setting._replace(value=value)
        names = settings.get(stage, {}).get("class_names")
        if (
            names is not None
            and "target" in content
            and set(content["target"]) - set(names.value)
            and "target" not in given
        ):
            settings[stage]["target"] = Setting(names.value[1:], "all classes but the first; choose")


def _copy(root: Path, target: Path, settings: Settings) -> None:
    """Copy configs and licence; write the settings into the stages, and what they replace into the demo's overlays."""
    shutil.copytree(root / "configs", target / "configs", ignore=shutil.ignore_patterns("*.json", ".*"))
    for name in (METADATA, "LICENSE"):
        shutil.copy(root / name, target / name)
    replaced: dict[str, dict[str, list[Any]]] = {}
    for stage, values in settings.items():
        path = target / "configs" / f"{stage}.yaml"
        original, text = load(path), path.read_text(encoding="utf-8")
        demo = f"demo{SEGMENTATION if stage.endswith(SEGMENTATION) else ''}.yaml"
        for key, setting in values.items():
            text = with_value(text, key, setting)
            replaced.setdefault(demo, {}).setdefault(key, []).append(original[key])
        path.write_text(text, encoding="utf-8")
    for demo, keys in replaced.items():
        path = target / "configs" / demo
        if not path.is_file():
            continue
        has, lines = load(path), ""
        for key, old in keys.items():
            if key not in has and all(value == old[0] for value in old):
                lines += _line(key, Setting(old[0], "of the drawn data"))
        path.write_text(path.read_text(encoding="utf-8").rstrip("\n") + "\n" + lines, encoding="utf-8")


def with_value(text: str, key: str, setting: Setting) -> str:
    """A config in which a top-level key has another value, with its source behind it; all other lines stay."""
    return re.sub(rf"^{key}:.*\n(?:[ \t]+.*\n)*", lambda _: _line(key, setting), text, count=1, flags=re.M)


def _line(key: str, setting: Setting) -> str:
    value = yaml.safe_dump(_kept(setting.value), default_flow_style=True, width=10**6, allow_unicode=True)
    return f"{f'{key}: ' + value.removesuffix('...' + chr(10)).strip():36} # {setting.source}\n"


def _kept(value: Any) -> Any:
    """A value that MONAI reads as it is; expressions and references stay what they are."""
    if isinstance(value, list):
        return [_kept(entry) for entry in value]
    return value if isinstance(value, str) and value.startswith(("$", "@", "%")) else literal(value)


def _retold(
    metadata: Mapping[str, Any], root: Path, settings: Settings, described: Described, modality: Any
) -> dict[str, Any]:
    """The metadata of `root` with what they say in words of classes and images anew, where these are others."""
    made = json.loads(json.dumps(metadata))
    image, pred = made["network_data_format"]["inputs"]["image"], made["network_data_format"]["outputs"]["pred"]
    before, known = describe(root, weights=False), stages(root)
    given = [(key, known[stage][key], new.value) for stage, values in settings.items() for key, new in values.items()]
    changed = {key: value for key, old, value in given if old != value}
    agreed = agreeing(made, described)["network_data_format"]["outputs"]["pred"]["channel_def"]
    others = agreed != pred["channel_def"] or described.names != before.names
    elsewhere = described.channels != before.channels or described.inputs != before.inputs
    if isinstance(modality, str):
        elsewhere |= modality != image["modality"]
        image["modality"] = modality
    if image["format"] == "hounsfield" and (image["modality"] != "CT" or changed.get("intensity_mode") == "percentile"):
        image["format"] = "magnitude"
    if elsewhere or _PREPARED & set(changed):
        named = f" ({', '.join(described.inputs)})" if described.inputs else ""
        made["image_classes"] = (
            f"{described.channels} channel(s){named}, prepared as the settings in docs/README.md say"
        )
    segments, classes = pred["type"] == "image", [name for name in described.names if name != "background"]
    listed = ", ".join(classes) if len(classes) <= 20 else f"{len(classes)} classes"
    if others or elsewhere:
        what = "Segmentation of" if segments else "Classification of images as"
        made["task"] = f"{what} {listed}, with a vision transformer pre-trained on the training set itself"
        made["eval_metrics"] = {}
    if others:
        number = len(described.names)
        if described.names[0] == "background" or not segments:
            made["label_classes"] = f"{'label values' if segments else 'labels'} in the order of channel_def: {listed}"
            made["pred_classes"] = f"{number} channels of logits in the order of channel_def"
        else:  # regions are made of what the labels show, whichever are wanted
            made["pred_classes"] = (
                f"{number} channel(s) of logits, one sigmoid each: {listed}; channel_def is of the map"
            )
    return dict(made)


def _write_metadata(target: Path, metadata: Mapping[str, Any]) -> None:
    write_atomically(target / METADATA, json.dumps(metadata, indent=4, ensure_ascii=False) + "\n")


def _section(settings: Settings, described: Described) -> str:
    """The part of a card that says classes and settings, between marks by which it is found again."""
    rows: dict[tuple[str, str, str], list[str]] = {}
    for stage, values in settings.items():
        for key, setting in values.items():
            rows.setdefault((key, json.dumps(setting.value, ensure_ascii=False), setting.source), []).append(stage)
    return _CARDS.get_template("settings.md.j2").render(described=described, rows=rows)

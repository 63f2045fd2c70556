"""First step of every bundle run: refuse mistyped keys and types, report errors as one sentence, seed the weights.

MONAI adds an unknown top-level key to the config without a word, so `--max_epoch 3` would train for the default number
of epochs. The base file of a stage names every key there is; overlays and the command line may only override those.
"""

import copy
import difflib
import functools
import inspect
import itertools
import logging
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from pydoc import locate
from typing import Any
from weakref import WeakKeyDictionary

import torch
import yaml
from custom_components.errors import InputError
from fire.parser import DefaultParseValue
from monai.bundle import ConfigParser, ConfigWorkflow
from monai.bundle.config_item import ConfigComponent
from monai.bundle.utils import DEFAULT_MLFLOW_SETTINGS, merge_kv
from monai.utils import ensure_tuple

from .failures import install_excepthook
from .handed_over import take_over

# Added by MONAI itself: the metadata, and what `--tracking mlflow` brings along.
_TRACKING: dict[str, Any] = DEFAULT_MLFLOW_SETTINGS
_MONAI_KEYS = {"_meta_", "workflow_type", *_TRACKING["configs"]}
_PLUMBING = ("imports", "initialize", "run", "finalize", "train", "validate")
_FULL_WIDTH = 384  # from a ViT-S on; those of the demos are narrower
_REFERENCES = ("$", "@", "%")
_SEPARATOR = "::"
_settings: dict[str, Any] = {}
_parsers: list[ConfigParser] = []  # that of the run which began last
_begun: WeakKeyDictionary[ConfigWorkflow, dict[str, Any]] = WeakKeyDictionary()  # with its settings


def begin(seed: int = 0) -> None:
    """Prepare a run; called by `initialize` in every config.

    Args:
        seed: seeds PyTorch, so that weights drawn at random are the same on every start and on every process.

    Raises:
        InputError: a key is not one of the stage's, or a setting has another type than in the stage's own config.
    """
    install_excepthook()
    _hush()
    workflow, files, overrides = _running_workflow()
    if workflow is not None:
        if (
            workflow.run_id not in workflow.parser and workflow.run_id != "run"
        ):  # MONAI takes a word without a flag for it
            raise InputError(
                f"{workflow.run_id!r} belongs to no --setting; put quotes around words that belong together, such as "
                "--class_names \"['background','left kidney']\"."
            )
        overrides = _bundle_root(workflow, overrides) | overrides
        overrides = take_over(workflow.parser, overrides) | overrides
        overrides |= {key: _typed(key, value) for key, value in overrides.items() if isinstance(value, str)}
        given = {key: value for key, value in overrides.items() if isinstance(value, str | list | int | float)}
        written = {**_merged(files), **given} if files else {}
        plain = read_settings(workflow.parser, files, written)
        _parsers[:] = [workflow.parser]
        config = workflow.parser.get()
        _settings.clear()
        _settings.update(plain)
        _begun[workflow] = plain
        if files:
            refuse_unknown_keys(config, files)
            for part in ("train", "validate"):
                known = set(_load(files[0]).get(part, {}))
                unknown = sorted(set(config.get(part, {})) - known)
                if unknown:
                    raise InputError(f"Unknown setting '{part}#{unknown[0]}': {files[0]} has no such entry.")
            for number, file in enumerate(files[1:], start=1):
                if nested := _nested(_load(file)):
                    refuse_unknown_paths(nested, _merged(files[:number]), files[0])
            refuse_unknown_paths(_nested(overrides), _merged(files), files[0])
    if files and not torch.cuda.is_available():
        _say_without_gpu(_settings, files)
    torch.manual_seed(seed)


def _bundle_root(workflow: ConfigWorkflow, overrides: Mapping[str, Any]) -> dict[str, str]:
    """The folder of the config's `configs` where nobody names another; that the config asks for, too."""
    configs, parser = workflow.config_root_path, workflow.parser
    if "bundle_root" in overrides or parser.get("bundle_root") != "." or not (configs / "metadata.json").is_file():
        return {}
    parser["bundle_root"] = str(configs.parent)
    parser.parse(reset=True)
    return {"bundle_root": str(configs.parent)}


def _say_without_gpu(values: Mapping[str, Any], files: Sequence[str]) -> None:
    """Print what to do instead where a network of full size would be trained without a GPU."""
    stage, width = str(values.get("stage", "")), values.get("hidden_size", 0)
    small = any(Path(file).stem.startswith("demo") for file in files)
    if small or not stage.startswith(("pretrain", "train")) or not isinstance(width, int) or width < _FULL_WIDTH:
        return
    first = Path(files[0])
    names = ("demo" + stage.removeprefix("train").removeprefix("pretrain"), "demo")
    overlays = [first.with_stem(name) for name in names if first.with_stem(name).is_file()]
    advice = ""
    if overlays:
        listed = ",".join(f"'{file}'" for file in (*files, overlays[0]))
        advice = f' To try it with a small network append {overlays[0].name}: --config_file "[{listed}]"'
    print(
        f"No GPU was found: training a network of this size (hidden_size {width}) takes very long here.{advice}",
        flush=True,
    )


def read_settings(
    parser: ConfigParser, files: Sequence[str], written: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Give settings the type that they have in the stage's own config, and the very text that somebody wrote.

    The command line hands over `true`, `false` and `null` as text, which is true, and a folder called 12 as a number;
    MONAI makes `::` of `#` in whatever it reads, and takes a text that begins with `@` for a reference.

    Args:
        parser: the merged config; settings that say their value as text are replaced.
        files: the config files; the first is the stage's own.
        written: the settings as they were written; those of the parser where there are none.

    Returns:
        The settings, without what the parser needs to take a text for one.

    Raises:
        InputError: a setting has a value of another type.
    """
    content = _load(files[0]) if files else {}
    changes: dict[str, Any] = {}
    plain = {key: value for key, value in parser.get().items() if not _is_plumbing(key)}
    for key, default in content.items():
        value = plain.get(key)
        if _is_plumbing(key) or isinstance(value, dict):
            continue
        own = _as_written(value, (written or {}).get(key, value), parser)
        if isinstance(own, str | int | float) and own != default and not _is_reference(value):
            default = default_of(key, content)
        read = plain[key] = own if own is not value and _is_reference(own) else read_value(key, own, default)
        if read != value or type(read) is not type(value):
            changes[key] = literal(read)
    if changes:
        parser.update(changes)
        parser.parse(reset=True)
    return plain


def _as_written(value: Any, written: Any, parser: ConfigParser) -> Any:
    """`value` with the texts that were written where they are no reference or expression of MONAI."""
    if isinstance(value, list) and isinstance(written, list) and len(value) == len(written):
        return [_as_written(entry, own, parser) for entry, own in zip(value, written, strict=True)]
    unknown = isinstance(written, str) and written.startswith("@") and written[1:] not in parser
    return written if unknown or (isinstance(written, str) and not _is_reference(written)) else value


def _is_reference(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(_REFERENCES)


def literal(value: Any) -> Any:
    """A setting as MONAI reads it right: a text with `#`, or with `@` or `%` in front, becomes an expression."""
    if isinstance(value, list):
        return [literal(entry) for entry in value]
    if isinstance(value, str) and ("#" in value or value.startswith(("@", "%"))):
        return "$" + "".join(f"\\x{ord(sign):02x}" if sign in "#@%" else sign for sign in repr(value))
    return value


def _load(file: str) -> dict[str, Any]:
    """A config file that MONAI has read, or can: its own reader takes ten times as long."""
    if file.lower().endswith(".json"):
        return ConfigParser.load_config_file(file)
    return copy.deepcopy(_parsed(Path(file).read_text(encoding="utf-8")))


@functools.cache
def _parsed(text: str) -> dict[str, Any]:
    return yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)) or {}


def _merged(files: Sequence[str]) -> dict[str, Any]:
    parser = ConfigParser(config={})
    for key, value in itertools.chain.from_iterable(_load(file).items() for file in files):
        merge_kv(parser, key, value)
    return parser.get()


def refuse_unknown_keys(keys: Iterable[str], files: Sequence[str]) -> None:
    """Refuse settings that the stage does not have, naming each and the nearest one that it has.

    Args:
        keys: the top-level keys of the merged config, command line included.
        files: the config files; the first is the stage's own and defines its keys. An overlay that serves several
            stages of a bundle may hold keys of the others, which have no effect here.

    Raises:
        InputError: some key is neither.
    """
    known = {*(_load(files[0]) if files else {}), *_MONAI_KEYS, *_PLUMBING}
    shared = {key for file in files[1:] for key in _load(file)} & _keys_of_all_stages(files[0])
    unknown = sorted(set(keys) - known - shared)
    if unknown:
        hints = []
        for key in unknown:
            near = difflib.get_close_matches(key, known, n=1)
            hints.append(f"'{key}'" + (f" (did you mean '{near[0]}'?)" if near else ""))
        raise InputError(f"Unknown setting {', '.join(hints)}: {files[0]} has no such key; its top lists them all.")


def _keys_of_all_stages(file: str) -> set[str]:
    keys: set[str] = set()
    for path in Path(file).parent.iterdir():
        if path.suffix in (".yaml", ".yml", ".json") and path.name != "metadata.json":
            content = _load(str(path))
            if "stage" in content:
                keys |= set(content)
    return keys


def settings() -> dict[str, Any]:
    """The plain settings of this run as written, overrides included, without imports, engines and transforms."""
    workflow = _running_workflow()[0]
    return dict(_settings if workflow is None else _begun.get(workflow, _settings))


def resolve(key: str) -> Any:
    """What an entry of this run's config (`train::trainer`) stands for; made now where nothing has asked for it yet.

    Raises:
        RuntimeError: no run has begun.
    """
    workflow = _running_workflow()[0]
    if workflow is not None and workflow in _begun:
        return workflow.parser.get_parsed_content(key)
    if not _parsers:
        raise RuntimeError(f"No run has begun, so there is no config to take '{key}' from; see `begin`.")
    return _parsers[0].get_parsed_content(key)


def _is_plumbing(key: str) -> bool:
    return key.startswith("_") or key in _PLUMBING


def _hush() -> None:
    """Leave out what others say at each start and nobody can act on.

    With pydicom installed, MONAI's `LoadImage` misses a GPU decoder; MONAI's own HD95 uses a deprecated argument of
    MONAI, its FROC a deprecated property of scikit-image; Ignite prints an error twice that then ends the run and is
    printed anyway.
    """
    warnings.filterwarnings("ignore", message=".*get_mask_edges:.*always_return_as_numpy", category=FutureWarning)
    warnings.filterwarnings("ignore", message=".*major_axis_length", category=FutureWarning)
    for name in ("SupervisedTrainer", "SupervisedEvaluator"):
        logging.getLogger(f"ignite.engine.engine.{name}").addFilter(_not_a_repetition)
    warnings.filterwarnings("ignore", message="NvImgCodecPydicomReader")
    logging.getLogger("monai.data.nvimgcodec_pydicom_plugin").setLevel(logging.ERROR)


def _not_a_repetition(record: logging.LogRecord) -> bool:
    return "run is terminating due to exception" not in record.getMessage()


def _running_workflow() -> tuple[ConfigWorkflow | None, list[str], dict[str, Any]]:
    """The workflow whose `initialize` is running, its config files and its overrides.

    MONAI hands none of them to config items.
    """
    workflow = None
    frame = inspect.currentframe()
    while frame is not None:
        owner = frame.f_locals.get("self")
        if workflow is None and isinstance(owner, ConfigWorkflow):
            workflow = owner
        if workflow is not None and frame.f_locals.get("config_file"):
            files = [str(file) for file in ensure_tuple(frame.f_locals["config_file"])]
            return workflow, files, {str(key): value for key, value in (frame.f_locals.get("_args") or {}).items()}
        frame = frame.f_back
    return workflow, [], {}


# Values of overlays and the command line that have another type than the stage's own config gives them.


def read_value(key: str, value: Any, default: Any) -> Any:
    """A setting's value in the type that its default has; text that says a number, a switch or null is turned into it.

    Args:
        key: the setting's name, for the message.
        value: what an overlay or the command line gave it.
        default: what the stage's own config gives it; a default that is null, text or a reference says no type.

    Raises:
        InputError: a text stands where a number, a switch or a list is expected, or one of these for another.
    """
    if isinstance(value, str) and value.startswith(_REFERENCES):
        return value
    # "none" is itself a word that some settings may have, `equalise` for one.
    null_words = ("null",) if isinstance(default, str) else ("null", "none")
    if isinstance(value, str) and value.lower() in null_words:
        return None
    if isinstance(default, str) and isinstance(value, int | float) and not isinstance(value, bool):
        return value if _is_reference(default) else _typed(key, value)
    if value is None or isinstance(default, str) or default is None:
        return value
    words = {"true": True, "false": False}
    if isinstance(default, bool):
        read = words.get(value.lower(), value) if isinstance(value, str) else value
        return _expect(isinstance(read, bool), key, value, read, "true or false")
    if isinstance(default, int | float):
        read = _number(value)
        fits = isinstance(read, int | float | Sequence) and not isinstance(read, bool | str)  # one a axis is a list
        return _expect(fits, key, value, read, "a number")
    if isinstance(default, list):
        fits = isinstance(value, Sequence) and not isinstance(value, str)
        words_too = any(isinstance(entry, str) for entry in default)
        hint = "; quote its words: \"['one','two words']\"" if words_too else f" such as {default}" if default else ""
        read = (
            [str(entry) if isinstance(entry, int | float) else entry for entry in value]
            if words_too and fits
            else value
        )
        return _expect(fits, key, value, read, f"a list{hint}")
    return value


def _typed(key: str, value: float | str) -> str:
    """What was typed for a value: a folder may be called 007, which Fire takes for 7, or `run #2`, which it cuts."""
    for word, after in zip(sys.argv, [*sys.argv[1:], ""], strict=True):
        text = after if word == f"--{key}" else word.removeprefix(f"--{key}=")
        cut = not isinstance(value, str) or text.partition("#")[0].strip() == value  # else quotes are gone
        if text != word and cut and DefaultParseValue(text) == value:
            return text
    return str(value)


def _expect(fits: bool, key: str, given: Any, read: Any, what: str) -> Any:
    if not fits:
        said = f"the text {given!r}" if isinstance(given, str) else repr(given)
        raise InputError(f"{key} is {said}, expected {what}.")
    return read


def _number(value: Any) -> Any:
    """YAML takes `1e-4` for a text."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def default_of(key: str, content: Mapping[str, Any]) -> Any:
    """What a stage's own config says under a key, its expression evaluated; the text of one that cannot be."""
    default = content[key]
    if not (isinstance(default, str) and default.startswith(("$", "@"))):
        return default
    try:
        return ConfigParser(dict(content)).get_parsed_content(key)
    except Exception:  # whatever an expression may raise without the overrides that it counts on
        return default


def refuse_unknown_paths(paths: Iterable[str], config: Mapping[str, Any], file: str) -> None:
    """Refuse overrides, of the command line or an overlay, inside a section (`validate#inferer#overlap`) that lacks it.

    Args:
        paths: keys of overrides, `#` or `::` between their parts.
        config: the merged config without these overrides.
        file: its name, for the message.

    Raises:
        InputError: the config has no such entry, and the object that it would be given to knows no such argument.
    """
    for path in (path.replace("#", _SEPARATOR) for path in paths):
        parent: Any = config
        parts = path.split(_SEPARATOR)
        for depth, part in enumerate(parts):
            known = _entries(parent)
            if part not in known and not (depth == len(parts) - 1 and part in _arguments(parent)):
                near = difflib.get_close_matches(part, [*known, *_arguments(parent)], n=1)
                hint = f" (did you mean '{near[0]}'?)" if near else ""
                raise InputError(f"Unknown setting '{'#'.join(parts)}'{hint}: {file} has no entry '{part}' there.")
            parent = known.get(part)


def _nested(keys: Iterable[str]) -> list[str]:
    return [key for key in keys if ("#" in key or _SEPARATOR in key) and not key.startswith("+")]


def _entries(parent: Any) -> dict[str, Any]:
    if isinstance(parent, list):
        return {str(index): entry for index, entry in enumerate(parent)}
    return dict(parent) if isinstance(parent, Mapping) else {}


def _arguments(parent: Any) -> list[str]:
    """Names of the arguments that a section's `_target_` takes beyond those written down."""
    if not ConfigComponent.is_instantiable(parent):
        return []
    try:
        target: Any = ConfigComponent(parent).resolve_module_name()
        target = locate(target) if isinstance(target, str) else target
        return ["_disabled_", "_requires_", *inspect.signature(target).parameters]
    except (TypeError, ValueError, ImportError):
        return []

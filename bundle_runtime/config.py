"""First step of every bundle run: refuse mistyped keys, report errors as one sentence, seed the weights.

MONAI adds an unknown top-level key to the config without a word, so `--max_epoch 3` would train for the default number
of epochs. The base file of a stage names every key there is; overlays and the command line may only override those.
"""

import difflib
import inspect
import logging
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser, ConfigWorkflow
from monai.bundle.utils import DEFAULT_MLFLOW_SETTINGS
from monai.utils import ensure_tuple

from custom_components.errors import InputError, install_excepthook

from .config_types import default_of, read_value, refuse_unknown_paths

# Added by MONAI itself: the metadata, and what `--tracking mlflow` brings along.
_TRACKING: dict[str, Any] = DEFAULT_MLFLOW_SETTINGS
_MONAI_KEYS = {"_meta_", "workflow_type", *_TRACKING["configs"]}
_settings: dict[str, Any] = {}
_FULL_WIDTH = 384  # from a ViT-S on; those of the demos are narrower


def begin(seed: int = 0, choices: Mapping[str, Sequence[Any]] | None = None) -> None:
    """Prepare a run; called by `initialize` in every config.

    Args:
        seed: seeds PyTorch, so that weights drawn at random are the same on every start and on every process.
        choices: per setting its value, followed by the values that it may have.

    Raises:
        InputError: a key is not one of the stage's, or a setting has a value or a type that it may not have.
    """
    install_excepthook()
    _hush()
    workflow, files, overrides = _running_workflow()
    if workflow is not None:
        read_settings(workflow.parser, files)
        config = workflow.parser.get()
        _settings.clear()
        _settings.update({key: value for key, value in config.items() if not _is_plumbing(key, value)})
        if files:
            refuse_unknown_keys(config, files)
            for part in ("train", "validate"):
                known = set(_load_first(files).get(part, {}))
                unknown = sorted(set(config.get(part, {})) - known)
                if unknown:
                    raise InputError(f"Unknown setting '{part}#{unknown[0]}': {files[0]} has no such entry.")
            nested = [key for key in overrides if ("#" in key or "::" in key) and not key.startswith("+")]
            refuse_unknown_paths(nested, ConfigParser.load_config_files(files), files[0])
    for key, (value, *allowed) in (choices or {}).items():
        if value not in allowed:
            raise InputError(f"{key} is {value!r}; it must be one of {', '.join(map(str, allowed))}.")
    if files and not torch.cuda.is_available():
        _say_without_gpu(_settings, files)
    torch.manual_seed(seed)


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


def read_settings(parser: ConfigParser, files: Sequence[str]) -> None:
    """Give settings the type that they have in the stage's own config.

    The command line hands over `true`, `false` and `null` as text, which is true.

    Args:
        parser: the merged config; settings that say their value as text are replaced.
        files: the config files; the first is the stage's own.

    Raises:
        InputError: a setting has a value of another type.
    """
    content = _load_first(files)
    changes: dict[str, Any] = {}
    for key, default in content.items():
        value = parser.get(key)
        if _is_plumbing(key, default) or isinstance(value, dict):
            continue
        if isinstance(value, str) and value != default and not value.startswith(("$", "@", "%")):
            default = default_of(key, content)
        read = read_value(key, value, default)
        if read is not value:
            changes[key] = read
    if changes:
        parser.update(changes)
        parser.parse(reset=True)


def _load_first(files: Sequence[str]) -> dict[str, Any]:
    return ConfigParser.load_config_file(files[0]) if files else {}


def refuse_unknown_keys(keys: Iterable[str], files: Sequence[str]) -> None:
    """Refuse settings that the stage does not have, naming each and the nearest one that it has.

    Args:
        keys: the top-level keys of the merged config, command line included.
        files: the config files; the first is the stage's own and defines its keys. An overlay that serves several
            stages of a bundle may hold keys of the others, which have no effect here.

    Raises:
        InputError: some key is neither.
    """
    known = set(_load_first(files)) | _MONAI_KEYS
    shared = {key for file in files[1:] for key in ConfigParser.load_config_file(file)} & _keys_of_all_stages(files[0])
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
            content = ConfigParser.load_config_file(str(path))
            if "stage" in content:
                keys |= set(content)
    return keys


def settings() -> dict[str, Any]:
    """The plain settings of this run as written, overrides included, without imports, engines and transforms."""
    return dict(_settings)


def _is_plumbing(key: str, value: Any) -> bool:
    return key.startswith("_") or key in ("imports", "initialize", "run", "finalize", "train", "validate")


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


def _running_workflow() -> tuple[ConfigWorkflow | None, list[str], list[str]]:
    """The workflow whose `initialize` is running, its config files and the keys of its overrides.

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
            return workflow, files, [str(key) for key in frame.f_locals.get("_args") or ()]
        frame = frame.f_back
    return workflow, [], []

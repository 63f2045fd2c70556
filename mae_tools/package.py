"""Make one zip of a bundle that runs on its own: its Python inside, JSON twins of the YAML, checksums."""

import contextlib
import hashlib
import inspect
import json
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import yaml
from bundle_runtime.data.conventions import predicted_tissues
from bundle_runtime.failures import find_input_error
from bundle_runtime.files import write_atomically
from bundle_runtime.weights.io import sha256_of, sidecar_path
from bundle_runtime.weights.load import read_record
from custom_components.errors import InputError
from custom_components.tumour_labels import TISSUES
from monai.bundle import ConfigParser

from . import zoo_check
from .__main__ import available, module_of
from .adopt import bake
from .agree import METADATA, describe, refuse_disagreement
from .bundles import find_bundle, load, read_tools
from .closure import ROOT, closure, file_of, named_in
from .measured import measured
from .sources import SOURCES

REQUIRED = ("configs/metadata.json", "configs/inference.yaml", "docs/README.md", "LICENSE")
WEIGHTS = (".pt", ".ts", ".onnx", ".safetensors")
_THRESHOLDS = "thresholds.json"
# What a config makes of weights, and the key that names their file.
_LOADERS = {"loaded": "model_file", "initialised": "encoder_file"}
# Parts of commands that are imported by name: each travels where the module that it is for does.
_PARTS = {
    "mae_tools.compare.segmentation": "bundle_runtime.scores.segmentation_report",
    "mae_tools.compare.classification": "bundle_runtime.scores.classification_report",
    "mae_tools.compare.instances": "bundle_runtime.scores.instance_report",
    "mae_tools.check.volumes": "bundle_runtime.data.load_volumes",
    "mae_tools.check.pictures": "bundle_runtime.data.image_file",
    "mae_tools.check.tissues": "bundle_runtime.data.tissue_labels",
}
TEMPLATE = ".html.j2"  # ends the name of what a module of the same name fills
_SUMS = "SHA256SUMS"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can hold: equal content gives equal bytes


def package(
    bundle: str | Path,
    out: str | Path = "dist",
    verify: bool = False,
    weights: bool = True,
    overlay: str | Path | None = None,
    weights_url: str | None = None,
) -> Path:
    """Write `<out>/<name>_v<version>.zip`, which unpacks to `<name>/`, and `<zip>.sha256` beside it.

    Inside are the configs (the YAML as it is, and a JSON twin of each for tools that read only JSON), docs, licence,
    what lies directly in `models/` of weights, their sidecars and thresholds (never a training state), the Python that
    the configs need and the commands that `configs/tools.yaml` names, and `SHA256SUMS` of every file. Weights are
    loaded once as each stage of the package would load them, without any overlay; the metadata name no output channel
    of a class that they have not learnt. What `evaluate` and `train` measured of them stands in metadata and card.

    Args:
        bundle: Folder of a bundle, or its name in `bundles/`; the folder's name becomes that of the package.
        out: Where to write; made if missing.
        verify: Also run the Model Zoo's checks on the result (see `zoo_check.verify`).
        weights: Pack them; false leaves `models/` out.
        overlay: What the training had beside the bundle's configs: written into those of the package, and into its
            metadata and card; the bundle's own files stay. Classes that it does not name are those of the weights.
        weights_url: Do not pack them, but write a `large_files.yml` that fetches them from this folder on the web.

    Returns:
        Path of the zip.

    Raises:
        InputError: The folder is no bundle, its version is not in its changelog, its weights do not fit its configs,
            metadata, configs and weights disagree on a class, its order, channels or sizes, or nothing can be written;
            with `verify`, a check failed.
    """
    root = Path(bundle).resolve() if Path(bundle).is_dir() else find_bundle(str(bundle))
    version = _version(root)
    if overlay is not None:
        with tempfile.TemporaryDirectory() as folder:
            baked = bake(root, Path(folder) / root.name, overlay)
            return package(baked, out, verify, weights, weights_url=weights_url)
    contents = _contents(root)
    if weights:
        _refuse_other_weights(root)
        models = weights_of(root)
        named = models if weights_url is None else {"large_files.yml": large_files(models, weights_url).encode()}
        contents = dict(sorted({**contents, **named}.items()))
    refuse_disagreement(root, weights)
    if weights and "models/model.pt" in models:
        contents |= _learnt_metadata(root)
        contents |= measured(root, models, json.loads(_bytes(contents[METADATA])))
    target = Path(out) / f"{root.name}_v{version}.zip"
    digest = _write(target, root.name, contents)
    trained = "with" if "models/model.pt" in contents else "without"
    print(f"{target}: {len(contents) + 1} files, {target.stat().st_size / 1e6:.1f} MB, {trained} trained weights")
    print(f"sha256 {digest}")
    if verify:
        zoo_check.verify(target)
    return target


def _version(root: Path) -> str:
    """The bundle's version, once the folder is known to be a bundle."""
    missing = [name for name in REQUIRED if not (root / name).is_file()]
    if missing:
        raise InputError(f"{root} is not a complete bundle: {', '.join(missing)} missing.")
    path = root / REQUIRED[0]
    try:
        metadata = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON ({error}).") from error
    version = metadata.get("version") if isinstance(metadata, dict) else None
    if not isinstance(version, str) or not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise InputError(f"{path}: version is {version!r}, expected three numbers as in '0.1.0'.")
    if version not in metadata.get("changelog", {}):
        raise InputError(f"{path}: version {version} has no entry in the changelog; add a line on what changed.")
    return version


def _contents(root: Path) -> dict[str, Path | bytes]:
    """Name inside the bundle -> file on disk, or bytes that are made here."""
    contents: dict[str, Path | bytes] = {}
    for folder in ("configs", "docs"):
        contents |= _files(root, folder)
    contents["LICENSE"] = root / "LICENSE"
    for path in root.glob("large_files.*"):
        contents[path.name] = path
    for name, path in _files(root, "configs").items():
        if path.suffix in (".yaml", ".yml"):
            twin = str(Path(name).with_suffix(".json"))
            made = _json_twin(path)
            if twin in contents and load(root / twin) != json.loads(made):
                raise InputError(f"{root / twin} differs from {path.name}; remove it: the package makes it anew.")
            contents[twin] = made
    modules = python_files(root)
    templates = [path for path in (module.with_suffix(TEMPLATE) for module in modules) if path.is_file()]
    return contents | {path.relative_to(ROOT).as_posix(): path for path in (*modules, *templates)}


def python_files(root: Path) -> list[Path]:
    """The Python files that travel: what the configs need, and the commands and layouts that the bundle names."""
    tools = read_tools(root)
    unknown = sorted({*tools.commands} - {*available()}) + sorted({*tools.sources} - {*SOURCES})
    if unknown:
        raise InputError(f"{root}/configs/tools.yaml: there is no command or layout '{unknown[0]}' here.")
    modules = {"mae_tools.__main__", "bundle_runtime.own_modules", *map(module_of, tools.commands)}
    modules |= {inspect.getmodule(SOURCES[name]).__name__ for name in tools.sources}  # type: ignore[union-attr]
    for path in (root / "configs").glob("*.yaml"):
        modules |= named_in(path.read_text(encoding="utf-8"))
    needed = set(closure(modules))
    return closure(modules | {part for part, needs in _PARTS.items() if file_of(needs) in needed})


def weights_of(root: Path) -> dict[str, Path]:
    """Weights directly in `models/`, their sidecars and the thresholds; subfolders hold trials for comparison."""
    found = [path for path in (root / "models").glob("*") if path.is_file() and not path.name.startswith(".")]
    # A training state resumes one run on one machine.
    weights = [path for path in found if path.suffix in WEIGHTS and not path.name.startswith("training_state")]
    sidecars = {sidecar_path(path).name for path in weights}
    beside = [path for path in found if weights and path.name in {*sidecars, _THRESHOLDS}]
    return {f"models/{path.name}": path for path in (*weights, *beside)}


def large_files(files: Mapping[str, Path], url: str) -> str:
    """The text of a `large_files.yml`: where each file of a bundle lies, and its sha256.

    Args:
        files: path inside the bundle -> file.
        url: of the folder that holds them, under their own names.

    Raises:
        InputError: the address is none.
    """
    if not re.match(r"(https?|file)://\S+$", url):
        raise InputError(f"weights_url is {url!r}; expected the address of a folder, such as https://host/release.")
    entries = [
        {"path": name, "url": f"{url.rstrip('/')}/{file.name}", "hash_val": sha256_of(file), "hash_type": "sha256"}
        for name, file in sorted(files.items())
    ]
    return yaml.safe_dump({"large_files": entries}, sort_keys=False)


def _learnt_metadata(root: Path) -> dict[str, bytes]:
    """The metadata without the channels that the weights never predict, where there are some."""
    record = read_record(root / "models" / "model.pt")
    if record is None or not record.unlearnt:
        return {}
    metadata = json.loads((root / REQUIRED[0]).read_text(encoding="utf-8"))
    pred = metadata["network_data_format"]["outputs"]["pred"]
    before = pred["channel_def"]
    if record.regions:  # the map that is made of them has values for tissues
        told = predicted_tissues([name for name in record.class_names if name not in record.unlearnt])
        pred["channel_def"] = {str(TISSUES.index(name)): name for name in told}
    else:
        pred["channel_def"] = {key: name for key, name in before.items() if int(key) not in record.channels}
    left_out = [name for key, name in before.items() if key not in pred["channel_def"]]
    print(f"Not learnt, so the metadata do not name the channel: {', '.join(left_out)}")
    return {REQUIRED[0]: (json.dumps(metadata, indent=4) + "\n").encode()}


def _refuse_other_weights(root: Path) -> None:
    """Load the weights as each stage of the package will, with nothing but its own config.

    Raises:
        InputError: Some do not fit: they were trained with an overlay, or the config was changed since.
    """
    for path in sorted((root / "configs").glob("*.yaml")):
        parser = ConfigParser(load(path))
        parser["bundle_root"] = str(root)
        if "loaded" not in parser and parser.get("class_names", "") is None:  # an encoder fits whatever the classes are
            parser["class_names"] = describe(root).names
        for loader, file in _LOADERS.items():
            if loader not in parser or not Path(parser.get_parsed_content(file)).is_file():
                continue
            if "report_path" in parser[loader]:
                parser[loader]["report_path"] = None  # a check leaves nothing behind
                parser.parse(reset=True)
            try:
                parser.get_parsed_content(loader)
            except Exception as error:  # MONAI wraps whatever a config item raises
                found = find_input_error(error)
                if found is None:
                    raise
                raise InputError(
                    f"{path}, which the package runs without an overlay, does not fit the weights: "
                    f"{str(found).removesuffix('.')}. Write the settings of their training into the bundle's "
                    "configs (--overlay does it for the package), or package it without weights: --weights false."
                ) from error


def _files(root: Path, folder: str) -> dict[str, Path]:
    """Every file below a folder of the bundle, hidden ones (editors, half-written) left out."""
    found = {path.relative_to(root): path for path in (root / folder).rglob("*") if path.is_file()}
    return {
        name.as_posix(): path
        for name, path in found.items()
        if not any(part.startswith(".") or part == "__pycache__" for part in name.parts)
    }


def _bytes(source: Path | bytes) -> bytes:
    return source if isinstance(source, bytes) else source.read_bytes()


def _json_twin(path: Path) -> bytes:
    try:
        return (json.dumps(load(path), indent=4) + "\n").encode()
    except TypeError as error:
        raise InputError(f"{path}: holds a value that JSON has no form for ({error}); write it as text.") from error


def _write(target: Path, name: str, contents: dict[str, Path | bytes]) -> str:
    """The zip and its checksum beside it, which is returned."""
    digest_file = target.with_name(f"{target.name}.sha256")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # The old checksum goes before the new zip comes: a run killed between the two leaves none, not a wrong one.
        digest_file.unlink(missing_ok=True)
        _write_zip(target, name, contents)
        digest = sha256_of(target)
        write_atomically(digest_file, f"{digest}  {target.name}\n")
    except OSError as error:
        raise InputError(f"{target}: the package cannot be written ({error.strerror or error}).") from error
    return digest


def _write_zip(target: Path, name: str, contents: dict[str, Path | bytes]) -> None:
    """Write the archive under a temporary name, then move it to its own."""
    handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        sums = []
        with os.fdopen(handle, "wb") as stream, zipfile.ZipFile(stream, "w") as archive:
            for path, source in contents.items():
                sums.append(f"{_add(archive, f'{name}/{path}', source)}  {path}\n")
            _add(archive, f"{name}/{_SUMS}", "".join(sums).encode())
        os.chmod(temporary, 0o644)  # mkstemp makes private files; a package is meant to be read
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def _add(archive: zipfile.ZipFile, name: str, source: Path | bytes) -> str:
    """Add one file and return its SHA-256; big files are never in memory as a whole."""
    info = zipfile.ZipInfo(name, _EPOCH)
    info.create_system, info.external_attr = 3, 0o644 << 16  # the same on every system: readable files
    # Weights hardly shrink, and packing them takes minutes.
    info.compress_type = zipfile.ZIP_STORED if Path(name).suffix in WEIGHTS else zipfile.ZIP_DEFLATED
    if isinstance(source, bytes):
        archive.writestr(info, source)
        return hashlib.sha256(source).hexdigest()
    info.file_size = source.stat().st_size  # decides whether the entry needs the 64-bit form
    with source.open("rb") as reader, archive.open(info, "w") as writer:
        shutil.copyfileobj(reader, writer, 1 << 20)
    return sha256_of(source)

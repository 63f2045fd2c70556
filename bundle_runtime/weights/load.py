"""Load weights into networks: loudly, completely, or not at all."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from custom_components.errors import InputError, one_of
from custom_components.networks.find import find_vit, unwrap
from torch import Tensor, nn

from ..data.record import Record
from ..learnt import leave_out
from .adapt import adapt
from .describe import architecture, network_difference
from .io import read_sidecar, read_state_dict, sidecar_path
from .report import Report, first_names

ENCODER_NORMS = ("new", "loaded")


def load_encoder(
    network: nn.Module,
    path: str | Path,
    strict_encoder: bool = True,
    report_path: str | Path | None = None,
    source_grid: Sequence[int] | None = None,
    inflate: bool = False,
    new_norm: bool = False,
) -> Report:
    """Load the encoder of a weights file into a network and print what happened to every tensor.

    Args:
        network: A network with a ViT at `.vit` or `.encoder`, or a ViT.
        path: Weights in any known layout (see `layouts`).
        strict_encoder: Refuse anything short of all encoder tensors, and encoder tensors of the file without a place.
        report_path: Where the report is saved as JSON; written before a refusal, too.
        source_grid: Patch grid of the file's position table, where neither sidecar nor count tells it.
        inflate: Allow 2D weights in a 3D network.
        new_norm: The encoder's final norm starts afresh (gain 1, offset 0), so the file need not have it.

    Returns:
        The report.

    Raises:
        InputError: The file cannot be read or does not fit (see `adapt`), or is incomplete under `strict_encoder`. The
            network is then unchanged.
    """
    vit = find_vit(network)
    tensors, report = adapt(
        read_state_dict(path),
        vit,
        source=str(path),
        source_grid=source_grid,
        inflate=inflate,
        sidecar=read_sidecar(path),
    )
    if new_norm:
        report.new = [name for name in report.new if not name.startswith("norm.")]
    print(report, flush=True)
    if report_path is not None:
        report.save(report_path)
    if strict_encoder and not report.complete:
        lacking = f"missing in the file: {first_names(report.new)}" if report.new else ""
        homeless = f"without a place in the network: {first_names(report.unplaced)}" if report.unplaced else ""
        raise InputError(
            f"{path}: {report.encoder_loaded} of {report.encoder_total} encoder tensors loaded; "
            f"{'; '.join(filter(None, (lacking, homeless)))}. {_advice(report)}, or set strict_encoder: false to go on "
            "with part of it."
        )
    vit.load_state_dict(tensors, strict=False)
    if new_norm:
        vit.norm.reset_parameters()  # type: ignore[union-attr, operator]
        print("weights: the encoder's final norm starts afresh; its pre-trained values are not used", flush=True)
    return report


def _advice(report: Report) -> str:
    """What to do about a file that does not fill the encoder."""
    own_norm = any("fc_norm." in name for name in report.unused)
    if own_norm and report.new and all(name.startswith("norm.") for name in report.new):
        return (
            "The file is of a fine-tuned network, whose head has its own norm (fc_norm) in place of the encoder's: "
            "give the pre-trained file that it was fine-tuned from, or let that norm start afresh (encoder_norm: new)"
        )
    return "Build the network with the sizes of the file"


def init_network(
    network: nn.Module,
    init: str,
    pretrained_encoder: str | Path | None = None,
    strict_encoder: bool = True,
    report_path: str | Path | None = None,
    inflate: bool = False,
    normalisation: Mapping[str, Any] | None = None,
    encoder_norm: str = "loaded",
) -> nn.Module:
    """Give a network its starting weights, as the configuration key `init` says; returns it.

    Args:
        network: The network to fine-tune.
        init: "scratch" (as built), "mae" (the encoder at `pretrained_encoder`) or the path of a weights file.
        pretrained_encoder: What the pre-training stage wrote.
        strict_encoder: See `load_encoder`, as for the next two.
        report_path: Of the report.
        inflate: Allow 2D weights in a 3D network.
        normalisation: How this run prepares images; a difference from what the file's sidecar says is printed.
        encoder_norm: "new" lets the encoder's final norm start afresh (gain 1, offset 0) in place of its pre-trained
            values, as MAE's fine-tuning does; every other tensor is loaded. "loaded" keeps them.

    Raises:
        InputError: If the file is missing or does not fit, or `encoder_norm` is another word.
    """
    one_of("encoder_norm", encoder_norm, ENCODER_NORMS)
    if init == "scratch":
        print("weights: init is scratch: the network starts from its random initialisation", flush=True)
        return network
    path = Path(pretrained_encoder or "") if init == "mae" else Path(init)
    if init == "mae" and not path.is_file():
        raise InputError(
            f"init is mae, but there is no pre-trained encoder at {pretrained_encoder}; run pretrain first, say where "
            "it wrote with --encoder_file <file>, take other weights with --init <file>, or start without any with "
            "--init scratch."
        )
    if not path.is_file():
        raise InputError(f"init is {init!r}, expected scratch, mae or the path of an existing weights file.")
    load_encoder(network, path, strict_encoder, report_path, inflate=inflate, new_norm=encoder_norm == "new")
    sidecar = read_sidecar(path) or {}
    for difference in _differences(path, sidecar, {"normalisation": normalisation}, partly=True):
        print(f"weights: note: {difference}; pre-training saw other images than this run will", flush=True)
    _warn_if_unfinished(path, sidecar, "pre-training")
    return network


def _warn_if_unfinished(path: str | Path, sidecar: Mapping[str, Any], stage: str) -> None:
    """Say so where the sidecar says that the training had not ended when these weights were written."""
    if sidecar.get("finished") is False:
        print(
            f"weights: WARNING: the {stage} that wrote {path} did not finish (these weights are of epoch "
            f"{sidecar.get('epoch', '?')}); go on with it by --resume true.",
            flush=True,
        )


def _differences(
    path: str | Path, sidecar: Mapping[str, Any], settings: Mapping[str, Any], partly: bool = False
) -> list[str]:
    """How the settings differ from those in the file's sidecar; what either side does not state is left out.

    With `partly` that goes for the entries of a setting, too: another kind of data is prepared in other steps.
    """
    found = []
    for name, value in settings.items():
        stored, given = sidecar.get(name), json.loads(json.dumps(value))
        if partly and isinstance(stored, dict) and isinstance(given, dict):
            stored = {key: entry for key, entry in stored.items() if key in given}
        if stored is not None and given is not None and stored != given:
            found.append(f"{name} is {stored} in {sidecar_path(path)}, {given} in this run")
    return found


def _fine_tuned(network: nn.Module, state: dict[str, Tensor], source: str) -> dict[str, Tensor]:
    """A classifier of timm's names (fine-tuned with the code of MAE, MSMAE or SD-MAE) in those of `ViTClassifier`."""
    pooled = "fc_norm.weight" in state
    if pooled != getattr(network, "norm_after_pool", pooled):
        what = "the mean of the tokens (fc_norm)" if pooled else "the class token"
        raise InputError(
            f"{source}: its head reads {what}, that of the network does not; choose the other head or pool."
        )
    if pooled:  # one norm, behind the mean; ours has it in the place of the encoder's
        state = {name.replace("fc_norm.", "norm."): tensor for name, tensor in state.items()}
    tensors, report = adapt(state, find_vit(network), source=source)
    print(report, flush=True)
    return {f"vit.{name}": t for name, t in tensors.items()} | {n: t for n, t in state.items() if n.startswith("head.")}


def load_network(
    network: nn.Module,
    path: str | Path,
    class_names: Sequence[str] | None = None,
    normalisation: Mapping[str, Any] | None = None,
    choices: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Load a fine-tuned network (all tensors, equal names and shapes) for evaluation or inference; returns it.

    What its training did not learn (see `data.record`) it never gives.

    Args:
        network: Built with the configuration that it was trained with; may be wrapped for DDP or compiled.
        path: `model.pt` or `model.safetensors`, or a classifier fine-tuned with the code of MAE, MSMAE or SD-MAE.
        class_names: The classes of this run; they must be those that the file's sidecar names, in the same order.
        normalisation: How this run prepares images; it must be as in the sidecar.
        choices: Further settings, by the name that they have in the sidecar, that change the network's output and none
            of its tensors, such as its pooling; they must be as there.

    Raises:
        InputError: If the file cannot be read, a tensor is missing, unexpected or of another shape, or the run's
            classes, image preparation, attention heads or choices are not those of the training. The network is then
            unchanged.
    """
    if not Path(path).is_file():
        raise InputError(
            f"{path}: no trained network found; run train first, or say where it wrote with --model_dir <folder> "
            "(models of the bundle, --bundle_root, otherwise)."
        )
    sidecar, settings = read_sidecar(path) or {}, {"class_names": class_names, "normalisation": normalisation}
    # No tensor's shape depends on the number of heads.
    stored = (sidecar.get("architecture") or {}).get("num_heads")
    heads = {} if stored is None else {"num_heads": architecture(find_vit(network))["num_heads"]}
    different = _differences(path, sidecar, {**settings, **(choices or {})})
    different += _differences(path, {"num_heads": stored}, heads)
    if different:
        raise InputError(f"{path}: {different[0]}; give every stage the settings of the training (the same overlay).")
    inner = unwrap(network)
    state = {name.removeprefix("module.").removeprefix("_orig_mod."): t for name, t in read_state_dict(path).items()}
    if "head.weight" in state and "blocks.0.norm1.weight" in state:
        state = _fine_tuned(inner, state, str(path))
    if found := network_difference(state, inner):
        raise InputError(f"{path}: {found}; use the class_names, sizes and network_def that it was trained with.")
    inner.load_state_dict(state)
    _warn_if_unfinished(path, sidecar, "training")
    record = read_record(path)
    if record is None:
        print(f"weights: note: {path} does not say what it was trained on; images cannot be compared with that.")
    elif record.unlearnt:
        print(f"weights: WARNING: not learnt, so never predicted: {'; '.join(record.sentences())}.", flush=True)
    leave_out(inner, record.channels if record is not None else ())
    return network


def read_record(path: str | Path) -> Record | None:
    """What the training of a network learnt from, out of the sidecar of its weights; None where that does not say it.

    Raises:
        InputError: the sidecar is damaged.
    """
    plain = (read_sidecar(path) or {}).get("training")
    try:
        return None if plain is None else Record.of_plain(plain)
    except (TypeError, KeyError) as error:
        raise InputError(
            f"{sidecar_path(path)}: 'training' is no record of a training ({error}); restore it."
        ) from error

"""`python -m mae_tools doctor`: what this machine has, and what a bundle would need on it."""

import contextlib
import inspect
import io
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import bundle_runtime.data.datalist as datalists
from bundle_runtime.files import aligned
from custom_components.errors import InputError

from ..bundles import every_bundle, find_bundle, overlays, read_overlay, read_tools, refuse_unknown
from ..demo_data import PAINTERS
from .machine import Finding, examine, gpu_free, memory_free
from .measure import server
from .predict import Trial

_MIB, _GIB = 2**20, 2**30
_COARSE = (36, 32, 32)  # voxels of a drawn volume: enough for a network of the demo, and quickly there


def doctor(
    bundle: str | None = None,
    datalist: str | Path | None = None,
    dataset_dir: str | Path | None = None,
    overlay: str | Path | None = None,
    self_test: bool = True,
    seconds: float = 20.0,
    **settings: Any,
) -> None:
    """Say what this machine has, try a small training of each bundle, and estimate what a bundle needs for a datalist.

    Args:
        bundle: name or folder of a bundle (default: all that are here).
        datalist: its datalist: memory and time of each stage are estimated from a few steps at full size.
        dataset_dir: where its relative paths start, if not at its own folder.
        overlay: config file with settings of one's own, for the estimate.
        self_test: draw a few images and take a few steps of each bundle's stages with its small network.
        seconds: of each measurement.
        **settings: further settings for the estimate, e.g. `--micro_batch 4`.

    Raises:
        InputError: a stage does not run here, or needs more memory than is free; all else is said, no error.
    """
    if datalist is not None and bundle is None:
        raise InputError("A datalist was given without a bundle; add --bundle, such as --bundle btcv_unetr_mae.")
    roots = [find_bundle(bundle)] if bundle is not None else every_bundle()
    refuse_unknown(settings, roots)
    own = [] if overlay is None else [Path(overlay)]
    for file in own:
        read_overlay(file, roots[0])
    wrong: list[Finding] = []
    with server() as apart, tempfile.TemporaryDirectory() as scratch:
        _print(examine(Path.cwd()))
        if datalist is not None:
            path = Path(datalist)
            data = (Path(dataset_dir) if dataset_dir is not None else path.parent).resolve()
            content = datalists.parse(path)
            wrong += _estimated(Trial(roots[0], content, data, Path(scratch), lambda _: own, settings, seconds, apart))
        elif self_test:
            for root in roots:
                tried = _self_test(root, Path(scratch) / root.name, apart)
                _print([tried])
                wrong += [tried] * bool(tried.todo)
    if wrong:
        raise InputError("; ".join(f"{finding.what}: {finding.found}: {finding.todo}" for finding in wrong))


def _print(findings: Sequence[Finding]) -> None:
    for what, found, todo in findings:
        print(f"{what:16} {found}" + (f"\n{'':16} -> {todo}" if todo else ""), flush=True)


def _self_test(root: Path, folder: Path, apart: Callable[[str, str], int | None]) -> Finding:
    """A few steps of each stage of a bundle on a drawn set, with the demo's small network."""
    kind, began = read_tools(root), time.monotonic()
    if kind.draw is None:
        return Finding(root.name, "not tried: its configs/tools.yaml names nothing to draw")
    paint = PAINTERS[kind.draw]
    coarse = {"shape": _COARSE} if "shape" in inspect.signature(paint).parameters else {}
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        paint(folder, cases=kind.least, **coarse)
    content = datalists.parse(folder / "datalist.json")
    few = {"num_workers": 0, "batch_size": 4}  # so few are measured once
    trial = Trial(root, content, folder, folder, partial(overlays, root / "configs"), few, 1.0, apart)
    # Not an inference: an evaluation does the same, and twenty seconds are what a bundle may take.
    needs = [trial.need(stage) for stage in trial.stages() if not stage.startswith("inference")]
    failed = "; ".join(need.said for need in needs if need.total is None)
    listed = ", ".join(need.stage for need in needs)
    if failed:
        return Finding(root.name, f"fails: {failed}", "see what it says; `make test` tells more")
    return Finding(root.name, f"works: {listed}, with a small network, in {time.monotonic() - began:.0f} s")


def _estimated(trial: Trial) -> list[Finding]:
    """Print what each stage needs; what cannot be done here comes back."""
    needs = []
    for stage in trial.stages():
        print(f"measuring {stage} ...", flush=True)
        needs.append(trial.need(stage))
    rows = [["stage", "a step", "all of it", "memory", "GPU memory", ""]]
    rows += [
        [need.stage, _span(need.step), _span(need.total), _size(need.memory), _size(need.gpu), need.said]
        for need in needs
        if need.total is not None
    ]
    print(f"\nEstimates, from a few steps on this machine as it is now:\n{aligned(rows)}\n")
    wrong = []
    for need in needs:
        for what, needed, free, todo in (
            ("memory", need.memory, memory_free(), "--cache <folder>, fewer --num_workers or a smaller --micro_batch"),
            ("GPU memory", need.gpu, gpu_free(), "--micro_batch or --activation_checkpointing true"),
        ):
            if needed is not None and free is not None and needed * _MIB > free:
                said = f"needs about {_size(needed)} of {what}, {free / _GIB:.1f} GiB are free"
                wrong.append(Finding(need.stage, said, f"take {todo}"))
        if need.total is None:
            wrong.append(Finding(need.stage, need.said, "see that `check` passes, and what the message says"))
    return wrong


def _size(mib: float | None) -> str:
    return "-" if mib is None else f"{mib / 1024:.1f} GiB"


def _span(seconds: float | None) -> str:
    """Seconds as people say them."""
    if seconds is None:
        return "-"
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.3g} s"

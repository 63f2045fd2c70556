"""What the benchmarks share: interleaved timing, memory of a process of its own, the machine, the table and the JSON.

Two programs are only ever compared inside one run, call by call in turns, so that whatever else the machine does at the
time meets both. The result is a ratio of neighbouring calls; seconds are printed beside it for orientation.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import monai
import torch
from bundle_runtime.files import write_atomically
from custom_components import __version__
from custom_components.training.step import has_bf16

RESULTS = Path(__file__).parent / "results"
RATIO_NOTE = "ratio: median over rounds (quartiles; of the fastest calls), above 1 means that ours is faster or smaller"
MEMORY_NOTE = {
    "cpu": "peak memory: each program alone in a fresh process; highest resident size minus the size after all imports",
    "cuda": "peak memory: torch.cuda.max_memory_allocated of each program alone, model and optimiser included",
}


def parser(description: str | None, repeats: int) -> argparse.ArgumentParser:
    """Command line with the options of every benchmark."""
    result = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    result.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    result.add_argument("--threads", type=int, default=0, help="CPU threads; 0 = as PyTorch finds them")
    result.add_argument("--repeats", type=int, default=repeats, help="timed calls of each program (%(default)s)")
    result.add_argument("--out", type=Path, default=RESULTS, help="folder for <name>_<device>.json (%(default)s)")
    result.add_argument("--name", help="of the result, instead of the script's")
    result.add_argument("--quick", action="store_true", help="toy sizes: does it run? (writes <name>_<device>_quick)")
    return result


def prepare(args: argparse.Namespace) -> torch.device:
    """Set threads and seed, silence third-party warnings, and return the device."""
    warnings.filterwarnings("ignore")
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    return torch.device(args.device)


def machine(device: torch.device) -> dict[str, Any]:
    """Processor, memory and versions; nothing that names the computer or its user."""
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        processor = models[0] if models else processor
    return {
        "processor": processor,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "bf16": has_bf16(device),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "monai": monai.__version__,
        "mae_bundles": __version__,
    }


def seconds(call: Callable[[], object], device: torch.device) -> float:
    """Wall time of one call, until the device has finished."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def interleave(
    calls: Mapping[str, Callable[[], object]], repeats: int, device: torch.device, warmup: int = 1
) -> dict[str, list[float]]:
    """Time several calls in turns: A B C, C B A, A B C, ...

    Turning the order round each time takes out a steady drift of the machine's speed as well.

    Returns:
        Seconds of each call, in the order of the rounds.
    """
    for call in list(calls.values()) * warmup:
        call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(repeats):
        for name in list(calls) if turn % 2 == 0 else list(calls)[::-1]:
            times[name].append(seconds(calls[name], device))
    return times


def ratio(peer: Sequence[float], ours: Sequence[float]) -> dict[str, float]:
    """How many times as long the peer took.

    Returns:
        Over the rounds: median, and lower and upper quartile. "fastest" compares the fastest call of each instead: on a
        machine with other work to do that is the steadier number.
    """
    rounds = [b / a for a, b in zip(ours, peer, strict=True)]
    low, middle, high = statistics.quantiles(rounds, n=4, method="inclusive") if len(rounds) > 1 else rounds * 3
    return {"median": middle, "low": low, "high": high, "fastest": min(peer) / min(ours)}


def peak_memory(run: Callable[[], object], device: torch.device) -> int:
    """Bytes that `run` needs at its peak; on the CPU only meaningful in a process that has done nothing else.

    On Linux the peak is the process's VmHWM, reset before: the `ru_maxrss` of a child process starts at the size of its
    parent.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    status = Path("/proc/self/status")
    if not status.exists():  # macOS counts bytes; the peak so far stands for the present size
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        run()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before

    def field(name: str) -> int:
        line = next(line for line in status.read_text().splitlines() if line.startswith(name))
        return int(line.split()[1]) * 1024

    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is that of the preparations
    before = field("VmRSS:")
    run()
    return field("VmHWM:") - before


def memory_alone(script: str, program: str, *options: str) -> int:
    """Run `script --memory_of <program> <options>` in a fresh process, which prints bytes as its last line."""
    command = [sys.executable, script, "--memory_of", program, *options]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{result.stderr}")
    return int(result.stdout.strip().splitlines()[-1])


def step_parser(description: str | None, repeats: int, settings: Sequence[str]) -> argparse.ArgumentParser:
    """The same, with the options of the benchmarks of one training step."""
    result = parser(description, repeats)
    result.add_argument("--settings", nargs="*", choices=settings, help="default: all")
    result.add_argument("--batch", type=int, default=0, help="images of a step; 0 = the setting's own")
    result.add_argument("--dtype", default="fp32", choices=["fp32", "bf16"], help="bf16: by autocast")
    result.add_argument("--peer_dtype", choices=["fp32", "bf16"], help="MONAI's, where it is to differ")
    result.add_argument("--compile", action="store_true", help="torch.compile for both")
    result.add_argument("--memory_of", help=argparse.SUPPRESS)
    return result


def memory_of_step(
    script: str,
    program: str,
    setting: str,
    make: Callable[[], Callable[[], object]],
    args: argparse.Namespace,
    options: Sequence[str] = (),
) -> int:
    """Bytes at the peak of building one program and running two steps; on the CPU in a process of its own.

    Args:
        script: The benchmark, whose options are those of `step_parser` and `options`.
        program: Which of its programs.
        setting: Name of the setting.
        make: Builds the program and gives its step.
        args: Of the run.
        options: Further ones that it was given.
    """

    def run() -> None:
        step = make()
        step()
        step()

    device = torch.device(args.device)
    if device.type == "cuda" or args.memory_of:
        return peak_memory(run, device)
    given = ["--settings", setting, "--dtype", args.dtype, "--threads", str(args.threads), *options]
    given += ["--quick"] * args.quick + ["--compile"] * args.compile
    given += ["--batch", str(args.batch)] if args.batch else []
    given += ["--peer_dtype", args.peer_dtype] if args.peer_dtype else []
    return memory_alone(script, program, *given)


def step_rows(
    args: argparse.Namespace, settings: Sequence[Any], measure: Callable[[Any], Any], memory: Callable[[Any], int]
) -> list[Any]:
    """A row for each setting that was asked for; in the process of `memory_alone` its bytes are printed instead."""
    chosen = [setting for setting in settings if not args.settings or setting.name in args.settings]
    if args.memory_of:
        print(memory(chosen[0]))
        raise SystemExit
    rows = []
    for setting in chosen:
        print(f"{setting.name} ...", flush=True)
        rows.append(measure(setting))
    return rows


def unetr_state(peer: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights of stock MONAI `UNETR` under the names of ours (without a class token)."""
    names = {"encoder1.": "image_encoder."}
    names |= {f"encoder{2 + i}.": f"skip_encoders.{i}." for i in range(3)}
    names |= {f"decoder{5 - i}.": f"decoders.{i}." for i in range(4)}
    state = {}
    for name, tensor in peer.items():
        if "norm_cross_attn" not in name:  # MONAI registers these and never uses them
            old = next((old for old in names if name.startswith(old)), "")
            state[names.get(old, "") + name[len(old) :]] = tensor
    return state


def mae_state(peer: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights of MONAI `MaskedAutoEncoderViT` under the names of our `MaskedAutoencoder`."""
    # MONAI keeps each final norm as the last element of its blocks.
    final = {
        f"{part}.{max(int(name.split('.')[1]) for name in peer if name.startswith(part + '.'))}.": norm
        for part, norm in (("blocks", "encoder.norm."), ("decoder_blocks", "decoder_norm."))
    }
    renamed = {"mask_tokens": "mask_token", "decoder_pos_embedding": "decoder_position_embeddings"}
    state = {}
    for name, tensor in peer.items():
        if "norm_cross_attn" in name:
            continue
        prefix = next((prefix for prefix in final if name.startswith(prefix)), None)
        if prefix is not None:
            name = final[prefix] + name[len(prefix) :]
        elif name.startswith(("cls_token", "patch_embedding.", "blocks.")):
            name = f"encoder.{name}"
        state[renamed.get(name, name)] = tensor
    return state


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows of text as a Markdown table with aligned columns."""
    lines = [list(columns), *[list(row) for row in rows]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join("| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines)


def spread(value: Mapping[str, float]) -> str:
    """`1.21x (1.18-1.25; 1.20)`: median, quartiles, and ratio of the fastest calls."""
    return f"{value['median']:.2f}x ({value['low']:.2f}-{value['high']:.2f}; {value['fastest']:.2f})"


def megabytes(size: float) -> str:
    """Bytes as text."""
    return f"{size / 1e6:,.0f} MB"


def command(name: str) -> str:
    """The command line, without where things lie here: no absolute path, and nothing of what `--out` and such name."""
    words = ["<yours>" if Path(word).is_absolute() else word for word in sys.argv[1:]]
    for option in ("--out", "--images", "--file", "--name"):
        if option in words:
            place = words.index(option)
            words[place : place + 2] = [] if option in ("--out", "--name") else [option, "<yours>"]
    return " ".join(["python", f"benchmarks/{name}.py", *words])


def finish(
    name: str, args: argparse.Namespace, rows: Sequence[Mapping[str, Any]], text: str, notes: Sequence[str]
) -> Path:
    """Print the table with its notes and write everything to `<out>/<name>_<device>.json`."""
    device = torch.device(args.device)
    options = {key: value for key, value in vars(args).items() if key not in ("out", "memory_of", "name")}
    content = {"benchmark": name, "command": command(name), "machine": machine(device), "options": options}
    content |= {"notes": notes, "rows": rows}
    name = getattr(args, "name", None) or name
    path = args.out / f"{name}_{device.type}{'_quick' if args.quick else ''}.json"
    write_atomically(path, json.dumps(content, indent=2) + "\n")
    print(f"\n{text}\n")
    print("\n".join(f"- {note}" for note in notes))
    print(f"\nWritten to {path}")
    return path

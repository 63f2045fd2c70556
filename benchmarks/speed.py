"""The table of docs/results.md on speed, from the JSONs that the other benchmarks wrote.

`python -m benchmarks.speed` prints it, `--write` renews it in the document. A row is a comparison: the work, what it is
beside, how many times as long (or as much memory) that takes, and the command.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "results"
DOCUMENT = Path(__file__).parents[1] / "docs" / "results.md"
MARKS = "<!-- speed: made by python -m benchmarks.speed --write -->", "<!-- end of speed -->"
STEPS = {"pretrain_step": "pre-training step", "finetune_step": "fine-tuning step"}


def spread(value: dict[str, float]) -> str:
    """Median and quartiles of a ratio."""
    return f"{value['median']:.2f}x ({value['low']:.2f} to {value['high']:.2f})"


def steps(content: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Of a training step."""
    options = content["options"]
    peer = f"MONAI, {options.get('peer_dtype') or options['dtype']}"
    how = f"{options['dtype']}{', compiled' if options['compile'] else ''}"
    for row in content["rows"]:
        value = row["time_ratio"]
        work = f"{STEPS[content['benchmark']]}, {row['setting']}, {how}"
        yield work, peer, spread(value.get("ours", value))
        memory = row["memory_ratio"]
        yield f"{work}: memory", peer, f"{memory['ours'] if isinstance(memory, dict) else memory:.2f}x"
        if row.get("product_share"):
            yield work, "the machine's own matrix product", f"{row['product_share']:.0%} of its rate"


def inference(content: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Of a CT."""
    size = " x ".join(map(str, content["options"]["size"]))
    how = "bf16" if content["machine"].get("bf16") else "fp32"
    for row in content["rows"]:
        if "time_ratio" in row:
            yield f"CT of {size}, {row['part']}, {how}", "stock MONAI, fp32", spread(row["time_ratio"])
    memory = content["rows"][-1]["peak_memory_bytes"]
    each = content["rows"][-1]["bytes_a_voxel_of_the_file"]["ours"]
    peer = "stock MONAI, fp32" if "stock" in memory else "nothing"
    times = f"{memory['stock'] / memory['ours']:.2f}x " if "stock" in memory else ""
    told = f"{times}({memory['ours'] / 1e9:.2f} GB; {each:.1f} bytes a voxel)"
    yield f"CT of {size}, {' and '.join(content['options']['parts'])}, {how}: memory", peer, told


def slides(content: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Of a slide."""
    for row in content["rows"]:
        yield f"slide, {row['tiles']} tiles, {row['work']}", "MONAI SlidingPatchWSIDataset", spread(row["time_ratio"])
    quarter, whole = content["rows"][0]["peak_memory_bytes"]["ours"]
    yield "slide: memory of all tiles", "a quarter of the tiles", f"{whole / quarter:.2f}x ({whole / 1e6:.0f} MB)"


def first_start(content: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Of a training that finds no cache."""
    for row in content["rows"]:
        yield (
            f"first start, {row['bundle']}, {row['images']} images",
            "building the cache alone",
            f"{row['seconds_more_at_the_first_start'] / row['seconds_alone']:.2f} of its time",
        )


def loader(content: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Of crops."""
    for row in content["rows"]:
        for name, value in row["time_ratio"].items():
            peer = {"ours, RAM": "MONAI CacheDataset", "ours, folder": "MONAI PersistentDataset"}[name]
            yield f"crops, {name}, {row['num_workers']} workers", peer, spread(value)
            share = row["crops_per_second"][name] / row["step_crops_per_second"]
            yield f"crops, {name}, {row['num_workers']} workers", "what a pre-training step takes", f"{share:.1f}x"


def images(content: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Of pictures."""
    for row in content["rows"]:
        if row["measurement"] == "read":
            yield f"picture crops, {row['num_workers']} workers", "MONAI Dataset", spread(row["time_ratio"])
        if row["measurement"] == "train":
            told = f"waits {row['share_of_waiting']:.1%} of the time"
            yield f"pre-training with the loader, {row['num_workers']} workers", "the same step without loading", told


def forms(content: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Of a network in another form."""
    for row in content["rows"]:
        yield f"forward pass, {row['network']}, {row['form']}", "the network as it is", spread(row["time_ratio"])


def exported(content: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Of a network in a format for serving."""
    for row in content["rows"]:
        if row["program"] != "PyTorch":
            work = f"forward pass, {content['options']['bundle']}, {row['program']}, batch {row['batch']}"
            yield work, "PyTorch", spread(row["ratio"])


KINDS = {
    "exported": exported,
    "forms": forms,
    "inference": inference,
    "slides": slides,
    "first_start": first_start,
    "loader": loader,
    "images": images,
}
KINDS |= dict.fromkeys(STEPS, steps)


def table(folder: Path = FOLDER) -> str:
    """All comparisons as a Markdown table, and on which machine."""
    lines, machines = [], []
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.get("benchmark") in KINDS and "command" in content and not content["options"]["quick"]:
            told = content["machine"]
            place = f"{told['gpu'] or told['processor']}{' with bf16' if told.get('bf16') else ''}"
            machines.append(f"{place}, {told['threads']} threads, PyTorch {told['torch']}")
            for row in KINDS[content["benchmark"]](content):
                lines.append("| " + " | ".join([*row, f"`{content['command']}`"]) + " |")
    head = ["| work | beside | ratio (quartiles) | command |", "| --- | --- | --- | --- |"]
    where = "; ".join(sorted(set(machines)))
    return "\n".join([f"Measured on: {where}. Above 1: ours is faster or smaller.", "", *head, *lines])


def main() -> None:
    """Print the table; with `--write`, renew it in the document."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--write", action="store_true", help="renew the table in docs/results.md")
    made = table()
    print(made)
    if options.parse_args().write:
        text = DOCUMENT.read_text(encoding="utf-8")
        before, after = text.split(MARKS[0])[0], text.split(MARKS[1])[1]
        DOCUMENT.write_text(f"{before}{MARKS[0]}\n{made}\n{MARKS[1]}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()

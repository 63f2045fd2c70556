"""The table of speeds says what the JSONs say."""

import json
from pathlib import Path
from typing import Any

from benchmarks.speed import DOCUMENT, MARKS, table

RATIO = {"median": 1.5, "low": 1.25, "high": 2.0, "fastest": 1.4}
MACHINE = {"gpu": None, "processor": "a processor", "threads": 1, "torch": "2.13.0"}


def write(folder: Path, benchmark: str, rows: list[dict[str, Any]], name: str = "", **options: object) -> None:
    content = {
        "benchmark": benchmark, "command": f"python benchmarks/{benchmark}.py", "machine": MACHINE,
        "options": {"quick": False, **options}, "rows": rows,
    }  # fmt: skip
    (folder / f"{benchmark}{name}_cpu.json").write_text(json.dumps(content))


def test_a_row_for_each_comparison(tmp_path: Path) -> None:
    step = {"setting": "2d_0.75", "time_ratio": {"ours": RATIO}, "memory_ratio": {"ours": 1.1}, "product_share": 0.8}
    write(tmp_path, "pretrain_step", [step], dtype="bf16", peer_dtype="fp32", compile=False)
    tuned = {"setting": "vit_224", "time_ratio": RATIO, "memory_ratio": 1.2}
    write(tmp_path, "finetune_step", [tuned], dtype="fp32", peer_dtype=None, compile=True)
    memory = {"peak_memory_bytes": {"ours": 2e9, "stock": 6e9}, "bytes_a_voxel_of_the_file": {"ours": 8.0}}
    write(tmp_path, "inference", [{"part": "back", "time_ratio": RATIO, **memory}], size=[8, 8, 4], parts=["back"])
    alone = {"peak_memory_bytes": {"ours": 3e9}, "bytes_a_voxel_of_the_file": {"ours": 12.0}}
    write(tmp_path, "inference", [{"part": "back", **alone}], "memory", size=[8, 8, 9], parts=["back"])
    both = {"ours": [1e6, 2e6], "monai": [1e6, 1e6]}
    write(tmp_path, "slides", [{"tiles": 9, "work": "read", "time_ratio": RATIO, "peak_memory_bytes": both}])
    start = {"bundle": "cxr14_mae", "images": 5, "seconds_more_at_the_first_start": 11.0, "seconds_alone": 10.0}
    write(tmp_path, "first_start", [start])
    crops = {"num_workers": 0, "time_ratio": {"ours, RAM": RATIO}, "crops_per_second": {"ours, RAM": 50.0}}
    write(tmp_path, "loader", [{**crops, "step_crops_per_second": 5.0}])
    write(tmp_path, "forms", [{"network": "unetr_96", "form": "compile", "time_ratio": RATIO}])
    read = {"measurement": "read", "num_workers": 0, "time_ratio": RATIO}
    write(tmp_path, "images", [read, {"measurement": "train", "num_workers": 0, "share_of_waiting": 0.031}])
    write(tmp_path, "memory", [])  # of another table
    text = table(tmp_path)
    for said in (
        "a processor, 1 threads, PyTorch 2.13.0",
        "| pre-training step, 2d_0.75, bf16 | MONAI, fp32 | 1.50x (1.25 to 2.00) | `python benchmarks/pretrain",
        "| pre-training step, 2d_0.75, bf16 | the machine's own matrix product | 80% of its rate |",
        "| fine-tuning step, vit_224, fp32, compiled: memory | MONAI, fp32 | 1.20x |",
        "| CT of 8 x 8 x 4, back, fp32: memory | stock MONAI, fp32 | 3.00x (2.00 GB; 8.0 bytes a voxel) |",
        "| CT of 8 x 8 x 9, back, fp32: memory | nothing | (3.00 GB; 12.0 bytes a voxel) |",
        "| slide: memory of all tiles | a quarter of the tiles | 2.00x (2 MB) |",
        "| first start, cxr14_mae, 5 images | building the cache alone | 1.10 of its time |",
        "| crops, ours, RAM, 0 workers | what a pre-training step takes | 10.0x |",
        "| forward pass, unetr_96, compile | the network as it is | 1.50x (1.25 to 2.00) |",
        "| pre-training with the loader, 0 workers | the same step without loading | waits 3.1% of the time |",
    ):
        assert said in text
    assert "benchmarks/memory.py" not in text


def test_toy_runs_do_not_count(tmp_path: Path) -> None:
    write(tmp_path, "first_start", [], quick=True)
    assert "first_start" not in table(tmp_path)


def test_the_table_in_the_document_is_that_of_the_results() -> None:
    inside = DOCUMENT.read_text(encoding="utf-8").split(MARKS[0])[1].split(MARKS[1])[0]
    assert inside.strip() == table().strip()

"""The collapse benchmark at toy sizes, and (slow) what it is about: our teacher speaks, the released one does not."""

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def collapse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Run the script with some options and return the JSON that it wrote, with the table as "table"."""
    monkeypatch.syspath_prepend(str(FOLDER))
    threads = torch.get_num_threads()

    def run(*options: str) -> dict[str, Any]:
        out = tmp_path / "out"
        monkeypatch.setattr(sys, "argv", ["collapse", "--threads", "1", "--out", str(out), *options])
        runpy.run_path(str(FOLDER / "collapse.py"), run_name="__main__")
        (file,) = out.glob("*.json")
        return {**json.loads(file.read_text()), "table": file.with_suffix(".md").read_text()}

    yield run
    torch.set_num_threads(threads)


def test_all_forms_run_and_are_in_the_table(collapse: Callable[..., dict[str, Any]]) -> None:
    content = collapse("--quick", "--batch_size", "8", "--hidden_size", "16", "--num_layers", "1", "--window", "2")
    rows = {row["form"]: row["history"][-1] for row in content["rows"]}
    assert list(rows) == ["released", "detached", "detached, logits", "detached, logits, patch", "MAE"]
    assert all(0 <= row["accuracy"] <= 1 and row["reconstruction"] > 0 for row in rows.values())
    assert "information" not in rows["MAE"]
    assert all(rows[form]["information"] >= 0 for form in list(rows)[:4])
    assert len(content["table"].splitlines()) > 7


def test_tiles_of_a_datalist(collapse: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    content: dict[str, Any] = {
        "class_names": ["dark", "bright"],
        "task": "multi_class",
        "training": [],
        "validation": [],
    }
    for section, count in (("training", 8), ("validation", 4)):
        for number in range(count):
            pixels = rng.integers(0, 128, (50, 50, 3)) + 127 * (number % 2)
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"{section}{number}.png")
            item = {"image": f"{section}{number}.png", "label": number % 2, "patient_id": f"{section}{number}"}
            content[section].append(item)
    (tmp_path / "datalist.json").write_text(json.dumps(content))
    options = ["--quick", "--batch_size", "4", "--steps", "4", "--window", "2", "--hidden_size", "16", "--forms", "MAE"]
    found = collapse(*options, "--datalist", str(tmp_path / "datalist.json"))
    assert found["rows"][0]["history"][-1]["step"] == 4
    assert str(tmp_path) not in json.dumps(found["options"]["datalist"])


@pytest.mark.slow
def test_the_released_teacher_is_constant_and_ours_is_not(collapse: Callable[..., dict[str, Any]]) -> None:
    """Mutual information above 0.1 on eight textures; the released form fails this."""
    options = ["--seeds", "1", "--forms", "released", "detached, logits"]
    last = {row["form"]: row["history"][-1] for row in collapse(*options)["rows"]}
    assert last["detached, logits"]["information"] > 0.1
    assert last["detached, logits"]["prototypes"] > 4
    assert last["released"]["information"] < 0.01
    assert last["released"]["prototypes"] == 1

"""No image is opened twice at the first start of a training or an inference, counted in whole runs."""

import shutil
from collections import Counter
from pathlib import Path

import pytest
from bundle_runtime.data.datalist import items

from .conftest import Runner

HOOK = """
import os, sys

log = os.open({log!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def note(event, arguments):
    if event == "open" and str(arguments[0]).startswith({folder!r}):
        os.write(log, f"{{arguments[0]}}\\n".encode())

sys.addaudithook(note)
"""


def counted(log: Path, folder: Path, run: Runner, stage: str, out: Path, **settings: object) -> Counter[str]:
    """How often a run opens each image and label below a folder."""
    log.write_text("")
    run.run(stage, out, first=HOOK.format(log=str(log), folder=str(folder)), **settings)
    return Counter(file for file in log.read_text().splitlines() if not file.endswith(".json"))


def files(run: Runner, *sections: str, label: bool) -> set[str]:
    """The files that a datalist names."""
    found = set()
    for section in sections:
        for item in items(run.data / "datalist.json", section, need_label=label):
            found |= set(item["image"] if isinstance(item["image"], list) else [item["image"]])
            found |= {item["label"]} if label else set()
    return found


@pytest.mark.parametrize("name", ["cxr", "btcv", pytest.param("brats", marks=pytest.mark.slow)])
def test_each_file_is_opened_once(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    run: Runner = request.getfixturevalue(name)
    cache = {"cache": tmp_path / "cache"} if name == "cxr" else {}
    opened = counted(tmp_path / "opens.txt", run.data, run, "train", tmp_path, init="scratch", max_epochs=2, **cache)
    assert opened == Counter(files(run, "training", "validation", label=name != "cxr"))
    if name == "cxr":  # what is in the cache is not opened at all
        again = {"init": "scratch", "max_epochs": 1, "overwrite": True, **cache}
        assert not counted(tmp_path / "opens.txt", run.data, run, "train", tmp_path, **again)
    new = tmp_path / "new"
    new.mkdir()
    for file in files(run, "test", label=False):
        shutil.copy(file, new)
    opened = counted(tmp_path / "opens.txt", new, run, "inference", tmp_path, dataset_dir=new)
    assert opened == Counter(str(file) for file in new.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cxr", "btcv", "brats"])
def test_so_is_it_in_pretraining(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    run: Runner = request.getfixturevalue(name)
    cache = {"cache": tmp_path / "cache"} if name == "cxr" else {}
    opened = counted(tmp_path / "opens.txt", run.data, run, "pretrain", tmp_path, max_epochs=1, **cache)
    assert set(opened.values()) == {1}
    assert set(opened) >= files(run, "training", "validation", label=False)

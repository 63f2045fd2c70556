"""No image is opened twice at the first start of a training or an inference, counted in whole runs."""

import os
import shutil
from collections import Counter
from pathlib import Path

import pytest

from bundle_runtime.data.datalist import items

from .conftest import Runner

HOOK = """
import os, sys

log = os.open(os.environ["OPENS_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def note(event, arguments):
    if event == "open" and str(arguments[0]).startswith(os.environ["OPENS_OF"]):
        os.write(log, f"{arguments[0]}\\n".encode())

sys.addaudithook(note)
"""


@pytest.fixture
def hooked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every process that is started from now on notes which files it opens; returns where."""
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(HOOK)
    root = Path(__file__).resolve().parents[2]
    paths = [str(tmp_path / "hook"), str(root), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths).rstrip(os.pathsep))
    monkeypatch.setenv("OPENS_LOG", str(tmp_path / "opens.txt"))
    return tmp_path / "opens.txt"


def counted(log: Path, folder: Path, run: Runner, stage: str, out: Path, **settings: object) -> Counter[str]:
    """How often a run opens each image and label below a folder."""
    log.write_text("")
    os.environ["OPENS_OF"] = str(folder)
    run.run(stage, out, **settings)
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
def test_each_file_is_opened_once(name: str, hooked: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    run: Runner = request.getfixturevalue(name)
    cache = {"cache": tmp_path / "cache"} if name == "cxr" else {}
    opened = counted(hooked, run.data, run, "train", tmp_path, init="scratch", max_epochs=2, **cache)
    assert opened == Counter(files(run, "training", "validation", label=name != "cxr"))
    if name == "cxr":  # what is in the cache is not opened at all
        assert not counted(hooked, run.data, run, "train", tmp_path, init="scratch", overwrite=True, **cache)
    new = tmp_path / "new"
    new.mkdir()
    for file in files(run, "test", label=False):
        shutil.copy(file, new)
    opened = counted(hooked, new, run, "inference", tmp_path, dataset_dir=new)
    assert opened == Counter(str(file) for file in new.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cxr", "btcv", "brats"])
def test_so_is_it_in_pretraining(name: str, hooked: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    run: Runner = request.getfixturevalue(name)
    cache = {"cache": tmp_path / "cache"} if name == "cxr" else {}
    opened = counted(hooked, run.data, run, "pretrain", tmp_path, max_epochs=1, **cache)
    assert set(opened.values()) == {1}
    assert set(opened) >= files(run, "training", "validation", label=False)

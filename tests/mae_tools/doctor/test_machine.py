"""What is said of a machine is true of it, and what is amiss comes with what to do."""

import shutil
import sys
from collections import namedtuple
from pathlib import Path

import pytest
import torch
from custom_components.training.step import has_bf16
from mae_tools.doctor import machine

Usage = namedtuple("Usage", "total used free")


def said(findings: list[machine.Finding]) -> dict[str, machine.Finding]:
    return {finding.what: finding for finding in findings}


def test_this_machine(tmp_path: Path) -> None:
    found = said(machine.examine(tmp_path))
    assert found["Python"].found.startswith(sys.version.split()[0])
    assert f"{shutil.disk_usage(tmp_path).free / 1e9:.0f} GB"[:2] in found["disk"].found
    assert ("not multiplied" in found["bf16"].found) != has_bf16("cuda" if torch.cuda.is_available() else "cpu")
    assert {"NIfTI", "NRRD, MetaImage", "SEG", "slides", "DICOM", "pictures", "GPU", "packages"} <= set(found)
    free = machine.memory_free()
    assert free is None or 0 < free < 1e14


def test_what_is_missing_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "openslide", None)
    monkeypatch.setattr(machine, "_version", lambda name: None if name == "fire" else machine.metadata.version(name))
    found = said(machine.examine(tmp_path))
    assert found["slides"].todo == "pip install openslide-python openslide-bin"
    assert "fire missing" in found["packages"].found
    assert found["packages"].todo == "pip install -r requirements.txt"


def test_little_disk_and_shared_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: Usage(64e6, 0, 5e9))
    monkeypatch.setattr(machine.os.path, "isdir", lambda _: True)
    found = said(machine.examine(tmp_path))
    assert "--ipc=host" in found["shared memory"].todo
    assert "--output_dir" in found["disk"].todo
    monkeypatch.setattr(machine.os, "access", lambda *_: False)
    assert "cannot be written" in said(machine.examine(tmp_path))["disk"].todo


def test_a_container_has_what_its_limit_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {"/proc/meminfo": "MemTotal: 9000 kB\nMemAvailable: 8000 kB\n", "/sys/fs/cgroup/memory.max": "3000000\n",
             "/sys/fs/cgroup/memory.current": "1000000"}  # fmt: skip
    monkeypatch.setattr(Path, "read_text", lambda self, encoding: texts[str(self)])
    assert machine.memory_free() == 2_000_000
    texts["/sys/fs/cgroup/memory.max"] = "max\n"
    assert machine.memory_free() == 8000 * 1024

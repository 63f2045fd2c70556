import csv
import io
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from bundle_runtime.files import (
    aligned,
    csv_text,
    file_name,
    json_ready,
    short_name,
    temporary_folder,
    write_atomically,
    write_csv,
    write_json,
)
from hypothesis import given, settings
from hypothesis import strategies as st


def test_writes_text_and_bytes_and_makes_folders(tmp_path):
    path = tmp_path / "new" / "a.txt"
    assert write_atomically(path, "größe\n") == path
    assert path.read_bytes() == "größe\n".encode()
    write_atomically(path, b"\x00\x01")
    assert path.read_bytes() == b"\x00\x01"
    assert [entry.name for entry in path.parent.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, step):
    path = write_atomically(tmp_path / "a.txt", "old")

    def no_space(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, step, no_space)
        with pytest.raises(OSError, match="No space left"):
            write_atomically(path, "new")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("end", ["pass", "raise ValueError"])
def test_a_temporary_folder_ends_with_its_process(tmp_path, end):
    code = (
        "import os\nfrom bundle_runtime.files import temporary_folder\n"
        f"folder = temporary_folder({str(tmp_path / 'new')!r}, '.cache-')\n"
        "open(os.path.join(folder, 'block'), 'w').close()\n"
        "if os.fork() == 0:\n    raise SystemExit\nos.wait()\nprint(os.path.exists(folder), folder)\n" + end
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    alive, folder = done.stdout.split(maxsplit=1)  # a forked worker that ended has left it alone
    assert alive == "True"
    assert folder.startswith(str(tmp_path / "new" / ".cache-"))
    assert done.returncode == (end != "pass")
    assert list((tmp_path / "new").iterdir()) == []


def test_temporary_folders_are_different(tmp_path):
    assert temporary_folder(tmp_path) != temporary_folder(tmp_path)


def test_names_of_any_script_stay_apart():
    names = ["Läsion", "Lösion", "患者一", "患者二", "снимок", "s1/a b", "Bild #3 (neu)"]
    called = [file_name(name) for name in names]
    assert called == ["Läsion", "Lösion", "患者一", "患者二", "снимок", "s1_a_b", "Bild_3_neu_"]


LONGEST = 223  # bytes of a name of a case


@given(st.text(min_size=1, max_size=300), st.text(min_size=1, max_size=300))
def test_a_name_is_shortened_where_no_file_could_have_it_and_stays_its_own(one, other):
    for name in (one, other * 4):
        short = short_name(name)
        assert len(short.encode()) <= LONGEST
        assert short == name or len(name.encode()) > LONGEST
        assert short_name(short) == short
        assert short[:20] == name[:20]
    assert (short_name(one) == short_name(other)) == (one == other)
    assert short_name("n" * 300 + one) != short_name("n" * 300 + other) or one == other


def test_a_short_name_is_the_same_everywhere():
    """Also tomorrow: an interrupted run finds what it wrote."""
    assert short_name("a" * LONGEST) == "a" * LONGEST
    assert short_name("ä" * 150) == "ä" * 105 + "-a9f41bcd127a"
    assert len(short_name(os.fsdecode(b"\xff" * 300)).encode()) == 13  # of no text only the hash is left


def test_the_longest_name_of_a_file_can_be_written(tmp_path):
    path = write_atomically(tmp_path / ("x" * 255), "text")
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_names_that_are_no_utf8_are_written(tmp_path):
    name = os.fsdecode(b"M\xfcller.nii")
    path = write_json(tmp_path / "a.json", {"file": name, "class": "ü"}, ensure_ascii=False)
    assert json.loads(path.read_text(encoding="utf-8")) == {"file": name, "class": "ü"}
    assert write_csv(tmp_path / "a.csv", ["file"], [[name]]).read_text(encoding="utf-8") == "file\nM\\udcfcller.nii\n"


def test_json_knows_no_nan_and_no_objects(tmp_path):
    value = {"a": (1, True, None, 0.5), 3: [math.nan, -math.inf], "path": Path("/x/ü"), "device": torch.device("cpu")}
    ready = json_ready(value)
    assert ready == {"a": [1, True, None, 0.5], "3": [None, None], "path": "/x/ü", "device": "cpu"}
    path = write_json(tmp_path / "a.json", value)
    assert json.loads(path.read_text()) == ready
    assert path.read_text().endswith('"path": "/x/\\u00fc",\n  "device": "cpu"\n}\n')
    write_json(path, value, lambda text: str(text).upper(), ensure_ascii=False)
    assert json.loads(path.read_text())["path"] == "/X/Ü"
    assert "Ü" in path.read_text()


finite = st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.text("abc,\"' ü\n", max_size=5), finite, st.integers()), max_size=4))
def test_what_a_csv_holds_is_read_back(rows):
    text = csv_text(["name", "value, exact", "number"], rows)
    read = [(name, float(value), int(number)) for name, value, number in list(csv.reader(io.StringIO(text)))[1:]]
    assert read == rows
    named = [dict(zip(["number", "name", "value, exact"], (c, a, b), strict=True)) for a, b, c in rows]
    assert csv_text(["name", "value, exact", "number"], named) == text


def test_what_is_not_there_is_an_empty_cell(tmp_path):
    path = write_csv(tmp_path / "a.csv", ["a", "b", "c"], [[None, math.nan, 0.1], {"b": "", "c": 2, "d": 3}])
    assert path.read_text() == "a,b,c\n,,0.1\n,,2\n"
    assert csv_text(["a", "b"], [{"b": 1}], header=False) == ",1\n"


def test_columns_of_a_text_table_are_aligned():
    lines = [("class", "Dice", "n"), ("liver", "0.9", "12"), ("all", "0.85")]
    assert aligned(lines) == "class  Dice  n\n" + "-" * 15 + "\nliver  0.9   12\nall    0.85"
    assert aligned(lines, rule=False) == "class  Dice  n\nliver  0.9   12\nall    0.85"

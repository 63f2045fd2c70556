"""What the documents name exists, their commands are those that there are, and the tutorial runs word by word."""

import inspect
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import scripts
from mae_tools.__main__ import COMMANDS, resolve
from mae_tools.bundles import load
from mae_tools.closure import ROOT
from mae_tools.sources import SOURCES
from pacs_export import draw_export
from page_reader import Reader
from shell_blocks import calls, shell_blocks

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("bundles/*/docs/README.md")])
# What MONAI's command takes beside the keys of a config.
_MONAI = {"config_file", "tracking", "tracking_uri", "experiment_name"}
_PATH = re.compile(r"`((?:custom_components|bundle_runtime|mae_tools|tests|benchmarks|docs|bundles)/[\w./<>*-]+)`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_paths_exist(page: Path) -> None:
    named = _PATH.findall(page.read_text(encoding="utf-8"))
    lost = [path for path in named if "<" not in path and not list(ROOT.glob(path.rstrip("/")))]
    assert not lost


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    assert not [t for t in targets if not t.startswith(("http:", "https:")) and not (page.parent / t).exists()]


@pytest.mark.parametrize("card", sorted(ROOT.glob("bundles/*/docs/README.md")), ids=lambda card: card.parts[-3])
def test_links_of_a_card_lead_somewhere_in_its_package(card: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)", card.read_text(encoding="utf-8"))
    bundle = card.parents[1]
    local = [target for target in targets if not target.startswith(("http:", "https:"))]
    assert not [target for target in local if bundle not in (card.parent / target).resolve().parents]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"-m mae_tools ([a-z]\w*)", text))
    assert named <= set(COMMANDS)
    assert set(re.findall(r"-m mae_tools datalist ([a-z]\w*)", text)) <= set(SOURCES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_tests_exist(page: Path) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page.read_text(encoding="utf-8"))
    assert [test for file, test in named if f"def {test}(" not in (ROOT / file).read_text(encoding="utf-8")] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_flags_of_commands_exist(page: Path) -> None:
    wrong = []
    for command, *words in calls(page.read_text(encoding="utf-8"), "python -m mae_tools"):
        found: Any = resolve(command)
        while isinstance(found, Mapping) and words and words[0] in found:
            found = found[words.pop(0)]
        if isinstance(found, Mapping):  # `datalist --help`
            continue
        parameters = inspect.signature(found).parameters
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
            flags = [_flag(word) for word in words if word.startswith("--")]
            wrong += [f"{command} --{flag}" for flag in flags if flag not in {*parameters, "help"}]
    assert not wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_settings_of_stages_exist(page: Path) -> None:
    wrong = []
    for words in calls(page.read_text(encoding="utf-8"), "-m monai.bundle run"):
        if "..." in words:
            continue
        files = re.findall(r"[\w$./<>-]+\.yaml", words[words.index("--config_file") + 1])
        if any("$" in file or "<" in file for file in files):  # any bundle or stage
            continue
        first = next((place / files[0] for place in (ROOT, page.parents[1]) if (place / files[0]).is_file()), None)
        if first is None:
            wrong += [files[0]] * files[0].startswith("bundles/")  # else a bundle of one's own
            continue
        known = {*load(first), *_MONAI}
        named = {re.split("#|::", _flag(word))[0] for word in words if word.startswith("--")}
        wrong += [f"{files[0]} --{name}" for name in sorted(named - known)]
        overlays = [file for file in files[1:] if "mine" not in file]
        wrong += [file for file in overlays if not any((place / file).is_file() for place in (ROOT, page.parents[1]))]
    assert not wrong


def _flag(word: str) -> str:
    return word.removeprefix("--").partition("=")[0]


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    return scripts.load(ROOT / "docs" / "reference" / "write.py")


def test_the_reference_is_what_the_configs_say(reference: ModuleType) -> None:
    assert len(reference.BUNDLES) >= 5
    old = [b.name for b in reference.BUNDLES if reference.target(b).read_text(encoding="utf-8") != reference.page(b)]
    assert not old, "run `python docs/reference/write.py`"


def test_every_setting_has_a_comment(reference: ModuleType) -> None:
    stages = [path for path in ROOT.glob("bundles/*/configs/*.yaml") if "\nstage:" in path.read_text(encoding="utf-8")]
    assert len(stages) >= 30
    silent = []
    for path in stages:
        found = list(reference.settings(path))
        assert [setting.key for setting in found] == list(load(path))
        assert {setting.plumbing for setting in found} == {False, True}
        silent += [f"{path.relative_to(ROOT)} {s.key}" for s in found if not s.plumbing and not s.comment]
    assert not silent


def test_values_and_comments_are_parted(reference: ModuleType) -> None:
    assert reference.parted(' "a # b"  # what it is') == ('"a # b"', "what it is")
    assert reference.parted("        # on lines of its own") == ("", "on lines of its own")
    assert reference.parted(" [1, 2]") == ("[1, 2]", "")


def test_a_transcript_holds_each_command_with_its_seconds() -> None:
    made = scripts.load(ROOT / "docs" / "transcript.py")
    text = (
        "+ [0 s] cat\n+ [1 s] python -m a --b '['\\''c'\\'']' d\n 10%|x\ne/f: g\n++ [4 s] local x=1\n+ [5 s] : done\n"
    )
    (command,) = made.commands(text)
    assert command == ("""python -m a --b "['c']" d""", 3, ["e/f: g"])
    assert "$ python -m a" in made.page(text.replace("e/f", "/e/f"), "/e", "quiet")


def test_the_transcript_is_of_the_present_tutorial() -> None:
    tutorial, transcript = (
        (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8") for name in ("tutorial", "transcript")
    )
    ran = [line.split()[4:] for line in transcript.splitlines() if line.startswith("$ python -m mae_tools ")]
    asked = [" ".join(words) for words in calls(tutorial, "python -m mae_tools")]
    assert sorted(" ".join(shlex.split(" ".join(words))) for words in ran) == sorted(asked)
    stages = re.findall(r"^run (\w+)", tutorial, re.MULTILINE)
    assert re.findall(r"^\$ python -m monai.bundle run .*?configs/(\w+)\.yaml", transcript, re.MULTILINE) == stages


@pytest.mark.slow
def test_the_tutorial_runs_word_by_word(tmp_path: Path) -> None:
    """In a folder that holds the bundles and the export, as a user would; some minutes."""
    draw_export(tmp_path / "export", 8, tmp_path / "drawn")
    shutil.copytree(ROOT / "bundles", tmp_path / "bundles", ignore=shutil.ignore_patterns("models", "eval", "cache"))
    script = "\n".join(
        [
            "PS4='+ [$SECONDS s] '",  # not by the environment, from which bash takes none for root
            "set -euxo pipefail",
            *shell_blocks((ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")),
            ": done",  # when the last command ended
        ]
    )
    python = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": python, "OMP_NUM_THREADS": "1"}
    transcript = tmp_path / "transcript.txt"  # with the seconds at which each command began; see docs/transcript.py
    with transcript.open("w") as stream:
        code = subprocess.run(
            ["bash", "-c", script], cwd=tmp_path, env=environment, stdout=stream, stderr=stream, check=False
        ).returncode
    said = transcript.read_text(encoding="utf-8")
    assert code == 0, said[-8000:]
    page = Reader(tmp_path / "bundles" / "btcv_unetr_mae" / "eval" / "evaluate" / "report.html")
    assert page.self_contained
    assert "liver" in page.words
    assert len(list((tmp_path / "results").glob("*_seg.dcm"))) == 8
    assert "mean of organ means" in said

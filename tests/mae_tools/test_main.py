import inspect
import json
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import launch
import pytest
from custom_components.errors import InputError
from fire import docstrings
from mae_tools.__main__ import COMMANDS, available, read_argument, refuse_stray_words, refuse_unknown_flags, resolve
from mae_tools.demo_data import make_abdomen


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return launch.run("mae_tools", *arguments)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    make_abdomen(folder, cases=3, shape=(48, 40, 36))
    return folder


def test_datalist_and_check(drawn: Path, tmp_path: Path) -> None:
    names = "['background','liver','spleen','right kidney','left kidney','aorta']"
    made = tmp_path / "list.json"
    result = run("datalist", "folder", str(drawn), "--out", str(made), "--class_names", names)
    assert result.returncode == 0, result.stderr
    assert len(json.loads(made.read_text())["training"]) == 1
    result = run("check", str(made), "--dataset_dir", str(drawn), "--out", str(tmp_path / "check"))
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "check" / "check.html").exists()
    # Fire prints whatever a command returns; these have already printed what a reader wants.
    assert "{" not in result.stdout


def test_an_error_is_one_sentence(tmp_path: Path) -> None:
    result = run("check", str(tmp_path / "none.json"))
    assert result.returncode == 1
    assert result.stderr.startswith("Error: ")
    assert "none.json" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("word", ["true", "false"])
def test_switches_given_as_words(tmp_path: Path, word: str) -> None:
    """`--parity false` reaches a command as text and by position, and Python takes the text for true."""
    for name in ("a/1.png", "a/2.png", "a/3.png", "b/1.png", "b/2.png", "b/3.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    result = run("datalist", "class_folder", str(tmp_path), "--parity", word)
    assert result.returncode == 0, result.stderr
    assert ("parity" in json.loads((tmp_path / "datalist.json").read_text())) == (word == "true")


@pytest.mark.parametrize(
    ("annotation", "text", "read"),
    [
        (str | Path, "2017", "2017"),
        (str | Path | None, "1_2", "1_2"),
        (str | None, "None", None),
        (str, "[a", "[a"),
        (bool, "FALSE", False),
        (bool, "True", True),
        (int, "3", 3),
        (Sequence[str] | None, "['a','b c', 2017]", ["a", "b c", "2017"]),
        (str | Sequence[str] | None, "2017", "2017"),
        (str | Sequence[str] | None, "flair", "flair"),
        (str | Sequence[str] | None, "scan #2", "scan #2"),
        (str | Sequence[str] | None, "[a.json, my list.json]", ["a.json", "my list.json"]),
        (str | Sequence[str], "[background,'right kidney', x y]", ["background", "right kidney", "x y"]),
        (float | Sequence[float] | None, "[1,1.5,2]", [1, 1.5, 2]),
        (str | dict[str, str] | None, '{"1": "oedema"}', {"1": "oedema"}),
        (Any, "5", 5),
    ],
)
def test_values_are_what_the_parameter_takes(annotation: Any, text: str, read: Any) -> None:
    found = read_argument("key", annotation, text)
    assert (found, type(found)) == (read, type(read))


def test_values_that_a_parameter_does_not_take() -> None:
    with pytest.raises(InputError, match="verify is 'maybe', expected true or false"):
        read_argument("verify", bool, "maybe")
    assert read_argument("names", Sequence[str] | None, "[liver,left kidney]") == ["liver", "left kidney"]
    with pytest.raises(InputError, match=r"sizes is \[1,2 3\], which is no list; quote its words: --sizes"):
        read_argument("sizes", Sequence[int] | None, "[1,2 3]")


def test_folders_with_odd_names(tmp_path: Path) -> None:
    for root in ("2017", "1_2", "a #1 %x @y ä"):
        for name in ("1", "#2 b"):
            for number in range(3):
                file = tmp_path / root / name / f"{number}#.png"
                file.parent.mkdir(exist_ok=True, parents=True)
                file.touch()
        done = launch.run("mae_tools", "datalist", "class_folder", root, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        content = json.loads((tmp_path / root / "datalist.json").read_text())
        assert content["class_names"] == ["#2 b", "1"]
        assert content["training"][0]["image"].startswith("#2 b/")


def test_an_unknown_flag_is_refused_before_the_command_runs(drawn: Path, tmp_path: Path) -> None:
    made = tmp_path / "l.json"
    result = run("datalist", "folder", str(drawn), "--out", str(made), "--class_nams", "x")
    assert result.returncode == 1
    assert "Unknown flag --class_nams" in result.stderr
    assert not made.exists()


def test_flags_in_all_forms_that_fire_knows() -> None:
    def command(path: str, seed: int = 0, parity: bool = False) -> None: ...

    good = ["a", "--seed=1", "--path", "b", "--noparity", "-s", "-5", "--", "--trace"]
    refuse_unknown_flags(command, good)
    for wrong in ("--sed=1", "-x", "--no"):
        with pytest.raises(InputError, match=rf"Unknown flag {wrong}; there are --path, --seed, --parity"):
            refuse_unknown_flags(command, ["a", wrong])


def test_the_second_word_of_a_value_is_no_other_setting() -> None:
    def command(path: str, out: str, names: str = "", kind: str = "") -> None: ...

    def several(*paths: str, out: str = "") -> None: ...

    for good in (
        ["a", "b", "c", "--kind", "x"],
        ["--kind", "x", "a", "b"],
        ["a", "--kind=x", "b"],
        ["--out", "b", "a"],
        ["a", "b", "--kind", "-5", "--", "--trace", "x"],
    ):
        refuse_stray_words(command, good)
    refuse_stray_words(several, ["--out", "x", "a", "b"])
    for wrong in (["a", "b", "--names", "[cat,red", "fox]"], ["a", "--out", "b", "--names=[cat,red", "fox]"]):
        with pytest.raises(InputError, match=r"'fox\]' follows --names .*: --names \"\[cat,red fox\]\"\."):
            refuse_stray_words(command, wrong)


def test_help_of_a_command_runs_nothing(tmp_path: Path) -> None:
    result = launch.run("mae_tools", "demo", "--help", cwd=tmp_path, timeout=60)
    assert result.returncode == 0
    text = result.stdout + result.stderr
    assert "--dataset_dir" in text
    assert "Other flags: further settings for all stages" in text  # Fire glues them to the argument before
    assert "GROUP" not in text  # of Fire's own attributes, of which a command is no group
    assert not list(tmp_path.iterdir())
    shown = run("weights", "--help")
    assert all(name in shown.stdout + shown.stderr for name in ("show", "convert", "verify"))


def commands(found: Any = None, name: str = "") -> Iterator[Any]:
    found = {word: resolve(word) for word in COMMANDS} if found is None else found
    if isinstance(found, dict):
        for word, inner in found.items():
            yield from commands(inner, f"{name} {word}".strip())
    else:
        yield pytest.param(found, id=name)


@pytest.mark.parametrize("command", commands())
def test_help_does_not_break_off(command: Any) -> None:
    """Fire takes a colon in the second line of a description for the start of the next flag."""
    listed = docstrings.parse(inspect.getdoc(command) or "").args or []
    assert {flag.name.lstrip("*") for flag in listed} <= set(inspect.signature(command).parameters)


def test_every_command_is_here() -> None:
    assert available() == list(COMMANDS)
    with pytest.raises(InputError, match="no command 'chek'; there are datalist, check"):
        resolve("chek")


def test_a_command_that_did_not_travel_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("mae_tools.__main__._ROOT", tmp_path)
    with pytest.raises(InputError, match="'demo' does not travel in the package"):
        resolve("demo")


def test_help_lists_the_commands() -> None:
    result = run("--help")
    for command in ("datalist", "check", "weights", "package", "demo", "compare"):
        assert command in result.stdout + result.stderr

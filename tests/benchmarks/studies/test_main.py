from pathlib import Path

import pytest

from benchmarks.studies.__main__ import main

STUDIES = Path(__file__).parents[3] / "benchmarks" / "studies"


def test_status_lists_every_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", str(STUDIES / "chest_xray.yaml"), "--smoke", "--results", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "missing scratch__0.5__seed0"
    assert len(lines) == 3


def test_tables_of_several_studies_need_no_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REAL_DATA", raising=False)
    files = [str(STUDIES / "chest_xray.yaml"), str(STUDIES / "tiles.yaml")]
    for name in ("chest_xray", "tiles"):
        (tmp_path / "work" / name).mkdir(parents=True)
    places = ["--results", str(tmp_path / "results"), "--work", str(tmp_path / "work")]
    assert main(["table", *files, *places]) == 0
    assert capsys.readouterr().out.count("No run has finished yet.") == 2
    assert (tmp_path / "results" / "tiles" / "table.md").exists()
    assert main(["figure", *files, *places]) == 0
    assert main(["run", *files, *places]) == 2
    assert "environment variable that is not set" in capsys.readouterr().err


def test_a_wrong_study_gives_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["table", str(tmp_path / "none.yaml")]) == 2
    assert "cannot be read as a study" in capsys.readouterr().err
    assert main(["run", str(STUDIES / "tiles.yaml"), "--share", "0.3", "--results", str(tmp_path)]) == 2
    assert "--share 0.3: tiles has 0.05, 0.2, 1" in capsys.readouterr().err
    assert main(["run", str(STUDIES / "tiles.yaml"), "--arm", "mea", "--results", str(tmp_path)]) == 2
    assert "--arm mea: tiles has scratch, mae" in capsys.readouterr().err


@pytest.mark.slow
def test_a_study_on_drawn_images_through_the_real_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = [str(STUDIES / "chest_xray.yaml"), "--smoke", "--results", str(tmp_path / "results")]
    assert main(["run", *options, "--work", str(tmp_path / "work")]) == 0
    text = capsys.readouterr().out
    assert "| scratch | 1 | 0." in text
    assert "| MAE 0.75 | 1 | 0." in text
    assert "| frozen probe, MAE 0.75 | 1 | 0." in text
    assert main(["run", *options, "--work", str(tmp_path / "elsewhere")]) == 0  # nothing is left to do
    assert not list((tmp_path / "elsewhere").rglob("done.json"))
    assert main(["figure", *options, "--work", str(tmp_path / "work")]) == 0
    made = capsys.readouterr().out.splitlines()[-3:]
    assert [Path(path).name for path in made] == ["label_efficiency.png", "training_curves.png", "reconstructions.png"]

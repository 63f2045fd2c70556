"""What the command prints, and when it ends with an error."""

import json
from pathlib import Path

import pytest
from custom_components.errors import InputError
from mae_tools.doctor import command
from mae_tools.doctor.machine import Finding
from mae_tools.doctor.predict import Need, Trial


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "examine", lambda place: [Finding("disk", "full", "make space")])


def test_estimates_are_a_table_and_too_much_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lists = {"training": [{"image": "a.nii"}], "validation": [], "test": [], "class_names": ["background", "liver"]}
    (tmp_path / "datalist.json").write_text(json.dumps(lists))
    seen: list[Trial] = []

    def need(trial: Trial, stage: str) -> Need:
        seen.append(trial)
        return Need(stage, 0.25, 5400, 3 * 1024, None, "measured") if stage == "train" else Need(stage, said="no file")

    monkeypatch.setattr(Trial, "need", need)
    monkeypatch.setattr(command, "memory_free", lambda: 2 * 2**30)
    with pytest.raises(InputError) as error:
        command.doctor("btcv_unetr_mae", tmp_path / "datalist.json", micro_batch=4)
    assert seen[0].settings == {"micro_batch": 4}
    assert "train: needs about 3.0 GiB of memory, 2.0 GiB are free: take --cache" in str(error.value)
    assert "evaluate: no file" in str(error.value)
    out = capsys.readouterr().out
    assert "disk             full\n                 -> make space" in out
    assert "train  0.25 s  90.0 min   3.0 GiB  -" in out


def test_mistakes_are_named() -> None:
    with pytest.raises(InputError, match="without a bundle"):
        command.doctor(datalist="x.json")
    with pytest.raises(InputError, match="No stage has a setting 'micro_bach'"):
        command.doctor("btcv_unetr_mae", micro_bach=4)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0123, "0.0123 s"), (119, "119 s"), (120, "2.0 min"), (90000, "25.0 h")]
)
def test_spans(seconds: float, text: str) -> None:
    assert command._span(seconds) == text

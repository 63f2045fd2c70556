from pathlib import Path

import pytest

from bundle_runtime import earlier_run
from custom_components.errors import InputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (earlier_run.STATE, "history.csv", "pictures/epoch_1.png", "tensorboard/events"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    return tmp_path


def test_a_folder_with_a_run_is_refused_unless_told(folder: Path) -> None:
    with pytest.raises(InputError, match=r"holds an earlier training.*--resume true.*--overwrite true"):
        earlier_run.refuse(folder)
    earlier_run.refuse(folder, resume=True)
    earlier_run.refuse(folder, overwrite=True)
    earlier_run.refuse(folder / "new")


def test_pictures_of_two_runs_are_not_mixed(folder: Path) -> None:
    earlier_run.remove(folder, resume=True)
    assert (folder / "pictures" / "epoch_1.png").exists()
    earlier_run.remove(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["history.csv"]


def test_a_folder_without_a_run_is_left_alone(folder: Path) -> None:
    (folder / earlier_run.STATE).unlink()
    earlier_run.remove(folder)
    assert (folder / "pictures").exists()

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from benchmarks.studies.copies import main


def test_turned_and_mirrored_copies_are_one_patient(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for kind in ("a", "b"):
        (tmp_path / kind).mkdir()
        for number in range(3):
            random = np.random.default_rng(number if kind == "a" else 10 + number)
            noise = Image.fromarray(random.integers(0, 255, (64, 64, 3), dtype=np.uint8)).filter(ImageFilter.BoxBlur(3))
            picture = Image.fromarray((np.asarray(noise) * random.uniform(0.5, 1, 3)).astype(np.uint8))
            picture.save(tmp_path / kind / f"{number}.png")
            picture.transpose(Image.Transpose.ROTATE_90).save(tmp_path / kind / f"{number}_turned.png")
            picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / kind / f"{number}_mirrored.png")
    (tmp_path / "b" / "0.png").write_bytes((tmp_path / "a" / "0.png").read_bytes())  # of another class
    (tmp_path / "a" / "notes.txt").touch()
    assert main([str(tmp_path), str(tmp_path / "groups.csv")]) == 0
    assert "18 pictures in 7 groups, the largest of 3" in capsys.readouterr().out
    with (tmp_path / "groups.csv").open() as stream:
        owner = {row["case"]: row["patient_id"] for row in csv.DictReader(stream)}
    assert len({owner[f"a/0{end}.png"] for end in ("", "_turned", "_mirrored")}) == 1
    assert owner["a/0.png"] not in (owner["a/1.png"], owner["b/0.png"])
    assert len({owner[f"b/{number}_turned.png"] for number in range(3)}) == 3
    assert main([str(tmp_path), str(tmp_path / "groups.csv"), "--patient_pattern", r"\d(_turned)"]) == 0
    assert "18 pictures in 3 groups, the largest of 9" in capsys.readouterr().out

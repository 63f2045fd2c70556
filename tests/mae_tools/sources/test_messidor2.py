from pathlib import Path

import pytest
from bundle_runtime.data.datalist import load
from custom_components.errors import InputError
from mae_tools.sources.messidor2 import GRADES, messidor2
from picture_trees import SECTIONS, class_counts, sizes, touch


def release(root: Path, patients: int = 25) -> Path:
    eyes = [(f"2005_{p}_left.png", f"IM{p:04d}.JPG") for p in range(patients)]
    touch(root, *(f"IMAGES/{left}" for left, _ in eyes), *(f"IMAGES/{right}" for _, right in eyes))
    rows = "".join(f"{name},{p % 5},{int(p == 6)},1\n" for p, pair in enumerate(eyes) for name in pair)
    (root / "messidor_data.csv").write_text(
        f"image_id,adjudicated_dr_grade,adjudicated_dme,adjudicated_gradable\n{rows}"
    )
    (root / "messidor-2.csv").write_text("left;right\n" + "".join(f"{a};{b}\n" for a, b in eyes))
    return root


def test_both_eyes_in_one_list(tmp_path: Path) -> None:
    made = messidor2(release(tmp_path))
    assert sizes(made) == [30, 10, 10]
    assert made["class_names"] == list(GRADES)
    assert load(tmp_path / "datalist.json")["ordered"] is True
    owners = [{item["patient_id"] for item in made[part]} for part in SECTIONS]
    assert [len(part) for part in owners] == [15, 5, 5]
    assert class_counts(made, "test") == dict.fromkeys(range(5), 2)


def test_the_split_of_the_paper(tmp_path: Path) -> None:
    made = messidor2(release(tmp_path), pairs=None, train_fraction=0.7, parity=True)
    assert class_counts(made, "test") == dict.fromkeys(range(5), 3)  # floor(0.3 x 10) of each grade, by image
    assert made["validation"] == made["test"]
    assert len(made["training"]) == 35


def test_an_excluded_picture_is_not_missing(tmp_path: Path) -> None:
    assert sum(sizes(messidor2(release(tmp_path), exclude="IM0003.*"))) == 49


def test_ungradable_pictures_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    release(tmp_path)
    table = tmp_path / "messidor_data.csv"
    lines = table.read_text().splitlines()
    lines[1] = lines[1][:-1] + "0"
    lines[2] = "IM0000.JPG,,,1"
    table.write_text("\n".join(lines))
    assert sum(sizes(messidor2(tmp_path))) == 48
    assert "2 pictures have no grade" in capsys.readouterr().out


def test_refusals(tmp_path: Path) -> None:
    release(tmp_path)
    with pytest.raises(InputError, match=r"other\.csv: there is no such table of pairs"):
        messidor2(tmp_path, pairs="other.csv")
    pairs = tmp_path / "messidor-2.csv"
    before = pairs.read_text()
    pairs.write_text(before + "2005_1_left.png;IM0002.JPG\n")
    with pytest.raises(InputError, match=r"line 27 names im0002, which is in another pair"):
        messidor2(tmp_path)
    pairs.write_text(before)
    (tmp_path / "IMAGES/IM0003.JPG").unlink()
    with pytest.raises(InputError, match=r"1 pictures are not in .*: IM0003\.JPG"):
        messidor2(tmp_path)
    table = tmp_path / "messidor_data.csv"
    table.write_text(table.read_text().replace("2005_1_left.png,1", "2005_1_left.png,7"))
    with pytest.raises(InputError, match="line 4 has the grade '7'; expected 0 to 4"):
        messidor2(tmp_path)

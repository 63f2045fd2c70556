from pathlib import Path
from typing import Any

import pytest
from bundle_runtime.data.datalist import items
from custom_components.errors import InputError
from mae_tools.sources.cxr14 import CXR14_FINDINGS
from mae_tools.sources.table import table
from picture_trees import SECTIONS, by_image, class_counts, sizes, touch


def make(root: Path, text: str, *files: str) -> Path:
    """A table `labels.csv` and the pictures that it names in its first column, or those given."""
    rows = text.strip().splitlines()
    touch(root, *(files or [row.split(",")[0] for row in rows[1:]]))
    (root / "labels.csv").write_text("\n".join(rows) + "\n")
    return root


FINDINGS = """
file,Mass,Edema,who
a.png,1,0,p1
b.png,0.0,1.0,p1
c.png,,-1,p2
d.png,true,NaN,p3
"""


def test_findings_with_unknown_and_uncertain_values(tmp_path: Path) -> None:
    root = make(tmp_path, FINDINGS)
    made = table(root, "labels.csv", label_columns="[Mass, edema]", patient_column="who", modality="X-ray")
    assert (made["task"], made["class_names"], made["modality"]) == ("multi_label", ["Mass", "Edema"], "X-ray")
    found = by_image(made)
    assert {name: item["label"] for name, item in found.items()} == {
        "a.png": [1, 0],
        "b.png": [0, 1],
        "c.png": [None, None],
        "d.png": [1, None],
    }
    assert found["b.png"]["patient_id"] == "p1"
    for meaning, value in (("positive", 1), ("negative", 0)):
        again = table(root, "labels.csv", label_columns=("Mass", "Edema"), patient_column="who", uncertain=meaning)
        assert by_image(again)["c.png"]["label"] == [None, value]
    assert items(root / "datalist.json", "training", class_names=["Mass", "Edema"])[0]["label"] == [1, 0]


def test_rows_without_a_label_train_or_are_dropped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = "".join(f"{index}.png,{index % 2},p{index}\n" for index in range(10))
    root = make(tmp_path, f"file,Mass,who\n{rows}x.png,,\ny.png,,q\n")
    made = table(root, "labels.csv", label_columns="Mass", patient_column="who")
    assert {"x.png", "y.png"} <= {item["image"] for item in made["training"]}
    assert by_image(made)["x.png"]["patient_id"] == "x"
    said = capsys.readouterr().out
    assert "1 of 12 rows name no patient" in said
    assert "2 of 12 rows have no label and stay for pre-training" in said
    made = table(root, "labels.csv", label_columns="Mass", patient_column="who", drop_unlabelled=True)
    assert sum(sizes(made)) == 10
    said = capsys.readouterr().out
    assert "2 of 12 rows have no label and are left out" in said
    assert "name no patient" not in said


def test_classes_by_name_or_in_a_wanted_order(tmp_path: Path) -> None:
    rows = "".join(f"{index}.png,{index % 3 + 9},p{index}\n" for index in range(30))
    root = make(tmp_path, f"file,grade,who\n{rows}")
    made = table(root, "labels.csv", class_column="grade", patient_column="who")
    assert (made["task"], made["class_names"]) == ("multi_class", ["9", "10", "11"])
    assert [class_counts(made, part) for part in SECTIONS] == [
        {0: 6, 1: 6, 2: 6},
        {0: 2, 1: 2, 2: 2},
        {0: 2, 1: 2, 2: 2},
    ]
    made = table(
        root, "labels.csv", class_column="grade", patient_column="who", class_names=(11, 10, 9), test_fraction=0
    )
    assert made["class_names"] == ["11", "10", "9"]
    assert by_image(made)["0.png"]["label"] == 2
    assert made["test"] == []


def test_patients_by_column_pattern_or_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = "".join(f"p{index // 3}_{index}.png,{index % 2}\n" for index in range(30))
    root = make(tmp_path, f"file,Mass\n{rows}")
    made = table(root, "labels.csv", label_columns="Mass", patient_pattern=r"^(p\d+)_")
    apart = [{item["patient_id"] for item in made[part]} for part in SECTIONS]
    assert sum(map(len, apart)) == 10
    assert "counts as a patient of its own" not in capsys.readouterr().out
    assert (
        len({item["patient_id"] for item in by_image(table(root, "labels.csv", label_columns="Mass")).values()}) == 30
    )
    assert "Every picture counts as a patient of its own" in capsys.readouterr().out
    with pytest.raises(InputError, match="patient_column and patient_pattern are both given"):
        table(root, "labels.csv", label_columns="Mass", patient_column="Mass", patient_pattern="(p)")


def test_given_lists_are_kept_and_checked(tmp_path: Path) -> None:
    parts = ["train"] * 6 + ["Val"] * 2 + ["TESTING"] * 2
    rows = "".join(f"{index}.png,{index % 2},p{index},{part}\n" for index, part in enumerate(parts))
    root = make(tmp_path, f"file,Mass,who,split\n{rows}x.png,,q,\n")
    arguments: dict[str, Any] = {"label_columns": "Mass", "patient_column": "who", "split_column": "split"}
    made = table(root, "labels.csv", **arguments)
    assert sizes(made) == [7, 2, 2]
    assert made["description"] == f"{tmp_path.name}: labels.csv, lists as given."
    (root / "labels.csv").write_text((root / "labels.csv").read_text().replace("p9", "p0"))
    with pytest.raises(
        InputError,
        match=r"1 patient\(s\) are in several of the given lists, p0 in training and test.*pass --crossing drop",
    ):
        table(root, "labels.csv", **arguments)
    (root / "labels.csv").write_text((root / "labels.csv").read_text().replace("TESTING", "fold1"))
    with pytest.raises(InputError, match="line 10, column 'split' holds 'fold1'; expected train, val or test"):
        table(root, "labels.csv", **arguments)
    made = table(root, "labels.csv", label_columns="Mass", patient_column="who")
    assert sum(sizes(made)) == 11


def test_a_labelled_row_must_say_its_list(tmp_path: Path) -> None:
    root = make(tmp_path, "file,Mass,split\na.png,1,train\nb.png,0,\n")
    with pytest.raises(InputError, match="line 3, column 'split' holds ''; expected train, val or test"):
        table(root, "labels.csv", label_columns="Mass", split_column="split")


def test_the_layout_of_ham10000(tmp_path: Path) -> None:
    """Names without an ending, pictures in two folders, several pictures of a lesion."""
    lines = [
        f"HAM_{index // 2},ISIC_{index},{'nv' if index < 20 else 'mel'},histo,80.0,male,back" for index in range(40)
    ]
    files = [f"HAM10000_images_part_{index % 2 + 1}/ISIC_{index}.jpg" for index in range(40)]
    root = touch(tmp_path, *files)
    (root / "HAM10000_metadata.csv").write_text(
        "lesion_id,image_id,dx,dx_type,age,sex,localization\n" + "\n".join(lines)
    )
    made = table(root, "HAM10000_metadata.csv", path_column="image_id", class_column="dx", patient_column="lesion_id")
    assert made["class_names"] == ["mel", "nv"]
    assert sizes(made) == [24, 8, 8]
    assert {item["patient_id"] for item in made["test"]}.isdisjoint(item["patient_id"] for item in made["training"])
    assert by_image(made)["HAM10000_images_part_2/ISIC_1.jpg"]["patient_id"] == "HAM_0"


def test_the_layout_of_chexpert(tmp_path: Path) -> None:
    """Paths that begin above the data folder, the patient in the path, -1 for uncertain."""
    paths = [f"patient{index:05d}/study1/view1_frontal.jpg" for index in range(6)]
    root = touch(tmp_path, *(f"train/{path}" for path in paths))
    rows = "".join(f"CheXpert-v1.0/train/{path},Male,{index % 2}.0,-1.0\n" for index, path in enumerate(paths))
    (root / "train.csv").write_text(f"Path,Sex,Edema,Lung Opacity\n{rows}")
    made = table(
        root, "train.csv", path_column="Path", label_columns="Edema,Lung Opacity", patient_pattern=r"(patient\d+)/"
    )
    item = by_image(made)[f"train/{paths[1]}"]
    assert item == {"image": f"train/{paths[1]}", "label": [1, None], "patient_id": "patient00001"}


def test_repeated_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make(tmp_path, "file,Mass\na.png,1\nb.png,0\n./a.png,1\n", "a.png", "b.png")
    assert sum(sizes(table(root, "labels.csv", label_columns="Mass"))) == 2
    assert "1 of 3 rows repeat another and are left out" in capsys.readouterr().out
    make(root, "file,Mass\na.png,1\nb.png,0\na.png,0\n", "a.png", "b.png")
    with pytest.raises(InputError, match=r"lines 2 and 4 say different things of a\.png; keep one"):
        table(root, "labels.csv", label_columns="Mass")


def test_missing_and_ambiguous_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make(tmp_path, "file,Mass\na.png,1\nb.png,0\nc.png,0\n", "x/a.png", "x/b.png", "x/z.png")
    with pytest.raises(
        InputError, match=r"1 of 3 pictures in .* are missing: c\.png; unpack all archives, correct the table, or"
    ):
        table(root, "labels.csv", label_columns="Mass")
    assert sum(sizes(table(root, "labels.csv", label_columns="Mass", partial=True))) == 2
    said = capsys.readouterr().out
    assert "1 of 3 pictures in" in said
    assert "are missing and are left out: c.png" in said
    assert "come into no list: 1 .png (x/z.png)" in said
    touch(root, "y/a.png", "y/b.png", "y/c.png")
    with pytest.raises(InputError, match=r"line 2 names 'a\.png', which fits x/a\.png, y/a\.png; name the folder"):
        table(root, "labels.csv", label_columns="Mass")
    assert set(by_image(table(root, "labels.csv", label_columns="Mass", images=root / "y"))) == {
        "y/a.png",
        "y/b.png",
        "y/c.png",
    }
    with pytest.raises(InputError, match="nothing: the folder holds no picture"):
        table(root, "labels.csv", label_columns="Mass", images="nothing")


def test_excluded_rows_are_not_missing(tmp_path: Path) -> None:
    root = make(tmp_path, "file,Mass\na.png,1\nb.png,0\nc.png,1\nd.png,0\nbad/x.png,1\n")
    touch(root, "bad/e.png")
    (root / "labels.csv").write_text((root / "labels.csv").read_text() + "e.png,0\nd_gone.png,1\n")
    made = table(root, "labels.csv", label_columns="Mass", exclude="bad,*_gone*", parity=True)
    assert set(by_image(made)) == {"a.png", "b.png", "c.png", "d.png"}
    with pytest.raises(InputError, match=r"1 of 7 pictures in .* are missing: d_gone\.png"):
        table(root, "labels.csv", label_columns="Mass", exclude="bad")


def test_absolute_paths_stay(tmp_path: Path) -> None:
    elsewhere = touch(tmp_path / "elsewhere", "a.png") / "a.png"
    root = make(tmp_path / "data", f"file,Mass\n{elsewhere},1\nb.png,0\n", "b.png")
    assert set(by_image(table(root, root / "labels.csv", label_columns="Mass"))) == {str(elsewhere), "b.png"}


def test_a_constant_finding_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make(tmp_path, "file,Mass,Hernia\na.png,1,0\nb.png,0,0\n")
    table(root, "labels.csv", label_columns="Mass,Hernia")
    assert "Warning: the finding Hernia is 0 wherever it is known" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({}, r"labels\.csv: give either --label_columns .* or --class_column .*the columns are file, Mass, dx"),
        ({"label_columns": "Mass", "class_column": "dx"}, "give either --label_columns"),
        ({"label_columns": "Mas"}, "label_columns names 'Mas', and there is no column 'Mas'; did you mean 'Mass'?"),
        ({"label_columns": "Mass,Mass"}, "label_columns is .*expected different names"),
        ({"label_columns": "dx"}, "line 2, column 'dx' holds 'nv'; expected 0, 1, -1"),
        ({"class_column": "Mass", "class_names": "0,2"}, "line 2 has the class '1', which is not among class_names"),
        ({"class_column": "kind"}, r"column 'kind' holds \['only'\]; expected at least two classes"),
        ({"class_column": "gap"}, r"line 3 \(b\.png\) has no class in column 'gap'; .*--drop_unlabelled true"),
        ({"class_column": "dx"}, r"too few pictures of class nv \(1\); expected at least two of each class"),
        ({"label_columns": "Mass", "ordered": True}, "ordered is for classes of increasing grade"),
        ({"label_columns": "blank"}, "no row has a label in blank; name other columns"),
        ({"label_columns": "Mass", "path_column": "path"}, "path_column names 'path', and there is no column"),
        ({"label_columns": "Mass", "patient_column": "who"}, "patient_column names 'who', and there is no column"),
        ({"label_columns": "Mass", "uncertain": "maybe"}, "uncertain is 'maybe'; expected one of unknown, positive"),
    ],
)
def test_wrong_settings_and_values(tmp_path: Path, arguments: dict[str, Any], sentence: str) -> None:
    root = make(tmp_path, "file,Mass,dx,kind,gap,blank\na.png,1,nv,only,a,\nb.png,0,mel,only,,\nc.png,0,mel,only,b,\n")
    with pytest.raises(InputError, match=sentence):
        table(root, "labels.csv", **arguments)
    assert not (root / "datalist.json").exists()


def test_rows_without_a_class_can_be_dropped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make(tmp_path, "file,dx\na.png,nv\nb.png,\nc.png,mel \nd.png, nv\ne.png,mel\n")
    with pytest.raises(InputError, match=r"line 3 \(b\.png\) has no class"):
        table(root, "labels.csv", class_column="dx")
    assert "pre-training" not in capsys.readouterr().out  # as the refusal would contradict
    made = table(root, "labels.csv", class_column="dx", drop_unlabelled=True)
    assert {image: item["label"] for image, item in by_image(made).items()} == {
        "a.png": 1, "c.png": 0, "d.png": 1, "e.png": 0,
    }  # fmt: skip
    assert "1 of 5 rows have no label and are left out" in capsys.readouterr().out


def test_classes_that_differ_in_case(tmp_path: Path) -> None:
    root = make(tmp_path, "file,dx\na.png,NV\nb.png,mel\nc.png,mel\nd.png,nv\n")
    with pytest.raises(
        InputError, match=r"line 5 has the class 'nv' .*differs only in case from 'NV' in line 2; spell"
    ):
        table(root, "labels.csv", class_column="dx")
    with pytest.raises(InputError, match=r"line 5 has the class 'nv', .* it differs only in case from 'NV'\."):
        table(root, "labels.csv", class_column="dx", class_names="NV,mel")


def test_grades_of_a_table(tmp_path: Path) -> None:
    rows = "".join(f"{index}.png,{index % 3}\n" for index in range(12))
    made = table(make(tmp_path, f"file,grade\n{rows}"), "labels.csv", class_column="grade", ordered=True)
    assert (made["ordered"], made["class_names"]) == (True, ["0", "1", "2"])


def test_parity_of_a_table(tmp_path: Path) -> None:
    rows = "".join(f"{index}.png,{'ab'[index % 2]}\n" for index in range(20))
    made = table(make(tmp_path, f"file,dx\n{rows}"), "labels.csv", class_column="dx", parity=True)
    assert made["parity"] is True
    assert made["validation"] == made["test"]
    assert sizes(made) == [16, 4, 4]


def test_real_radiographs(real_data: Path, tmp_path: Path) -> None:
    made = table(
        real_data / "chest_xray", "labels.csv", out=tmp_path / "d.json", label_columns=CXR14_FINDINGS,
        patient_column="nih_patient_id", split_column="chexnet_split", drop_unlabelled=True,
    )  # fmt: skip
    assert sizes(made) == [704, 77, 219]
    positives = [sum(item["label"][index] for item in by_image(made).values()) for index in range(14)]
    assert positives == [113, 16, 89, 187, 19, 20, 474, 12, 33, 96, 10, 8, 27, 3]
    assert len({item["patient_id"] for item in by_image(made).values()}) == 682
    everything = table(
        real_data / "chest_xray", "labels.csv", out=tmp_path / "e.json", label_columns=CXR14_FINDINGS,
        patient_column="nih_patient_id",
    )  # fmt: skip
    unlabelled = [item for item in everything["training"] if item["label"] == [None] * 14]
    assert len(unlabelled) == 124
    loaded = items(tmp_path / "e.json", "test", real_data / "chest_xray", CXR14_FINDINGS)
    assert Path(loaded[0]["image"]).is_file()


def test_real_dermatoscopy(real_data: Path, tmp_path: Path) -> None:
    made = table(
        real_data / "skin", "labels.csv", out=tmp_path / "d.json", class_column="dx", patient_column="lesion_id"
    )
    assert made["class_names"] == ["akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"]
    assert sizes(made) == [555, 183, 183]

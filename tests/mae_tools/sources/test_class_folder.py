from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundle_runtime.data.datalist import items, parse
from custom_components.errors import InputError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mae_tools.sources.class_folder import class_folder
from picture_files import dicom, shades
from picture_trees import SECTIONS, by_image, class_counts, sizes, touch


def tree(root: Path, prefix: str = "", **counts: int) -> Path:
    return touch(root, *(f"{prefix}{name}/{index}.png" for name, count in counts.items() for index in range(count)))


def test_a_folder_a_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tree(tmp_path, normal=10, cyst=20)
    touch(root, "cyst/deep/er/x.JPG", "labels.csv", "cyst/.hidden", "cyst/Thumbs.db", "normal/desktop.ini")
    made = class_folder(root, modality="ultrasound")
    assert (made["task"], made["class_names"], made["modality"]) == ("multi_class", ["cyst", "normal"], "ultrasound")
    assert [class_counts(made, part) for part in SECTIONS] == [{0: 13, 1: 6}, {0: 4, 1: 2}, {0: 4, 1: 2}]
    assert by_image(made)["cyst/deep/er/x.JPG"] == {
        "image": "cyst/deep/er/x.JPG",
        "label": 0,
        "patient_id": "cyst/deep/er/x",
    }
    assert "Every picture counts as a patient of its own" in capsys.readouterr().out
    assert items(root / "datalist.json", "test", class_names=["cyst", "normal"])[0]["label"] in (0, 1)


@pytest.mark.parametrize(
    "names", [("train", "val", "test"), ("Training", "validation", "TESTING"), ("TRAIN", "valid", "Test")]
)
def test_given_lists(tmp_path: Path, names: tuple[str, str, str]) -> None:
    for name, count in zip(names, (6, 3, 4), strict=True):
        tree(tmp_path, f"{name}/", a=count, b=2)
    made = class_folder(tmp_path)
    assert [class_counts(made, part) for part in SECTIONS] == [{0: 6, 1: 2}, {0: 3, 1: 2}, {0: 4, 1: 2}]
    assert all(
        item["image"].startswith(f"{name}/") for part, name in zip(SECTIONS, names, strict=True) for item in made[part]
    )


def test_missing_lists_are_taken_out_of_training(tmp_path: Path) -> None:
    tree(tmp_path, "train/", a=20, b=10)
    tree(tmp_path, "test/", a=3, b=3)
    made = class_folder(tmp_path)
    assert [class_counts(made, part) for part in SECTIONS] == [{0: 16, 1: 8}, {0: 4, 1: 2}, {0: 3, 1: 3}]
    assert "validation taken out of training" in made["description"]


def test_patients_from_names_or_a_table(tmp_path: Path) -> None:
    names = [f"{'ab'[patient % 2]}/p{patient}_{visit}.png" for patient in range(12) for visit in range(3)]
    root = touch(tmp_path / "data", *names)
    by_pattern = class_folder(root, patient_pattern=r"^(p\d+)_")
    apart = [{item["patient_id"] for item in by_pattern[part]} for part in SECTIONS]
    assert [len(part) for part in apart] == [8, 2, 2]
    assert set.union(*apart) == {f"p{number}" for number in range(12)}
    csv = tmp_path / "patients.csv"
    for column in (names, [Path(name).stem for name in names], [Path(name).name for name in names]):
        rows = "".join(f"{case},{Path(name).stem.split('_')[0]}\n" for case, name in zip(column, names, strict=True))
        csv.write_text(f"case,patient_id\n{rows}")
        assert class_folder(root, patients=csv) == by_pattern
    csv.write_text("case,patient_id\np0_0,p0\n")
    with pytest.raises(InputError, match="names no patient for a/p"):
        class_folder(root, patients=csv)
    with pytest.raises(InputError, match="patient_pattern and patients are both given"):
        class_folder(root, patients=csv, patient_pattern="(p)")


def test_patients_from_dicom_headers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two views of a patient belong into one list; one id for all of them is what an anonymiser left."""
    (tmp_path / "a").mkdir()
    for number in range(6):
        dicom(tmp_path / f"a/{number}.dcm", shades(seed=number).astype(np.uint16), PatientID=f"p{number // 2}")
    touch(tmp_path, "a/loose.png", "b/TCGA-AA-1234-01.png", "b/1.2.840")
    dicom(tmp_path / "b" / "1.2.840", shades(seed=7).astype(np.uint16), PatientID="p0")
    found = by_image(class_folder(tmp_path))
    assert [found[f"a/{number}.dcm"]["patient_id"] for number in range(6)] == ["p0", "p0", "p1", "p1", "p2", "p2"]
    assert [found[f"b/{name}"]["patient_id"] for name in ("1.2.840", "TCGA-AA-1234-01.png")] == ["p0", "TCGA-AA-1234"]
    said = capsys.readouterr().out
    assert "7 of 9 pictures belong to the patients that their DICOM headers name." in said
    assert "Every other picture counts as a patient of its own" in said
    for number in range(6):
        dicom(tmp_path / f"a/{number}.dcm", shades(seed=number).astype(np.uint16), PatientID="ANON")
    dicom(tmp_path / "b" / "1.2.840", shades(seed=7).astype(np.uint16), PatientID="ANON")
    assert by_image(class_folder(tmp_path))["a/3.dcm"]["patient_id"] == "a/3"


def test_equal_names_in_two_classes_are_told_apart_by_path(tmp_path: Path) -> None:
    root = tree(tmp_path / "data", a=4, b=4)
    csv = tmp_path / "patients.csv"
    csv.write_text(
        "case,patient_id\n" + "".join(f"{name}/{index}.png,{name}{index // 2}\n" for name in "ab" for index in range(4))
    )
    made = by_image(class_folder(root, patients=csv))
    assert {item["patient_id"] for item in made.values()} == {"a0", "a1", "b0", "b1"}


def test_a_patient_in_two_given_lists(tmp_path: Path) -> None:
    touch(
        tmp_path,
        *(f"{part}/{name}/p1_{part}{name}{index}.png" for part in ("train", "test") for name in "ab" for index in "12"),
    )
    with pytest.raises(
        InputError, match=r"1 patient\(s\) are in several of the given lists, p1 in training and test: p1; correct"
    ):
        class_folder(tmp_path, patient_pattern=r"^(p\d+)_")
    touch(tmp_path, *(f"train/{name}/p{index}_{name}.png" for name in "ab" for index in range(2, 9)))
    made = class_folder(tmp_path, patient_pattern=r"^(p\d+)_", crossing="drop")
    assert {item["patient_id"] for item in made["test"]} == {"p1"}
    assert len(made["training"]) + len(made["validation"]) == 14


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=10, deadline=None)
@given(st.lists(st.integers(4, 60), min_size=2, max_size=4), st.integers(0, 3))
def test_the_split_of_msmae(tmp_path_factory: pytest.TempPathFactory, counts: list[int], seed: int) -> None:
    """floor(0.3 x class count) of each class is what MSMAE's authors (arXiv 2305.05871) report on."""
    root = tree(tmp_path_factory.mktemp("folder"), **{f"c{index}": count for index, count in enumerate(counts)})
    made = class_folder(root, parity_split=True, seed=seed)
    assert class_counts(made, "test") == {index: 3 * count // 10 for index, count in enumerate(counts)}
    assert sum(sizes(made)) == sum(counts)
    assert not {item["image"] for item in made["validation"]} & {item["image"] for item in made["test"]}
    same = class_folder(root, train_fraction=0.7, per_class=True, seed=seed)
    assert same == made
    paper = class_folder(root, parity_split=True, parity=True, seed=seed)
    assert paper["test"] == paper["validation"] == made["test"]
    assert len(paper["training"]) == len(made["training"]) + len(made["validation"])


def test_messidor_counts_of_the_paper(tmp_path: Path) -> None:
    """1,744 images in 5 grades give the 522 on which the reported 63.41 % = 331/522 is possible."""
    root = tree(tmp_path, **{"0": 1017, "1": 270, "2": 347, "3": 75, "4": 35})
    made = class_folder(root, parity_split=True)
    assert made["class_names"] == ["0", "1", "2", "3", "4"]
    assert class_counts(made, "test") == {0: 305, 1: 81, 2: 104, 3: 22, 4: 10}
    assert len(made["test"]) == 522


def test_train_fraction_pools_given_lists(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree(tmp_path, "train/", a=10, b=10)
    tree(tmp_path, "val/", a=10, b=10)
    made = class_folder(tmp_path, parity_split=True)
    assert class_counts(made, "test") == {0: 6, 1: 6}
    assert "are put together and dealt anew" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"train_fraction is 1\.2, expected a number between 0 and 1"):
        class_folder(tmp_path, train_fraction=1.2)


def test_without_regard_to_classes(tmp_path: Path) -> None:
    made = class_folder(tree(tmp_path, a=50, b=50), per_class=False, seed=3)
    assert sizes(made) == [60, 20, 20]
    assert made["description"].endswith("split by picture, each as a patient of its own (seed 3).")
    made = class_folder(tmp_path, per_class=False, seed=3, patient_pattern=r"(\d+)\.")
    assert made["description"].endswith("split by patient (seed 3).")


def test_a_wanted_order_of_classes(tmp_path: Path) -> None:
    root = tree(tmp_path, mild=3, none=3, severe=3)
    made = class_folder(root, class_names="[none, mild, severe]")
    assert made["class_names"] == ["none", "mild", "severe"]
    assert Counter(item["label"] for item in by_image(made).values()) == {0: 3, 1: 3, 2: 3}
    assert by_image(made)["none/0.png"]["label"] == 0
    with pytest.raises(InputError, match=r"class_names holds 'mld', which is no folder; did you mean 'mild'\?"):
        class_folder(root, class_names="none,mld,severe")
    with pytest.raises(InputError, match="the folder 'severe' is not among class_names"):
        class_folder(root, class_names="none,mild")


def test_grades(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tree(tmp_path, mild=3, none=3)
    assert class_folder(root, class_names="none,mild", ordered=True)["ordered"] is True
    assert "Grades, lowest first: none, mild; --class_names gives another order." in capsys.readouterr().out
    assert parse(root / "datalist.json")["ordered"] is True
    assert "ordered" not in class_folder(root)


def build(root: Path, kind: str) -> Path:
    if kind == "one class":
        return tree(root, "data/", a=3, b=3)
    if kind == "one image":
        return tree(root, a=3, b=1)
    if kind == "no image":
        tree(root, a=3, b=3)
        (root / "c").mkdir()
    elif kind == "differ":
        tree(root, "train/", a=3, b=3, c=3)
        tree(root, "test/", a=3, b=3, C=3)
    elif kind == "empty in one":
        tree(root, "train/", a=3, b=3)
        tree(root, "test/", a=3)
        (root / "test" / "b").mkdir()
    elif kind == "mixed":
        tree(root, "train/", a=3, b=3)
        tree(root, old=3)
    elif kind == "twice":
        for name in ("train", "val", "valid"):
            tree(root, f"{name}/", a=3, b=3)
    elif kind == "no train":
        tree(root, "val/", a=3, b=3)
    elif kind == "others":
        touch(tree(root, a=3, b=3), "a/notes.txt", "b/x.pdf")
    elif kind == "loose":
        touch(tree(root, a=3, b=3), "c.png")
    elif kind == "masks":
        touch(tree(root, a=3, b=3), "a/0_mask.png", "a/0_mask_1.png", "b/the_mask.png")
    return root


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("nothing", r"holds 0 class folder\(s\); expected at least two"),
        ("one class", r"holds 1 class folder\(s\): data; expected at least two, give the folder that contains them"),
        ("one image", r"too few pictures of class b \(1\); expected at least two"),
        ("no image", r"too few pictures of class c \(0\); .* remove the folder, or leave it out with --exclude 'c'\."),
        ("differ", r"the training list has no picture of class C, which other lists have; .*spelled alike"),
        ("empty in one", r"the test list has no picture of class b.*leave a class out with --exclude"),
        ("mixed", r"holds the folders old, train; expected either a folder a class, or train, val and test"),
        ("twice", r"holds the folders train, val, valid; expected either .*each once"),
        ("no train", r"The given lists hold no training image"),
        ("others", r"2 file\(s\) in class folders are no pictures: a/notes\.txt, b/x\.pdf; move them away, or leave"),
        ("loose", r"1 picture\(s\) lie in no class folder: c\.png"),
        (
            "masks",
            r"2 files look like masks of other pictures: a/0_mask\.png, a/0_mask_1\.png; .*--exclude '\*_mask\*'",
        ),
    ],
)
def test_folders_that_do_not_fit(tmp_path: Path, kind: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        class_folder(build(tmp_path, kind))
    assert not (tmp_path / "datalist.json").exists()


@pytest.mark.parametrize(
    ("kind", "exclude"), [("masks", "*_mask*"), ("others", "*.txt,*.pdf"), ("others", ("*.txt", "*.pdf"))]
)
def test_what_may_be_left_out(tmp_path: Path, kind: str, exclude: Any) -> None:
    assert sum(sizes(class_folder(build(tmp_path, kind), exclude=exclude))) == 6


def test_the_report_of_an_earlier_check_is_no_class(tmp_path: Path) -> None:
    """`check` writes a folder `check` beside the datalist; a second `datalist` must not trip over it."""
    root = touch(tree(tmp_path, a=3, b=3), "check/check.html", "check/check.json")
    touch(root, "a/old/check.html", "a/old/check.json", "a/old/y.png", "a/check/z.png")
    made = class_folder(root)
    assert made["class_names"] == ["a", "b"]
    assert sum(sizes(made)) == 8  # the two files of a report are none, the pictures that lie beside them are
    (root / "check" / "check.html").unlink()
    with pytest.raises(InputError, match=r"no pictures: check/check\.json"):
        class_folder(root)


@pytest.mark.parametrize("exclude", ["empty class*", "empty class*/*", "empty class 1,a/sub/*"])
def test_folders_may_be_left_out(tmp_path: Path, exclude: str) -> None:
    root = touch(tree(tmp_path, a=3, b=3), "a/sub/9.png")
    (root / "empty class 1").mkdir()
    made = class_folder(root, exclude=exclude)
    assert made["class_names"] == ["a", "b"]
    assert sum(sizes(made)) == (6 if "sub" in exclude else 7)


def test_class_folders_of_given_lists_may_be_left_out(tmp_path: Path) -> None:
    tree(tmp_path, "train/", a=3, b=3, c=3)
    tree(tmp_path, "test/", a=3, b=3)
    touch(tmp_path, "notes of 2020/readme.txt")
    assert class_folder(tmp_path, exclude="train/c/*,notes*")["class_names"] == ["a", "b"]


def test_a_pattern_without_a_slash_is_said_to_look_at_file_names_only(tmp_path: Path) -> None:
    root = touch(tmp_path, *(f"{name}/p{number}/x.png" for name in "ab" for number in range(3)))
    with pytest.raises(InputError, match=r"no patient in 6 of 6 files.*searched in file names, without their fold"):
        class_folder(root, patient_pattern=r"(p\d)")
    with pytest.raises(InputError, match="it is searched in whole paths"):
        class_folder(root, patient_pattern=r"(q\d)/")


def test_real_photographs(real_data: Path, tmp_path: Path) -> None:
    made = class_folder(real_data / "fundus", out=tmp_path / "d.json")
    assert made["class_names"] == ["cataract", "diabetic_retinopathy", "glaucoma", "normal"]
    assert [class_counts(made, part) for part in SECTIONS] == [dict.fromkeys(range(4), n) for n in (150, 50, 50)]

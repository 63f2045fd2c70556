import re
from typing import Any

import pytest
from bundle_runtime.data.schema import (
    SECTIONS,
    alike_patients,
    case_names,
    consistency_problems,
    file_stem,
    schema_problems,
)
from hypothesis import given
from hypothesis import strategies as st

NAMES = ["background", "liver", "spleen"]


def whole(**lists: Any) -> dict[str, Any]:
    return {**{section: [] for section in SECTIONS}, **lists}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({}, "found none of the lists"),
        ({"trainings": []}, "unknown key 'trainings' .*did you mean 'training'"),
        ({"training": {}}, "training must be a list"),
        ({"training": ["a.nii"]}, r"training\[0\]: expected an item"),
        ({"training": [{"label": "a"}]}, r"training\[0\]: has no 'image'"),
        ({"training": [{"image": 3}]}, "'image' must be a path or a list of paths; found 3"),
        ({"training": [{"image": []}]}, "'image' must be a path"),
        ({"training": [{"image": "a", "label": 1.5}]}, "'label' must be a path, a class index"),
        ({"training": [{"image": "a", "label": [0, 2]}]}, "'label' must be"),
        ({"training": [{"image": "a", "patient": "p"}]}, "unknown key 'patient' .*did you mean 'patient_id'"),
        ({"training": [{"image": "a", "patient_id": ["p"]}]}, "'patient_id' must be a text"),
        ({"training": [{"image": "a", "unlabelled": "spleen"}]}, "'unlabelled' must be a list of class names"),
        ({"training": [], "class_names": ["background"]}, "at least two different names"),
        ({"training": [], "class_names": ["a", "a"]}, "at least two different names"),
        ({"training": [], "parity": "yes"}, "parity has the wrong type str"),
        ({"training": [], "mask_kind": "ids"}, "mask_kind is 'ids'; expected one of classes, binary, instance"),
        (
            {"training": [], "mask_kind": "binary", "task": "multi_class", "class_names": ["a", "b"]},
            "mask_kind is for segmentation, and the task is multi_class",
        ),
        (
            {"training": [], "mask_kind": "instance", "class_names": ["background", "a", "b"]},
            "mask_kind instance tells one class from the background; found the class_names",
        ),
        ({"training": [], "mpp": 0}, "mpp is 0; expected the micrometres a pixel of the pictures, a positive number"),
        ({"training": [], "mpp": "0.5"}, "mpp is '0.5'"),
        ({"training": [], "ordered": 1}, "ordered has the wrong type int"),
        ({"training": [], "ordered": True, "task": "multi_label", "class_names": ["a"]}, "needs the task multi_class"),
        ([], "expected a JSON object"),
        ({"training": [], "sequences": "flair"}, "'sequences' must be a list of names such as flair, t1, t1ce, t2"),
        ({"training": [], "sequences": ["t1", 2]}, "'sequences' must be a list of names"),
        ({"training": [], "sequences": []}, r"sequences is \[\]; expected different sequence names"),
        ({"training": [{"image": "a", "sequences": ["t1", "T1w"]}]}, r"training\[0\]: sequences is .*different"),
        ({"training": [], "label_convention": "brats"}, "label_convention is 'brats'; expected msd, brats2018"),
        ({"training": [{"image": "a", "label_convention": {"1": "core"}}]}, r"\[0\]: label_convention is .*table"),
        ({"training": [{"image": "a", "label_convention": 4}]}, r"training\[0\]: label_convention is 4"),
        ({"training": [{"image": "a", "sequence": ["t1"]}]}, "unknown key 'sequence' .*did you mean 'sequences'"),
        ({"training": [], "task": "multilabel"}, "task is 'multilabel'; expected multi_label or multi_class"),
        ({"training": [], "task": None}, "task is None; expected multi_label"),
        ({"training": [], "task": "multi_label", "class_names": []}, "one or more different findings"),
        ({"training": [], "task": "multi_class", "class_names": ["a"]}, "at least two different classes"),
        ({"training": [{"image": "a", "label": []}]}, "list of 0, 1 and null"),
        (
            {"training": [{"image": "a", "label": "m.png"}], "task": "multi_label"},
            r"a list of 0, 1 and null .*'m\.png'",
        ),
        ({"training": [{"image": "a", "label": 1}], "task": "multi_label"}, r"one a finding \(multi_label\); found 1"),
        ({"training": [{"image": "a", "label": [1]}], "task": "multi_class"}, r"a class index, .*; found \[1\]"),
        ({"training": [{"image": "a", "label": None}], "task": "multi_class"}, "a class index, .*; found None"),
        ({"training": [{"image": "a", "label": True}], "task": "multi_class"}, "a class index, .*; found True"),
        (
            {"training": [{"image": "a", "label": [1], "unlabelled": ["Mass"]}], "task": "multi_label"},
            r"\[0\]: 'unlabelled' is for segmentation, .* null in 'label'",
        ),
    ],
)
def test_wrong_keys_and_types(content: Any, sentence: str) -> None:
    assert any(re.search(sentence, problem) for problem in schema_problems(content))


def test_valid_kinds_of_labels_pass() -> None:
    training = [{"image": "a", "label": label} for label in ("b", 0, 7, [0, 1, 1])] + [{"image": ["a", "b"]}]
    assert list(schema_problems({"training": training, "modality": {"0": "CT"}})) == []
    training = [{"image": "a", "label": [0, None, 1]}, {"image": "b", "label": [None] * 3}, {"image": "c"}]
    assert list(schema_problems({"training": training, "task": "multi_label", "class_names": ["a", "b", "c"]})) == []
    assert (
        list(schema_problems({"training": [{"image": "a", "label": [0]}], "task": "multi_label", "class_names": ["a"]}))
        == []
    )
    assert list(schema_problems({"training": [{"image": "a", "label": 1}], "task": "multi_class"})) == []


def test_masks_and_grades_pass() -> None:
    masks = {
        "class_names": ["background", "a", "b"],
        "mask_kind": "classes",
        "training": [{"image": "a", "label": "b"}],
    }
    assert not list(schema_problems(masks))
    assert not list(schema_problems({**masks, "class_names": ["background", "a"], "mask_kind": "instance"}))
    assert not list(schema_problems({"training": [], "mask_kind": "binary"}))
    assert not list(
        schema_problems({"training": [], "ordered": True, "task": "multi_class", "class_names": ["a", "b"]})
    )


def test_labels_have_the_size_of_the_class_names() -> None:
    findings = whole(task="multi_label", training=[{"image": "a", "label": [0, None]}])
    assert consistency_problems(findings) == []
    assert consistency_problems(findings, ["Mass", "Edema"]) == []
    sentence = "training[0]: 'label' has 2 values, and there are 3 class_names; give each finding one"
    assert consistency_problems(findings, ["a", "b", "c"]) == [sentence]
    assert consistency_problems({**findings, "class_names": ["a", "b", "c"]}) == [sentence]
    classes = whole(
        task="multi_class", test=[{"image": "a", "label": 2}, {"image": "b", "label": 1}], class_names=["a", "b"]
    )
    assert consistency_problems(classes) == ["test[0]: 'label' is 2, and the 2 class_names have the indices 0 to 1"]
    # Without a task an index may count a background that the names leave out.
    assert consistency_problems({key: value for key, value in classes.items() if key != "task"}) == []


def test_other_class_names_are_one_problem() -> None:
    # Each label was a problem of its own, and the sentence told of "420 more like this".
    names = ["a", "b"]
    training = [{"image": f"{number}", "label": [0, None]} for number in range(9)]
    findings = whole(task="multi_label", class_names=names, training=training)
    (problem,) = consistency_problems(findings, ["a", "b", "c"])
    assert problem.startswith("class_names of the run ['a', 'b', 'c'] differ from those of the datalist ['a', 'b']")


def test_patients_that_are_not_named_are_their_cases() -> None:
    content = whole(training=[{"image": "x/a.png"}], test=[{"image": "y/b.png", "patient_id": "a"}])
    assert consistency_problems(content) == [
        "patient a is in two lists, training and test; keep every patient in one list"
    ]


def test_patients_whose_ids_differ_in_case_or_blanks_alone() -> None:
    training = [{"image": "a", "patient_id": "P1"}, {"image": "b", "patient_id": "p1"}, {"image": "c"}]
    content = whole(training=training, test=[{"image": "d", "patient_id": "P 1 "}, {"image": "e", "patient_id": "P11"}])
    assert alike_patients(content) == [
        "patients 'P1' (training), 'p1' (training), 'P 1 ' (test) are taken for different ones; if they are one, "
        "spell them alike, or they cross the lists"
    ]
    assert alike_patients(whole(training=training)) == []


def test_sequences_and_conventions_may_stand_at_the_top_or_in_an_item() -> None:
    item = {"image": ["a", "b"], "sequences": ["T1w", "T1-Gd"], "label_convention": {"1": "oedema", "2": "tumour core"}}
    assert list(schema_problems({"training": [item], "sequences": ["flair"], "label_convention": "msd"})) == []


def test_a_patient_in_two_lists_is_named_with_both() -> None:
    content = whole(
        training=[{"image": "a", "patient_id": "p7"}],
        test=[{"image": "b", "patient_id": "p7"}, {"image": "c", "patient_id": "p7"}],
    )
    assert consistency_problems(content) == [
        "patient p7 is in two lists, training and test; keep every patient in one list"
    ]


@pytest.mark.parametrize("section", ["training", "test"])
def test_an_image_listed_twice(section: str) -> None:
    content = whole(training=[{"image": "img/a.nii", "patient_id": "p"}])
    content[section] = [*content[section], {"image": "img/../img/a.nii", "patient_id": "p"}]
    assert any("img/a.nii is listed twice (also in training)" in problem for problem in consistency_problems(content))


@pytest.mark.parametrize("key", ["image", "label"])
@pytest.mark.parametrize("path", ["../secret.nii.gz", "img/../../secret.nii.gz"])
def test_a_path_that_climbs_out(key: str, path: str) -> None:
    problems = consistency_problems(whole(training=[{"image": "a.nii.gz", key: path}]))
    assert problems == [
        f"training[0]: the relative path {path} climbs out of the data folder; use a path inside it or an absolute path"
    ]


def test_harmless_paths_pass() -> None:
    content = whole(training=[{"image": path} for path in ("..a.nii", "/abs/../b.nii", "x/../c.nii", "./d.nii")])
    assert consistency_problems(content) == []


@pytest.mark.parametrize("name", ["splen", "background"])
def test_unlabelled_must_be_a_foreground_class(name: str) -> None:
    content = whole(training=[{"image": "a", "unlabelled": [name]}])
    assert consistency_problems(content) == []
    assert f"unlabelled class '{name}'" in consistency_problems(content, NAMES)[0]


def test_parity_lets_validation_be_the_test_list_but_never_training() -> None:
    same = [{"image": "a", "patient_id": "p"}]
    assert consistency_problems(whole(validation=same, test=same))
    assert consistency_problems(whole(validation=same, test=same, parity=True)) == []
    assert consistency_problems(whole(training=same, test=same, parity=True))
    names = case_names(whole(validation=same, test=same, parity=True))
    assert names["validation"] == names["test"] == ["a"]


@given(st.lists(st.from_regex(r"[ab]{0,2}/[ab]{1,2}(_[12])?\.nii\.gz", fullmatch=True), unique=True, max_size=12))
def test_case_names_are_unique(files: list[str]) -> None:
    names = case_names(whole(training=[{"image": file} for file in files]))["training"]
    assert len(set(names)) == len(files)


def test_file_stem() -> None:
    assert [file_stem(name) for name in ("x/a.nii.gz", "a.nii", "a.b.png", "a")] == ["a", "a", "a.b", "a"]

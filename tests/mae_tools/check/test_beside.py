from pathlib import Path

import numpy as np
import pytest
from bundle_runtime.data.verify_volumes import Expected
from head_files import REGION_NAMES, SEQUENCES, draw, head, head_list
from mae_tools.check.beside import compare_looks, compare_sequences, compare_values, unlearnable
from mae_tools.check.case import inspect_item
from mae_tools.check.case_report import CaseReport
from mae_tools.check.command import check
from nifti_files import datalist, label, pair


def test_spacing_and_orientation_far_from_the_rest(tmp_path: Path) -> None:
    cases = [pair(tmp_path, case, image={"seed": seed}) for seed, case in enumerate("abcdefghij")]
    odd = np.diag([-2.0, 2, 9, 1])
    cases.append(pair(tmp_path, "odd", image={"affine": odd, "seed": 99}, affine=odd))
    result = check(datalist(tmp_path, training=cases))
    messages = [problem["message"] for problem in result["problems"]]
    assert len(messages) == 2
    assert "has spacing 2 x 2 x 9 mm, far from the list's median 2 x 2 x 3 mm" in messages[0]
    assert "is stored as LAS, most others as RAS" in messages[1]


def test_a_class_that_no_training_label_shows(tmp_path: Path) -> None:
    path = datalist(tmp_path, training=[pair(tmp_path, data=label(1))])
    assert check(path)["problems"][0]["message"].startswith("class 'spleen' cannot be learnt: it occurs in none")


def test_a_region_that_no_training_label_shows(tmp_path: Path) -> None:
    codes = draw()[1]
    entries = [head(tmp_path, "p0", codes=np.where(codes == 3, 2, codes)), head(tmp_path, "p1", seed=1)]
    path = head_list(tmp_path, training=entries[:1], test=entries[1:])
    told = check(path)["problems"]
    assert [entry["message"] for entry in told] == [
        "class 'ET' cannot be learnt: it occurs in none of the 1 training label(s)"
    ]
    assert check(head_list(tmp_path, training=entries))["problems"] == []


def test_a_region_that_the_training_labels_cannot_tell(tmp_path: Path) -> None:
    codes = draw()[1]
    undivided = {"rule": '{"1": "oedema", "2": "tumour core"}', "codes": np.where(codes > 1, 4, codes)}
    item = {**head(tmp_path, **undivided), "unlabelled": ["ET", "NCR/NET"]}
    report = inspect_item(item, Expected(REGION_NAMES, channels=None), section="training")
    for names in (REGION_NAMES, None):
        (found,) = unlearnable([report], names)
        assert found.message.startswith("class 'ET' cannot be learnt: no training label can tell it")


def test_a_part_of_a_region_is_hidden(tmp_path: Path) -> None:
    """The enhancing tumour has a value, and yet another one may hold some of it."""
    table = '{"1": "non-enhancing core", "2": "oedema", "3": "tumour core", "4": "enhancing tumour"}'
    codes = draw()[1]
    item = {**head(tmp_path, rule=table, codes=np.where(codes == 2, 4, codes)), "unlabelled": ["ET", "NCR/NET"]}
    report = inspect_item(item, Expected(REGION_NAMES, channels=None), section="training")
    assert report.tissues is not None
    assert report.tissues["enhancing tumour"] > 0
    assert [problem.message.split()[1] for problem in unlearnable([report], REGION_NAMES)] == ["'ET'"]


@pytest.mark.parametrize(
    ("change", "modality", "said"),
    [(1024.0, "CT", True), (0.0, "CT", False), (1024.0, None, True), (1024.0, "MRI", False)],
)
def test_values_in_another_unit(change: float, modality: str | None, said: bool) -> None:
    reports = [CaseReport("training", str(number), f"{number}.nii") for number in range(5)]
    for report, shift in zip(reports, [0, 10, -10, 5, change], strict=True):
        values = [-1000 + shift, -800 + shift, 300 + shift]
        report.facts = {"image": {"spacing": [1, 1, 1], "values": {"image": values}, "zeros": {"image": 0.0}}}
    compare_values(reports, modality)
    assert [bool(report.problems) for report in reports] == [False] * 4 + [said]
    assert not said or "Hounsfield" in reports[4].problems[0].message


def test_scans_without_a_unit_are_not_compared_where_no_modality_is_stated() -> None:
    reports = [CaseReport("training", str(number), f"{number}.nii") for number in range(5)]
    for report, high in zip(reports, [500.0, 600.0, 550.0, 520.0, 9000.0], strict=True):
        report.facts = {"image": {"spacing": [1, 1, 1], "values": {"image": [0, 90, high]}, "zeros": {"image": 0.4}}}
    compare_values(reports, None)
    assert not any(report.problems for report in reports)
    compare_values(reports, "PT")
    assert [bool(report.problems) for report in reports] == [False] * 4 + [True]


def test_lists_without_sequence_names_are_left_alone() -> None:
    reports = [CaseReport("training", str(number), "a.nii") for number in range(3)]
    reports[0].sequences = ["t1"]
    compare_sequences(reports)
    assert not any(report.problems for report in reports)


@pytest.mark.parametrize(("real", "read_as", "wrong"), [("msd", "brats2023", 3), ("brats2023", "msd", 3)])
def test_msd_and_brats2023_exchanged(tmp_path: Path, real: str, read_as: str, wrong: int) -> None:
    """Both use 1, 2, 3 with 3 the enhancing tumour: only where oedema and core lie tells them apart."""
    items = [head(tmp_path, f"p{number}", rule=real, seed=number) for number in range(wrong)]
    expected = Expected(REGION_NAMES, sequences=SEQUENCES)
    right = [inspect_item(item, expected) for item in items]
    assert compare_looks(right) == []
    assert not any(report.problems for report in right)
    reports = [inspect_item({**item, "label_convention": read_as}, expected) for item in items]
    told = compare_looks(reports)  # the enhancing tumour is bright either way
    assert [len(report.problems) for report in reports] == [1] * wrong
    assert len(told) == 1
    assert told[0].level == "warning"
    assert f"in 3 of 3 labels read as {read_as} (0 background" in told[0].message
    assert "label_convention right?" in told[0].message


def test_one_odd_tumour_among_many_is_no_wrong_convention_of_the_list(tmp_path: Path) -> None:
    items = [head(tmp_path, f"p{number}", rule="msd", seed=number) for number in range(3)]
    codes = np.array([0, 2, 1, 3], np.uint8)[draw(3)[1]]
    items.append(head(tmp_path, "p3", rule="msd", seed=3, codes=codes))
    reports = [inspect_item(item, Expected(REGION_NAMES, channels=None)) for item in items]
    assert sum((report.core_outside or 0) > 0 for report in reports) == 1
    assert compare_looks(reports) == []
    assert [len(report.problems) for report in reports] == [0, 0, 0, 1]
    (problem,) = reports[3].problems
    assert (problem.level, problem.case) == ("warning", "p3")
    assert "read as msd (0 background, 1 oedema" in problem.message
    assert "has the non-enhancing core around the oedema, not inside it (+" in problem.message


def test_a_real_head_read_by_the_wrong_convention_is_named_beside_a_right_one(real_data: Path) -> None:
    """Two cases, one wrong: no majority of the list, so only the case can tell."""
    items = []
    for case, rule in (("BraTS2021_00006", "brats2018"), ("BRATS2012_HG0015", "brats2018")):
        files = sorted((real_data / "brain_mri" / "brats4mod" / case).glob("*.nii.gz"))
        found = {file.name.rpartition("_")[2].removesuffix(".nii.gz"): str(file) for file in files}
        label = found.pop("seg")
        items.append(
            {
                "image": list(found.values()),
                "sequences": list(found),
                "label": label,
                "label_convention": rule,
                "case": case,
                "file": next(iter(found.values())),
            }
        )
    reports = [inspect_item(item, Expected(REGION_NAMES, sequences=SEQUENCES)) for item in items]
    compare_looks(reports)
    told = [[problem for problem in report.problems if "around the oedema" in problem.message] for report in reports]
    assert [len(found) for found in told] == [0, 1]

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from bundle_runtime.data.verify_volumes import Expected
from head_files import FLIPS, SEQUENCES, draw, head, picture
from hypothesis import given, settings
from hypothesis import strategies as st
from mae_tools.check.case import inspect_item
from mae_tools.check.case_report import CaseReport
from mae_tools.check.flips import compare_flips, flips_against_the_rest
from mae_tools.demo_data.abdomen import abdomen_case


def files(folder: Path) -> list[str]:
    return sorted(map(str, folder.glob("*.nii.gz")))


def pictures_of(paths: list[str]) -> list[np.ndarray]:
    images = [nib.load(path) for path in paths]
    return [picture(np.asarray(image.dataobj), image.affine) for image in images]


@pytest.fixture(scope="module")
def heads() -> list[np.ndarray]:
    return [picture(draw(seed)[0][SEQUENCES[seed % 4]]) for seed in range(8)]


@pytest.fixture(scope="module")
def abdomens() -> list[np.ndarray]:
    found = []
    for number in range(6):
        image = abdomen_case(0, number, (48, 40, 36))[0]
        found.append(picture(np.asarray(image.dataobj), image.affine))
    return found


@pytest.mark.parametrize("fixture", ["heads", "abdomens"])
def test_no_false_alarm_on_generated_data(fixture: str, request: pytest.FixtureRequest) -> None:
    good = request.getfixturevalue(fixture)
    assert not any(flips_against_the_rest(good))
    for start in range(len(good) - 3):
        assert not any(flips_against_the_rest(good[start : start + 4]))


@pytest.mark.parametrize("axes", FLIPS)
def test_a_flipped_head_is_found(heads: list[np.ndarray], axes: tuple[int, ...]) -> None:
    for index in range(len(heads)):
        found = flips_against_the_rest([np.flip(one, axes) if at == index else one for at, one in enumerate(heads)])
        assert [at for at, flips in enumerate(found) if flips] == ([] if axes == (0,) else [index])
        if axes != (0,):  # left-right alone cannot be seen in a head, and with other axes not told
            assert axes in found[index]


@pytest.mark.parametrize("axes", [axes for axes in FLIPS if 2 in axes])
def test_an_abdomen_on_its_head_is_found(abdomens: list[np.ndarray], axes: tuple[int, ...]) -> None:
    for index in range(len(abdomens)):
        found = flips_against_the_rest([np.flip(one, axes) if at == index else one for at, one in enumerate(abdomens)])
        assert [at for at, flips in enumerate(found) if flips] == [index]
        assert axes in found[index]


def test_large_tumours_on_either_side_are_no_flip() -> None:
    found = []
    x, y, z = np.ogrid[:32, :36, :30]
    for seed in range(8):
        volume = draw(seed, tumour=False)[0]["flair"]
        side = 9 if seed % 2 else 22
        volume[((x - side) ** 2 + (y - 18) ** 2 + (z - 17) ** 2 < 9**2) & (volume > 0)] = 400
        found.append(picture(volume))
    assert not any(flips_against_the_rest(found))


def test_nearly_half_of_a_list_can_be_flipped(heads: list[np.ndarray]) -> None:
    found = flips_against_the_rest([np.flip(one, (0, 1)) if at in (0, 3, 6) else one for at, one in enumerate(heads)])
    assert [bool(flips) for flips in found] == [at in (0, 3, 6) for at in range(len(heads))]


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(0, 7), min_size=8, max_size=8))
def test_turning_the_whole_list_changes_nothing_but_the_view(heads: list[np.ndarray], turns: list[int]) -> None:
    """Only what differs within a list counts: flipping all of its cases alike gives the same verdicts."""
    ways = [(), *FLIPS]
    mixed = [np.flip(one, ways[turn]) for one, turn in zip(heads, turns, strict=True)]
    found = flips_against_the_rest(mixed)
    assert flips_against_the_rest([np.flip(one, (0, 1, 2)) for one in mixed]) == found


def reports(folder: Path, wrong: dict[int, str], count: int = 5) -> list[CaseReport]:
    """Heads stored as LPS; those in `wrong` carry an affine that says something else."""
    found = []
    for number in range(count):
        item = head(folder, f"p{number}", seed=number, axes="LPS")
        if number in wrong:
            for file in item["image"]:
                image = nib.load(file)
                signs = [1 if axis in "RAS" else -1 for axis in wrong[number]]
                nib.save(nib.Nifti1Image(np.asarray(image.dataobj), np.diag([2.0, 2, 3, 1]) * [*signs, 1]), file)
        del item["label"]
        found.append(inspect_item(item, Expected(sequences=SEQUENCES)))
    return found


def test_an_affine_with_wrong_signs_is_named_in_its_case(tmp_path: Path) -> None:
    """MSD's brain images lie as LPS and carry a RAS-like affine (Project-MONAI/model-zoo issue 766)."""
    found = reports(tmp_path, {2: "RAS"})
    assert compare_flips(found) == []
    told = [problem for report in found for problem in report.problems]
    assert [problem.case for problem in told] == ["p2"]
    sentence = (
        "looks flipped front-back (and perhaps left-right: the two sides are too alike to tell) against the other"
    )
    assert sentence in told[0].message
    assert told[0].level == "warning"


def test_two_kinds_of_affine_in_one_list_are_said_to_be_that(tmp_path: Path) -> None:
    found = reports(tmp_path, {1: "RAS", 3: "RAS"})
    problems = compare_flips(found)
    assert len(problems) == 1
    assert problems[0].message.startswith("all 2 cases stored as RAS look flipped front-back (and perhaps left-right")
    assert "those stored as LPS do not" in problems[0].message
    assert [bool(report.problems) for report in found] == [False, True, False, True, False]


def test_a_head_upside_down(tmp_path: Path) -> None:
    found = reports(tmp_path, {0: "LPI"})
    compare_flips(found)
    assert "looks flipped head-foot" in found[0].problems[0].message


def test_three_cases_are_no_list(tmp_path: Path) -> None:
    found = reports(tmp_path, {0: "RAS"}, count=3)
    assert compare_flips(found) == []
    assert not any(report.problems for report in found)


def test_real_hippocampi_and_abdomens_raise_no_alarm(real_data: Path) -> None:
    hippocampi = pictures_of(files(real_data / "brain_mri" / "msd_hippocampus" / "images"))
    assert len(hippocampi) == 130
    assert not any(flips_against_the_rest(hippocampi))
    assert not any(flips_against_the_rest(pictures_of(sorted(map(str, (real_data / "abdomen_ct").glob("*_image*"))))))
    for axes in FLIPS:
        turned = [np.flip(one, axes) if at < 40 else one for at, one in enumerate(hippocampi)]
        assert flips_against_the_rest(turned) == [[axes]] * 40 + [[]] * 90


def test_real_heads_flipped_front_to_back_or_on_the_head(real_data: Path) -> None:
    root = real_data / "brain_mri"
    names = ("brats4mod/BraTS2021_00006/BraTS2021_00006_", "brats4mod/BRATS2012_HG0015/HG0015_")
    stems = [*names, "tcga4mod_machine_labels/TCGA-FG-6692/"]
    by_head = [pictures_of([str(root / f"{stem}{name}.nii.gz") for name in SEQUENCES]) for stem in stems]
    assert not any(flips_against_the_rest([one for own in by_head for one in own]))
    for own in range(3):
        rest = [one for other in range(3) if other != own for one in by_head[other]]
        for one in by_head[own]:
            for axes in FLIPS[1:]:
                found = flips_against_the_rest([np.flip(one, axes), *rest])
                assert axes in found[0]
                assert not any(found[1:])

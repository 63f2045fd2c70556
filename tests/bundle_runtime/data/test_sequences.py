import pytest
from bundle_runtime.data.sequences import file_stem, group_by_case, sequence_name, sequence_names, split_stem
from custom_components.errors import InputError
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("spelled", "name"),
    [
        ("FLAIR", "flair"),
        ("t2f", "flair"),
        ("T2-FLAIR", "flair"),
        ("T1w", "t1"),
        ("t1n", "t1"),
        ("T1Gd", "t1ce"),
        ("t1c", "t1ce"),
        ("T1-CE", "t1ce"),
        ("t1_ce", "t1ce"),
        ("T2w", "t2"),
        ("SWI", "swi"),
        ("adc", "adc"),
    ],
)
def test_spellings_of_the_public_data_sets(spelled: str, name: str) -> None:
    assert sequence_name(spelled) == name


def test_msds_and_brats_names_mean_the_same() -> None:
    """MSD orders FLAIR, T1w, T1Gd, T2w; BraTS 2023 names t2f, t1n, t1c, t2w."""
    assert sequence_names(["FLAIR", "T1w", "T1gd", "T2w"]) == sequence_names(["t2f", "t1n", "t1c", "t2w"])


@given(st.text())
def test_a_name_is_its_own_name(text: str) -> None:
    assert sequence_name(sequence_name(text)) == sequence_name(text)


@pytest.mark.parametrize("wrong", [[], ["t1", "T1w"], ["flair", "t2f"], ["t1", "--"]])
def test_names_that_are_not_different(wrong: list[str]) -> None:
    with pytest.raises(InputError, match=r"here is \[.*expected different sequence names, such as flair, t1, t1ce, t2"):
        sequence_names(wrong, "here")


@pytest.mark.parametrize(
    ("file", "case", "ending"),
    [
        ("BraTS-GLI-00005-000-t1c.nii.gz", "BraTS-GLI-00005-000", "t1c"),
        ("BraTS2021_00006_flair.nii.gz", "BraTS2021_00006", "flair"),
        ("Brats18_2013_2_1_seg.nii.gz", "Brats18_2013_2_1", "seg"),
        ("x/TCGA-FG-6692/t1ce.nii.gz", "TCGA-FG-6692", "t1ce"),
        ("x/P7/seg.nii", "P7", "seg"),
        ("UPENN_00001_11-T1GD.nii.gz", "UPENN_00001_11", "T1GD"),
        ("P_1_T1.NII.gz", "P_1", "T1"),
        ("P0_T2_FLAIR.nii.gz", "P0", "T2_FLAIR"),
        ("x/P7/T2_FLAIR.nii.gz", "P7", "T2_FLAIR"),
        ("P1_T1-CE.nii", "P1", "T1-CE"),
        ("P1_T1_Gd.nii", "P1", "T1_Gd"),
        ("P1_t1_ce.nii", "P1", "t1_ce"),
        ("P1-t1-post.nii", "P1", "t1-post"),
        ("sub-01_ce-gd_T1w.nii.gz", "sub-01", "T1w_ce"),
        ("sub-01_ses-2_ce-gadolinium_run-1_T1w.nii", "sub-01_ses-2_run-1", "T1w_ce"),
        ("sub-01_ce-gd_FLAIR.nii.gz", "sub-01", "FLAIR"),
        ("x/sub-01/ce-gd_T1w.nii.gz", "sub-01", "T1w_ce"),
        ("ce-001_T1w.nii.gz", "ce-001", "T1w"),
        ("P1_T1_T2.nii", "P1_T1", "T2"),
        ("P1_flair_seg.nii", "P1_flair", "seg"),
    ],
)
def test_case_and_ending_of_a_file(file: str, case: str, ending: str) -> None:
    assert split_stem(file) == (case, ending)


@pytest.mark.parametrize("file", ["P_T2_FLAIR.nii", "P_T1-CE.nii", "P_T1_Gd.nii", "P_t1_ce.nii", "P_ce-gd_T1w.nii"])
def test_endings_of_two_parts_name_their_sequence(file: str) -> None:
    assert list(group_by_case([file])["P"]) == ["flair" if "FLAIR" in file else "t1ce"]


@pytest.mark.parametrize(
    "file",
    ["BRATS_001.nii.gz", "p1_adc.nii.gz", "scan.nii", "seg_machine.nii.gz", "p1-mask.nii", "P_T_1.nii", "P_t1_.nii"],
)
def test_files_that_are_no_sequence(file: str) -> None:
    assert split_stem(file) is None


@given(
    st.from_regex(r"[A-Za-z0-9]{1,6}(_[A-Za-z0-9]{1,4}){0,3}", fullmatch=True).filter(
        lambda case: case != "other" and not case.lower().endswith("t2")  # T2_flair is the FLAIR of the folder
    ),
    st.lists(st.sampled_from(["t1", "t1ce", "t2", "flair", "seg"]), unique=True, min_size=1),
    st.randoms(use_true_random=False),
)
def test_files_are_grouped_by_case_in_any_order(case: str, endings: list[str], random: object) -> None:
    files = [f"data/{case}_{ending}.nii.gz" for ending in endings] + ["data/other_t1.nii.gz", "data/notes.nii.gz"]
    random.shuffle(files)  # type: ignore[attr-defined]
    cases = group_by_case(files)
    assert cases[case] == {ending: f"data/{case}_{ending}.nii.gz" for ending in endings}
    assert set(cases) == {case, "other"}


def test_two_files_of_one_sequence_in_a_case() -> None:
    with pytest.raises(InputError, match=r"p_t1ce\.nii: p_t1c\.nii already is the t1ce of case p; keep one"):
        group_by_case(["p_t1ce.nii", "p_t1c.nii"])


def test_file_stem() -> None:
    assert [file_stem(name) for name in ("x/a.nii.gz", "a.nii", "a.b.png", "a")] == ["a", "a", "a.b", "a"]

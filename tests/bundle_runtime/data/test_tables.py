from pathlib import Path

import pytest
from bundle_runtime.data.tables import Table, nearest, of_cases, plain, read_patients
from custom_components.errors import InputError
from hypothesis import given
from hypothesis import strategies as st


def table(folder: Path, text: str) -> Table:
    path = folder / "t.csv"
    path.write_text(text, encoding="utf-8")
    return Table(path)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_any_usual_separator_with_blank_rows_and_a_mark_of_excel(tmp_path: Path, separator: str) -> None:
    text = "\ufefffile,Finding Labels,age\n a.png , x ,\n,,\n\nb.png,y,3\n".replace(",", separator)
    content = table(tmp_path, text)
    assert content.columns == ["file", "Finding Labels", "age"]
    assert [(row.line, row.cells["file"], row.cells["age"]) for row in content.rows] == [
        (2, "a.png", ""),
        (5, "b.png", "3"),
    ]
    assert content.rows[0].cells["Finding Labels"] == "x"


def test_cells_with_separators_short_rows_and_empty_cells_at_the_end(tmp_path: Path) -> None:
    content = table(tmp_path, 'a,b,c,\n"1,5",2\n3,4,5,,,\n')
    assert [list(row.cells.values()) for row in content.rows] == [["1,5", "2", "", ""], ["3", "4", "5", ""]]
    with pytest.raises(InputError, match=r"t\.csv: line 2 has 3 cells, and there are 2 columns; put quotes"):
        table(tmp_path, "a,b\n1,2,3\n")


def test_columns_by_name(tmp_path: Path) -> None:
    content = table(tmp_path, "Image Index,Finding Labels,patientid,Patient ID\na,b,c,d\n")
    assert content.column("image_index") == "Image Index"
    assert content.column("Patient ID") == "Patient ID"
    assert content.column("Labels", "finding_labels") == "Finding Labels"
    with pytest.raises(
        InputError, match=r"label_columns names 'Finding Label', and there is .*; did you mean 'Finding Labels'\?"
    ):
        content.column("Finding Label", key="label_columns")
    with pytest.raises(InputError, match="no column 'xyz'; known are Image Index, Finding Labels"):
        content.column("xyz")
    with pytest.raises(InputError, match="2 columns are called patientid and Patient ID"):
        content.column("PATIENT_ID")


def test_files_that_are_no_table(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the table has no rows"):
        table(tmp_path, "a,b\n")
    with pytest.raises(InputError, match="the table has no rows"):
        table(tmp_path, "")
    with pytest.raises(InputError, match=r"none\.csv: the table cannot be read"):
        Table(tmp_path / "none.csv")
    (tmp_path / "t.csv").write_bytes(b"a,b\n\xff\xfe,1\n")
    with pytest.raises(InputError, match=r"the table is not in UTF-8; save it again in UTF-8 .*'CSV UTF-8'"):
        Table(tmp_path / "t.csv")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("first", ["", "sep=;\n", "sep=;\r\n", '"sep=;"\n'])
def test_what_spreadsheets_write(tmp_path: Path, encoding: str, first: str) -> None:
    """The line that names the separator counts, also against commas in the columns, and is no row."""
    path = tmp_path / "t.csv"
    path.write_bytes(f'{first}"file";"a, b, c";x\r\n a.png ;1,5;NA\r\n'.encode(encoding))
    content = Table(path)
    assert content.columns == ["file", "a, b, c", "x"]
    assert content.rows[0].cells == {"file": "a.png", "a, b, c": "1,5", "x": ""}
    assert content.rows[0].line == 2 + bool(first)


@pytest.mark.parametrize("word", ["NA", "nan", "NaN", "null", "N/A", "#N/A", "<NA>", " na "])
def test_words_for_missing_values(tmp_path: Path, word: str) -> None:
    assert table(tmp_path, f"a,b\n1,{word}\n").rows[0].cells == {"a": "1", "b": ""}
    assert table(tmp_path, "a,b\n1,none\n").rows[0].cells["b"] == "none", "a word, as the lowest of some grades"


def test_one_column_against_another(tmp_path: Path) -> None:
    content = table(tmp_path, "Case,Patient ID\nc0, P1\nc1,P1 \nc1,P1\nc2,NA\n,P3\n")
    assert content.mapping(("case",), ("patient_id",)) == {"c0": "P1", "c1": "P1"}
    with pytest.raises(InputError, match=r"case c0 has the patient_id P1 in line 2 and P9 in line 3; keep one of them"):
        table(tmp_path, "case,patient_id\nc0,P1\nc0,P9\n").mapping(("case",), ("patient_id",))


def test_cases_go_by_path_name_or_stem_where_that_is_one_case_only() -> None:
    found = {"images/a.png": "P1", "b.nii.gz": "P2", "c": "P3", "x\\d.png": "P4"}
    wanted = ["a", "b", "deep/c.png", "d.png"]
    assert of_cases(found, wanted, "t.csv", "patient") == dict(zip(wanted, found.values(), strict=True))
    with pytest.raises(InputError, match=r"t\.csv: names no patient for one/c\.png, two/c\.png; add a row"):
        of_cases(found, ["one/c.png", "two/c.png"], "t.csv", "patient")
    dotted = {"1.2.7": "P1", "1.2.8": "P2"}
    assert of_cases(dotted, list(dotted), "t.csv", "patient") == dotted


def test_two_spellings_of_a_case_say_the_same() -> None:
    for cases in (["c0"], ["c0.nii.gz"], ["c0", "c1"], ["in/c0.nii.gz"]):
        with pytest.raises(InputError, match=r"t\.csv: names P1 and P9 as patient of .*c0.*; keep one of them"):
            of_cases({"c0": "P1", "c0.nii.gz": "P9", "c1": "P2"}, cases, "t.csv", "patient")
    assert of_cases({"c0": "P1", "c0.nii.gz": "P1"}, ["c0"], "t.csv", "patient") == {"c0": "P1"}
    found = {"a/x.png": "P1", "b/x.png": "P2", "1.2.7": "P3", "1.2.8": "P4"}
    assert of_cases(found, ["b/x.png", "1.2.7"], "t.csv", "patient") == {"b/x.png": "P2", "1.2.7": "P3"}


def test_patients(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("\ufeffcase\tpatient_id\nc0\t P1\nc1.nii.gz\tP2\n", encoding="utf-8")
    assert read_patients(tmp_path / "t.tsv", ["c0", "c1"]) == {"c0": "P1", "c1": "P2"}
    assert read_patients(None, ["c0"]) == {}
    with pytest.raises(InputError, match="names no patient for c9; add a row for each case"):
        read_patients(tmp_path / "t.tsv", ["c0", "c9"])
    (tmp_path / "t.csv").write_text("case,who\nc0,P1\n")
    with pytest.raises(InputError, match="there is no column 'patient_id'; known are case, who"):
        read_patients(tmp_path / "t.csv", ["c0"])


def test_names() -> None:
    assert plain("Pleural_Thickening") == plain("pleural thickening ") == "pleuralthickening"
    assert nearest("Pleural Thickning", ["Pleural_Thickening", "Mass"]) == "did you mean 'Pleural_Thickening'?"
    assert nearest("xxx", ["Edema", "Mass"]) == "known are Edema, Mass."


@given(
    st.lists(
        st.text(
            st.characters(codec="utf-8", exclude_characters="\x00", exclude_categories=["Cc", "Zs", "Zl", "Zp", "Cs"]),
            min_size=1,
        ),
        min_size=1,
        max_size=4,
        unique=True,
    ),
    st.data(),
)
def test_what_is_written_with_quotes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, columns: list[str], data: st.DataObject
) -> None:
    cells = [data.draw(st.sampled_from(["", "x", "a,b", 'say "x"', "1;2"])) for _ in columns]
    cells[0] = "first"
    lines = [",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in (columns, cells)]
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    content = Table(path)
    assert content.columns == columns
    assert [row.cells for row in content.rows] == [dict(zip(columns, cells, strict=True))]

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from custom_components.errors import InputError
from mae_tools.sources.csv_table import CsvTable, is_blank, name_list, nearest, plain


def table(folder: Path, text: str) -> CsvTable:
    path = folder / "t.csv"
    path.write_text(text, encoding="utf-8")
    return CsvTable(path)


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
        InputError,
        match=r"label_columns names 'Finding Label', and there is .*; did you mean 'Finding Labels'\?",
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
        CsvTable(tmp_path / "none.csv")
    (tmp_path / "t.csv").write_bytes(b"a,b\n\xff\xfe,1\n")
    with pytest.raises(InputError, match=r"the table is not in UTF-8; save it again in UTF-8 .*'CSV UTF-8'"):
        CsvTable(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text("a,b\n1,2\n", encoding="utf-16")
    with pytest.raises(InputError, match=r"is not in UTF-8 but in UTF-16 \('Unicode text'\); save it again in UTF-8"):
        CsvTable(tmp_path / "t.csv")


@pytest.mark.parametrize(
    "text", ["[Effusion, Pleural Thickening]", "Effusion,Pleural Thickening", "('Effusion', 'Pleural Thickening')"]
)
def test_lists_of_names(text: str) -> None:
    assert name_list(text, "label_columns") == ["Effusion", "Pleural Thickening"]
    assert name_list(("Effusion", 3), "label_columns") == ["Effusion", "3"]


@pytest.mark.parametrize("names", ["", "[]", "a,,b", "a,a", []])
def test_lists_that_are_none(names: str | list[str]) -> None:
    with pytest.raises(InputError, match=r"label_columns is .*expected different names"):
        name_list(names, "label_columns")


def test_names_and_blanks() -> None:
    assert plain("Pleural_Thickening") == plain("pleural thickening ") == "pleuralthickening"
    assert all(map(is_blank, ("", "NaN", "NA", "null"))) and not any(map(is_blank, ("0", "-1", "none")))  # noqa: PT018
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
    if max(map(lines[0].count, ";\t")) > lines[0].count(","):
        return  # the first line looks like a table with another separator
    content = CsvTable(path)
    assert content.columns == columns
    assert [row.cells for row in content.rows] == [dict(zip(columns, cells, strict=True))]

from pathlib import Path

import pytest
from custom_components.errors import InputError
from mae_tools.sources.earlier_split import read_sections


def owners(*patients: str) -> dict[str, str]:
    return {f"s{number}": patient for number, patient in enumerate(patients)}


def test_sections(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("slide,section\ns0,train\ns1.svs, test\n")
    assert read_sections(table, owners("a", "b")) == {"s0": "training", "s1": "test"}


@pytest.mark.parametrize(
    ("text", "patients", "match"),
    [
        ("slide,section\ns0,training\ns0,test\n", "a", "slide s0 has the section training in line 2 and test"),
        ("slide,section\ns0,training\ns1,test\n", "aa", "patient a is in two lists"),
        ("slide,section\ns0,training\n", "ab", "no section for s1"),
        ("slide,section\ns0,trian\n", "a", "has the section 'trian'"),
        ("a,b\n1,2\n", "a", "there is no column 'case'; known are a, b"),
    ],
)
def test_sections_that_are_wrong(tmp_path: Path, text: str, patients: str, match: str) -> None:
    table = tmp_path / "t.csv"
    table.write_text(text)
    with pytest.raises(InputError, match=match):
        read_sections(table, owners(*patients))

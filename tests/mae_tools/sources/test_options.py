import pytest
from custom_components.errors import InputError
from mae_tools.sources.options import fitting, name_list, read_table


@pytest.mark.parametrize(
    "text", ["[Effusion, Pleural Thickening]", "Effusion,Pleural Thickening", "('Effusion', 'Pleural Thickening')"]
)
def test_lists_of_names(text: str) -> None:
    assert name_list(text, "label_columns") == ["Effusion", "Pleural Thickening"]
    assert name_list(("Effusion", 3), "label_columns") == ["Effusion", "3"]


def test_brackets_of_names_stay() -> None:
    for text in ("Edema (mild), Mass (large)", "[Edema (mild), Mass (large)]", "(Edema (mild), Mass (large))"):
        assert name_list(text, "label_columns") == ["Edema (mild)", "Mass (large)"]
    assert name_list("(A) mild, mass (B)", "class_names") == ["(A) mild", "mass (B)"]
    assert name_list("*[12]", "exclude") == ["*[12]"]


@pytest.mark.parametrize("names", ["", "[]", "a,,b", "a,a", []])
def test_lists_that_are_none(names: str | list[str]) -> None:
    with pytest.raises(InputError, match=r"label_columns is .*expected different names"):
        name_list(names, "label_columns")


def test_tables_and_patterns() -> None:
    assert read_table(None, "key", "{}") == {}
    assert read_table('{"a": 1}', "key", "{}") == {"a": 1} == read_table({"a": 1}, "key", "{}")
    with pytest.raises(InputError, match=r'key is not valid JSON .*expected e\.g\. \{"a": 1\}'):
        read_table("{", "key", '{"a": 1}')
    with pytest.raises(InputError, match="key is 3, expected a table by case pattern"):
        read_table("3", "key", "{}")
    assert fitting("a*", ["ab", "b", "ac"], "key") == ["ab", "ac"]
    with pytest.raises(InputError, match=r"key: the pattern 'z' fits none of the cases ab, b"):
        fitting("z", ["ab", "b"], "key")

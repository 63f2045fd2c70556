"""Every number of a summary is in a table, whatever it is nested in."""

from typing import Any

from bundle_runtime.pages.score_tables import score_tables, shown
from hypothesis import given
from hypothesis import strategies as st
from page_reader import numbers

NAMES = st.text("abcd ", min_size=1, max_size=6)
NUMBERS = st.none() | st.integers(0, 10**6) | st.floats(-1e6, 1e6)
ESTIMATES = st.fixed_dictionaries(
    {"mean": NUMBERS, "low": NUMBERS, "high": NUMBERS}, optional={"n": st.integers(0, 99)}
)
VALUES = st.recursive(
    NUMBERS | ESTIMATES | st.lists(NUMBERS, max_size=3), lambda v: st.dictionaries(NAMES, v, max_size=3)
)
SUMMARIES = st.dictionaries(NAMES, VALUES, max_size=4)


@given(SUMMARIES)
def test_no_number_is_left_out(summary: dict[str, Any]) -> None:
    first, others = score_tables(summary)
    cells = " ".join(cell for table in [*first, *others] for row in table.rows for cell in row)
    words = cells.replace("[", " ").replace("]", " ").replace(",", " ").split()
    assert not [number for number in numbers(summary) if shown(number) not in words]


def test_estimates_come_first_and_a_line_is_a_class() -> None:
    estimate = {"mean": 0.81234, "low": 0.7, "high": 0.9, "n": 7}
    classes = {"liver": {"dice": estimate, "volume_ml": {"label": 1500.26}}, "spleen": {"dice": estimate, "missed": 2}}
    summary = {"header": {"seed": 9}, "notes": ["n"], "policy": "p", "organs": classes, "parity": False}
    (scores,), (counts, single) = score_tables(summary)
    assert (scores.caption, scores.head) == ("structures", ["", "Dice"])
    assert scores.rows == [[name, "0.8123 [0.7, 0.9], n 7"] for name in classes]
    assert (counts.head, counts.rows) == (
        ["", "volume mL: label", "missed"],
        [["liver", "1500", ""], ["spleen", "", "2"]],
    )
    assert single.rows == [["parity", "False"]]


def test_many_scores_of_few_names_are_lines() -> None:
    scores = {f"s{number}": {"mean": number, "low": 0, "high": 9} for number in range(7)}
    ((table,), _) = score_tables({"classes": {"gland": scores, "b": {"s6": scores["s6"]}}})
    assert table.head == ["", "gland", "b"]
    assert table.rows == [[f"s{n}", f"{n} [0, 9]", "6 [0, 9]" if n == 6 else ""] for n in range(7)]


def test_keys_in_words() -> None:
    single = {"interval_95": [0.25, 1.0], "sensitivity_95": 0.5, "macro_f1": 0.75, "score": 1, "score_objects": 2}
    ((table,), _) = score_tables(single)
    said = ("95 % interval", "sensitivity at 95 % specificity", "macro F1", "FROC score", "score objects")
    assert tuple(row[0] for row in table.rows) == said


def test_a_confusion_matrix_names_its_classes() -> None:
    _, (table,) = score_tables({"class_names": ["a", "b"], "confusion_matrix": [[3, 1], [0, 5]]})
    assert table.head == ["", "predicted a", "predicted b"]
    assert table.rows == [["labelled a", "3", "1"], ["labelled b", "0", "5"]]

"""Findings: kept, printed, refused; what a fingerprint takes of a file."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset

from bundle_runtime.data.datalist import fingerprint
from bundle_runtime.data.verify import EDGE_BYTES, Found, ItemInputError, Problem, edges, refuse, show, unusable
from custom_components.errors import InputError


def finding(*levels: str) -> Found:
    found = Found("training", "p1", "a.png", voxels={0: 3}, edges={"a.png": "3 ab"}, facts={"seen": ["", "RGB", 2, 3]})
    for number, level in enumerate(levels):
        found.add(level, "a.png", f"is wrong {number}")
    return found


def test_what_was_found_survives_a_cache() -> None:
    found = finding("warning", "error")
    assert Found.of_plain(found.to_plain()) == found
    assert found.failed
    assert not finding("warning").failed


def test_errors_are_counted_and_the_first_is_told() -> None:
    refuse(finding("warning").problems)
    with pytest.raises(InputError, match=r"^list\.json: 2 error\(s\) in .*, the first: a\.png: is wrong 1 \(see x\)"):
        refuse(finding("warning", "error", "error").problems, "see x", Path("list.json"))


def test_errors_are_printed_before_warnings_and_not_all(capsys: pytest.CaptureFixture[str]) -> None:
    show(finding(*["warning"] * 50, "error").problems)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "error: a.png: is wrong 50"
    assert len(lines) == 41
    assert lines[-1] == "note: 11 more, python -m mae_tools check shows them all"


class Broken(Dataset):
    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> object:
        raise unusable(finding("error", "error"))


def test_an_unusable_item_names_its_first_error_also_from_a_worker() -> None:
    error = unusable(finding("warning", "error", "error"))
    assert str(error) == "a.png: is wrong 1 (and 1 more); python -m mae_tools check shows all such files."
    assert [problem.message for problem in error.problems] == ["is wrong 1", "is wrong 2"]
    with pytest.raises(ItemInputError, match=r"InputError: a\.png: is wrong 0 \(and 1 more\)"):
        list(DataLoader(Broken(), num_workers=1))


@given(st.integers(0, 3 * EDGE_BYTES))
def test_the_ends_of_a_content_are_those_of_its_file(size: int) -> None:
    import tempfile

    content = bytes(number % 251 for number in range(size))

    class Read:
        def edges(self, file: str) -> str:
            return edges(content)

    with tempfile.NamedTemporaryFile(suffix=".png") as stream:
        stream.write(content)
        stream.flush()
        item = {"image": stream.name, "unlabelled": []}
        assert fingerprint([item]) == fingerprint([item], Read())


def test_problems_without_a_file_are_sentences_of_their_own() -> None:
    assert str(Problem("training", "", "", "error", "every label is the same")) == "every label is the same"


def test_what_was_found_holds_no_numbers_of_numpy() -> None:
    """`torch.load` of plain values refuses them, and every start would fill the cache anew."""
    found = Found("training", "a", "a.nii.gz")
    found.facts["image"] = {"low": np.float64(0.5), np.int64(1): np.arange(2), "sizes": (np.int16(3),)}
    plain = found.to_plain()["facts"]["image"]
    assert plain == {"low": 0.5, 1: [0, 1], "sizes": [3]}
    assert {type(value) for value in (*plain, plain["low"], *plain[1], *plain["sizes"])} == {str, int, float}

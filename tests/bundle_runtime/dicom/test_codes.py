"""Codes of segments against pydicom's dictionary of the standard, and classes found by name, pattern or code."""

from pathlib import Path

import pytest
from bundle_runtime.dicom.codes import class_of, code_of, read_codes
from custom_components.errors import InputError
from custom_components.tumour_labels import TISSUES
from mae_tools.sources.btcv import CLASS_NAMES
from pydicom.sr.codedict import codes

STANDARD = {
    "spleen": codes.SCT.Spleen,
    "right kidney": codes.SCT.Kidney,
    "left kidney": codes.SCT.Kidney,
    "gallbladder": codes.SCT.Gallbladder,
    "oesophagus": codes.SCT.Esophagus,
    "liver": codes.SCT.Liver,
    "stomach": codes.SCT.Stomach,
    "aorta": codes.SCT.Aorta,
    "inferior vena cava": codes.SCT.InferiorVenaCava,
    "portal and splenic vein": codes.SCT.PortalVein,
    "pancreas": codes.SCT.Pancreas,
    "right adrenal gland": codes.SCT.AdrenalGland,
    "left adrenal gland": codes.SCT.AdrenalGland,
    "oedema": codes.cid7159.Edema,
    "non-enhancing core": codes.cid7159.NonEnhancingLesion,
    "enhancing tumour": codes.cid7159.EnhancingLesion,
    "tumour core": codes.SCT.Neoplasm,
    "whole tumour": codes.SCT.Neoplasm,
}


def test_all_classes_of_the_bundles_have_the_code_of_the_standard() -> None:
    assert set(STANDARD) == {*CLASS_NAMES[1:], *TISSUES[1:]}
    for name, standard in STANDARD.items():
        found = code_of(name)
        assert found.type[:2] == (standard.value, standard.scheme_designator)
        side = codes.SCT.Right if "right" in name else codes.SCT.Left if "left" in name else None
        assert (found.side and found.side[0]) == (side and side.value)


def test_what_is_no_snomed_code_has_none_in_the_standard() -> None:
    """Of the classes of the bundles these are lesions by their enhancement."""
    others = {name for name in STANDARD if code_of(name).type[1] != "SCT"}
    assert others == {"non-enhancing core", "enhancing tumour"}
    assert {code_of(name).type[1] for name in others} == {"NCIt"}
    assert not [name for name in codes.SCT.dir("enhanc") if "lesion" in name.lower()]


@pytest.mark.parametrize(
    ("names", "code", "expected"),
    [
        (["Kidney, Right"], None, "right kidney"),
        (["kidney_left"], None, "left kidney"),
        (["Esophagus"], None, "oesophagus"),
        (["GTV 2"], None, "liver"),
        (["Segment 1", "spleen"], None, "spleen"),
        (["Segment 1"], ("64033007", "7771000"), "left kidney"),
        (["Segment 1"], ("64033007", ""), None),
        (["kidney"], None, None),
    ],
)
def test_a_class_is_found_by_name_pattern_or_code(
    names: list[str], code: tuple[str, str] | None, expected: str | None
) -> None:
    assert class_of(names, code, CLASS_NAMES, {"liver": ["gtv*"]}) == expected


def test_classes_of_long_names_and_of_one_code_are_told_apart() -> None:
    names = ["background", *(f"left upper lobe segment {number}" for number in range(4)), "small bowel"]
    values = [code_of(name).type[0] for name in names[1:]]
    assert len(set(values)) == 5
    assert max(map(len, values)) == 16
    assert values[4] == "SMALL_BOWEL"
    for name, value in zip(names[1:], values, strict=True):
        assert class_of(["Segment 1"], (value, ""), names, {}) == name
    neoplasm = (code_of("tumour core").type[0], "")
    assert class_of(["Segment 1"], neoplasm, ["background", "tumour core", "whole tumour"], {}) is None
    assert class_of(["Segment 1"], neoplasm, ["background", "tumour core"], {}) == "tumour core"


def test_own_codes_from_a_file_and_what_they_cannot_be(tmp_path: Path) -> None:
    path = tmp_path / "codes.yaml"
    path.write_text('liver: {type: ["1", SCT, Own], side: ["7771000", SCT, Left]}\n')
    own = read_codes(str(path))
    assert code_of("liver", own).type == ("1", "SCT", "Own")
    assert code_of("spleen", own) == code_of("spleen")
    assert read_codes(None) == {}
    for text, problem in (
        ("liver: {type: [1, 2]}", r"expected e\.g"),
        ("[", "cannot be read"),
        ("liver", r"expected e\.g"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=problem):
            read_codes(str(path))

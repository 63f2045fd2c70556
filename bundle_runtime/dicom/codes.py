"""What structures are called in DICOM: coded names for segments, and classes found again by name or code."""

import fnmatch
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import yaml
from custom_components.errors import InputError

_RIGHT, _LEFT = ("24028007", "SCT", "Right"), ("7771000", "SCT", "Left")
_ORGAN, _TISSUE = ("123037004", "SCT", "Anatomical Structure"), ("85756007", "SCT", "Tissue")
_ABNORMAL = ("49755003", "SCT", "Morphologically Abnormal Structure")
# By CID 7150, 7166 and 7159 of the standard's part 16; the portal vein stands for BTCV's portal and splenic vein. For
# lesions that enhance or do not these groups have no SNOMED code: the standard itself takes the NCI Thesaurus.
_TYPES = {
    "spleen": (_ORGAN, ("78961009", "SCT", "Spleen")),
    "kidney": (_ORGAN, ("64033007", "SCT", "Kidney")),
    "gallbladder": (_ORGAN, ("28231008", "SCT", "Gallbladder")),
    "oesophagus": (_ORGAN, ("32849002", "SCT", "Esophagus")),
    "liver": (_ORGAN, ("10200004", "SCT", "Liver")),
    "stomach": (_ORGAN, ("69695003", "SCT", "Stomach")),
    "aorta": (_ORGAN, ("15825003", "SCT", "Aorta")),
    "inferior vena cava": (_ORGAN, ("64131007", "SCT", "Inferior vena cava")),
    "portal and splenic vein": (_ORGAN, ("32764006", "SCT", "Portal vein")),
    "pancreas": (_ORGAN, ("15776009", "SCT", "Pancreas")),
    "adrenal gland": (_ORGAN, ("23451007", "SCT", "Adrenal gland")),
    "oedema": (_ABNORMAL, ("79654002", "SCT", "Edema")),
    "non-enhancing core": (_ABNORMAL, ("C81175", "NCIt", "Non-Enhancing Lesion")),
    "enhancing tumour": (_ABNORMAL, ("C113842", "NCIt", "Enhancing Lesion")),
    "tumour core": (_ABNORMAL, ("108369006", "SCT", "Neoplasm")),
    "whole tumour": (_ABNORMAL, ("108369006", "SCT", "Neoplasm")),
    "tumour": (_ABNORMAL, ("108369006", "SCT", "Neoplasm")),
}
_AMERICAN = {"esophagus": "oesophagus", "edema": "oedema", "tumor": "tumour", "adrenals": "adrenal gland"}

Triple = tuple[str, str, str]


class SegmentCode(NamedTuple):
    """Category, type and side of a segment; each is value, scheme and meaning."""

    category: Triple
    type: Triple
    side: Triple | None = None


def _words(name: str) -> frozenset[str]:
    """`Kidney, Right`, `kidney_right` and `right kidney` are the same words, in either spelling of English."""
    return frozenset(_AMERICAN.get(word, word) for word in re.findall(r"[^\W_]+", name.lower()))


_BY_WORDS = {_words(name): codes for name, codes in _TYPES.items()}


def code_of(name: str, own: Mapping[str, SegmentCode] | None = None, table_too: bool = True) -> SegmentCode:
    """The code of a class: one's own, that of the table of structures, or a tissue of that name in a private scheme."""
    if own is not None and name in own:
        return own[name]
    words = _words(name)
    side = _RIGHT if "right" in words else _LEFT if "left" in words else None
    known = _BY_WORDS.get(words - {"right", "left"})
    if known is None or not table_too:
        value = re.sub(r"\W+", "_", name).upper()
        if len(value) > 16:  # all that a code may have; long names often begin alike
            value = f"{value[:9]}_{hashlib.sha256(value.encode()).hexdigest()[:6].upper()}"
        return SegmentCode(_TISSUE, (value, "99MAE", name[:64]))
    return SegmentCode(*known, side)


def read_codes(given: str | Mapping[str, Mapping[str, Sequence[str]]] | None) -> dict[str, SegmentCode]:
    """One's own codes: `{spleen: {type: ["78961009", SCT, Spleen]}}`, also with category and side; or a file of it.

    Raises:
        InputError: neither, or a code that is not three texts.
    """
    table = given
    if isinstance(given, str):
        try:
            table = yaml.safe_load(Path(given).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise InputError(f"segment_codes {given}: cannot be read ({error}).") from error
    found = {}
    for name, parts in (table or {}).items() if isinstance(table, Mapping) or not table else [(str(table), None)]:
        codes = dict(parts) if isinstance(parts, Mapping) else {}
        fits = all(isinstance(code, list | tuple) and len(code) == 3 for code in codes.values())
        if "type" not in codes or not set(codes) <= {"category", "type", "side"} or not fits:
            example = '{"spleen": {"type": ["78961009", "SCT", "Spleen"]}}'
            raise InputError(f"segment_codes: {name} is {json.dumps(parts, default=str)}, expected e.g. {example}.")
        texts = {key: (str(code[0]), str(code[1]), str(code[2])) for key, code in codes.items()}
        found[str(name)] = SegmentCode(texts.get("category", _TISSUE), texts["type"], texts.get("side"))
    return found


def class_of(
    names: Sequence[str], code: tuple[str, str] | None, class_names: Sequence[str], aliases: Mapping[str, Sequence[str]]
) -> str | None:
    """The class that a structure is: by a pattern of its own, by its words, or by its type and side.

    Args:
        names: what the structure is called.
        code: values of its type and side ("" for none), where it is coded.
        class_names: background first.
        aliases: class -> patterns such as `GTV*`, in any case.
    """
    for name in names:
        for wanted, patterns in aliases.items():
            if any(fnmatch.fnmatch(name.lower(), pattern.lower()) for pattern in patterns):
                return wanted
    by_words = {_words(name): name for name in class_names[1:]}
    found = next((by_words[words] for words in map(_words, names) if words in by_words), None)
    if found is not None or code is None:
        return found
    known = {name: code_of(name) for name in class_names[1:]}
    fitting = [name for name, own in known.items() if (own.type[0], own.side[0] if own.side else "") == code]
    return fitting[0] if len(fitting) == 1 else None  # several tumour classes are all coded as a neoplasm

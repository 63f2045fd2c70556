"""What labels that tell tumour tissues need besides: classes that are regions, conventions that fit the whole list."""

from collections.abc import Sequence

from bundle_runtime.data.tissue_looks import INSIDE_OUT
from bundle_runtime.data.verify import Problem
from custom_components.errors import InputError
from custom_components.tumour_labels import REGIONS, TISSUES, region_table

from .case_report import CaseReport


def are_regions(class_names: Sequence[str]) -> bool:
    """Whether all classes but the background are tumour regions."""
    return all(name in REGIONS for name in class_names[1:])


def foreign_classes(class_names: Sequence[str]) -> list[Problem]:
    """Labels that tell tissues go with classes that are regions."""
    try:
        region_table(class_names)
    except InputError as error:
        return [Problem("datalist", "", "", "error", str(error).removesuffix("."))]
    return []


def named_in(conventions: Sequence[str]) -> list[tuple[int, str]]:
    """Code and name of the tissues that conventions, in words, give values to."""
    return [(code, name) for code, name in enumerate(TISSUES) if code and any(f" {name}" in it for it in conventions)]


def exchanged(reports: Sequence[CaseReport]) -> list[Problem]:
    """Warn of the conventions by which most labels have their core outside the oedema."""
    problems = []
    judged = [(report.convention, report.core_outside) for report in reports if report.core_outside is not None]
    for rule in dict.fromkeys(name for name, _ in judged):
        found = [value for name, value in judged if name == rule]
        wrong = sum(value > INSIDE_OUT for value in found)
        if wrong > 0.5 * len(found):
            text = (
                f"in {wrong} of {len(found)} labels read as {rule} the non-enhancing core lies around the oedema, not "
                "inside it; is label_convention right? (msd and brats2023 give the values 1 and 2 opposite meanings)"
            )
            problems.append(Problem("datalist", "", "", "warning", text))
    return problems

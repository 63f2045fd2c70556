"""The check of labelled pictures: what is found in files and labels, what is reported, what is remembered."""

import contextlib
import json
import re
from pathlib import Path
from typing import Any

import mae_tools.check.pictures as module
import numpy as np
import pytest
from bundle_runtime.data.datalist import items as items_of
from custom_components.errors import InputError
from mae_tools.check.command import check, kind_of
from picture_files import dicom, png, shades

NAMES = ["mass", "nodule"]


def entries(root: Path, prefix: str, labels: list[Any], seed: int = 0) -> list[dict[str, Any]]:
    """Pictures with these labels, each of a patient of its own."""
    return [
        {
            "image": str(png(root / f"{prefix}{number}.png", shades(seed=seed + number)).relative_to(root)),
            "label": label,
            "patient_id": f"{prefix}{number}",
        }
        for number, label in enumerate(labels)
    ]


def write(root: Path, task: str | None = "multi_label", **sections: list[dict[str, Any]]) -> Path:
    path = root / "datalist.json"
    path.write_text(json.dumps({"class_names": NAMES, **({"task": task} if task else {}), **sections}))
    return path


def good(root: Path) -> Path:
    training = entries(root, "a", [[0, 1], [1, 0], [1, 1], [0, None]])
    return write(root, training=training, test=entries(root, "t", [[0, 1], [1, 0], [0, 1]], seed=50))


def messages(root: Path, **options: Any) -> list[tuple[str, str]]:
    """Level and text of every problem of the datalist in a folder."""
    with contextlib.suppress(InputError):  # what it says is in the file
        check(root / "datalist.json", num_workers=0, **options)
    found = json.loads((root / "check" / "check.json").read_text())["problems"]
    return [(problem["level"], f"{Path(problem['file']).name}: {problem['message']}") for problem in found]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_good_list(tmp_path: Path, capsys: pytest.CaptureFixture[str], num_workers: int) -> None:
    result = check(good(tmp_path), num_workers=num_workers)
    assert [(problem["level"], problem["message"]) for problem in result["problems"]] == [
        ("warning", "class 'mass' has one image only in test")
    ]
    assert result == json.loads((tmp_path / "check" / "check.json").read_text())
    assert result["lists"]["training"]["labels"]["nodule"] == {"present": 2, "absent": 1, "unknown": 1}
    shown = capsys.readouterr()
    assert re.search(r"^training +4 +4 +0 +40x50 +8-bit grey 4$", shown.out, re.MULTILINE)
    assert re.search(r"^nodule +2 \(1 unknown\) +2$", shown.out, re.MULTILINE)
    page = (tmp_path / "check" / "check.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 7
    assert "http" not in page.replace("https://", "http")
    for caption in (
        "a0.png: nodule; 8-bit",
        "a1.png: mass; 8-bit",
        "a2.png: mass, nodule; 8-bit",
        "a3.png: no finding; ",
    ):
        assert caption in page


def test_no_more_thumbnails_than_a_page_can_bear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_THUMBNAILS", 3)
    check(good(tmp_path), num_workers=0)
    page = (tmp_path / "check" / "check.html").read_text()
    assert [name in page for name in ("a0.png", "a3.png", "t2.png")] == [True] * 3
    assert page.count("<img") == 3


def test_files(tmp_path: Path) -> None:
    (tmp_path / "dcm").mkdir()
    path = good(tmp_path)
    (tmp_path / "a0.png").write_bytes((tmp_path / "a0.png").read_bytes()[:200])
    (tmp_path / "a1.png").unlink()
    png(tmp_path / "a2.png", (shades(seed=9).astype(np.uint16) * 200))
    png(tmp_path / "t0.png", np.dstack([shades(channels=3), shades(seed=4)]))
    png(tmp_path / "t1.png", shades(20, 31, seed=5))
    content = json.loads(path.read_text())
    content["test"][2]["image"] = str(dicom(tmp_path / "dcm" / "x.dcm", shades(seed=8).astype(np.uint16)))
    path.write_text(json.dumps(content))
    found = messages(tmp_path)
    assert [text for level, text in found if level == "error"] == [
        next(text for _, text in found if text.startswith("a0.png: is truncated or damaged")),
        "a1.png: does not exist; correct the path or pass dataset_dir",
    ]
    warnings = " ".join(text for level, text in found if level == "warning")
    assert "a2.png: holds 16-bit grey and is converted to 8-bit grey or RGB, as 1 picture(s) of training" in warnings
    assert "t0.png: holds RGB with alpha and is converted" in warnings
    assert "t1.png: is only 20x31 pixels, smaller than 32, as 1 picture(s) of test" in warnings
    assert "x.dcm" not in warnings


def test_equal_pictures(tmp_path: Path) -> None:
    path = good(tmp_path)
    png(tmp_path / "a3.png", shades(seed=1), compress_level=0)  # stored otherwise, the same pixels
    text = f"a3.png: holds the same pixels as {tmp_path / 'a1.png'} in training, with another label; keep one: "
    assert ("warning", text) in [(level, said[: len(text)]) for level, said in messages(tmp_path)]
    png(tmp_path / "t2.png", shades(seed=2))
    with pytest.raises(InputError, match=r"1 error.*t2\.png: holds the same pixels as .*a2\.png in training"):
        check(path, num_workers=0)


def test_parity_lists_may_repeat_the_validation_list(tmp_path: Path) -> None:
    training = entries(tmp_path, "a", [[0, 1], [1, 0]])
    held, again = (entries(tmp_path, prefix, [[0, 1], [1, 0]], seed=9) for prefix in ("v", "w"))
    path = write(tmp_path, training=training, validation=held, test=again)
    assert any("same pixels" in text for _, text in messages(tmp_path))
    path.write_text(json.dumps({**json.loads(path.read_text()), "parity": True}))
    assert not any("same pixels" in text for _, text in messages(tmp_path))


@pytest.mark.parametrize(
    ("labels", "level", "message"),
    [
        ([[0, 0], [1, 0]], "warning", "class 'nodule' is constant: it occurs in no label in training, so it cannot be"),
        ([[0, 1], [1, 1]], "warning", "class 'nodule' is constant: it is present in every known label in training"),
        ([[0, None], [1, None]], "warning", "class 'nodule' has no known label in training"),
        ([[0, 1], [1, 0], [1, 0]], "warning", "class 'nodule' has one image only in training"),
        ([[0, 0], [0, 0]], "error", "every label in training is the same (no class present)"),
        ([[1, 0], [1, 0]], "error", "every label in training is the same (mass), so nothing can be learnt"),
    ],
)
def test_findings(tmp_path: Path, labels: list[Any], level: str, message: str) -> None:
    write(tmp_path, training=entries(tmp_path, "a", labels))
    found = messages(tmp_path)
    assert any(text.startswith(f": {message}") and kind == level for kind, text in found), found


def test_classes(tmp_path: Path) -> None:
    path = write(tmp_path, "multi_class", training=entries(tmp_path, "a", [0, 0]))
    with pytest.raises(InputError, match=r"every label in training is the same \(mass\)"):
        check(path, num_workers=0)
    path = write(tmp_path, "multi_class", training=entries(tmp_path, "a", [0, 0, 1, 1]))
    assert check(path, num_workers=0)["problems"] == []
    held = entries(tmp_path, "v", [1, 1], seed=9)
    path = write(tmp_path, "multi_class", training=entries(tmp_path, "a", [0, 0, 1, 1]), validation=held)
    found = [problem["message"] for problem in check(path, num_workers=0)["problems"]]
    assert found == ["class 'mass' is constant: it occurs in no label in validation, so it has no score there"]


def test_labels_that_do_not_fit_and_patients_in_two_lists(tmp_path: Path) -> None:
    training = entries(tmp_path, "a", [[0, 1], [1, 0], [1, 0, 1], [1, 1]])
    del training[3]["label"]
    write(
        tmp_path,
        training=training,
        test=[{**entry, "patient_id": "a0"} for entry in entries(tmp_path, "t", [[0, 1]], 9)],
    )
    found = [text for level, text in messages(tmp_path) if level == "error"]
    assert any("patient a0 is in two lists, training and test" in text for text in found)
    assert any("'label' has 3 values, and there are 2 class_names" in text for text in found)
    assert any(text.startswith("a2.png: its label is [1, 0, 1], expected a list of 2 values") for text in found)
    assert any(text.startswith("a3.png: has no label, as 1 of 4 items of training") for text in found)


@pytest.mark.parametrize(
    ("patients", "said"), [(("p", "p", "q"), True), (("p", "q", "r"), False), (("ANON", "ANON", "ANON"), False)]
)
def test_patients_of_dicom_headers_who_cross_the_lists(tmp_path: Path, patients: tuple[str, ...], said: bool) -> None:
    for number, patient in enumerate(patients):
        dicom(
            tmp_path / f"{number}.dcm", np.rot90(shades(), number).astype(np.uint16) * (number + 9), PatientID=patient
        )
    lists = {part: [{"image": f"{number}.dcm"}] for number, part in enumerate(("training", "validation", "test"))}
    found = [text for level, text in messages(write(tmp_path, None, **lists).parent) if "by its DICOM header" in text]
    first = f"1.dcm: is by its DICOM header of the same patient as {tmp_path / '0.dcm'} in training"
    assert [each.partition("; where")[0] for each in found] == [f"{first}; so 1 patient(s) cross the lists"] * said


def test_the_common_check_recognises_pictures(tmp_path: Path) -> None:
    assert check(good(tmp_path), num_workers=0)["task"] == "multi_label"
    path = write(tmp_path, None, training=[{"image": "a0.png"}])
    assert check(path, out=tmp_path / "other", num_workers=0)["lists"]["training"]["labels"] is None
    (tmp_path / "1.2.840.1").write_bytes(dicom(tmp_path / "x.dcm", shades().astype(np.uint16)).read_bytes())
    for image, expected in (("1.2.840.1", True), ("scan.nii.gz", False), ("none", True)):
        content = {"training": [], "validation": [{"image": image}], "test": []}
        assert (kind_of(content, path) is module) == expected
    assert kind_of({"training": [], "validation": [], "test": []}, path) is not module
    with pytest.raises(InputError, match="no items in validation"):
        check(path, sections="validation", num_workers=0)


def prepared(root: Path) -> list[dict[str, Any]]:
    return items_of(good(root), "training")


def test_thousands_of_problems_are_not_all_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, training=[{"image": f"{number}.png", "label": [number % 2, 1]} for number in range(60)])
    with pytest.raises(InputError, match="60 error"):
        check(path, num_workers=0)
    shown = capsys.readouterr().err
    assert shown.count("does not exist") == 40
    assert "note: 21 more, see check.html or check.json" in shown

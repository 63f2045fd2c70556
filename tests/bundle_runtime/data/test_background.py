import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from bundle_runtime.data.background import as_in_training
from bundle_runtime.data.datalist import fingerprint, items
from bundle_runtime.data.load_volumes import LoadVolumesd
from bundle_runtime.data.record import Record, background_treatment
from bundle_runtime.data.schema import check_background
from custom_components.errors import InputError
from head_files import REGION_NAMES, SEQUENCES, head, head_list
from nifti_files import problems, save

WANTED: dict[str, Any] = {"class_names": REGION_NAMES, "channels": 4, "sequences": SEQUENCES}


def read(item: dict[str, Any], **expected: Any) -> np.ndarray:
    return LoadVolumesd("image", **{**WANTED, **expected})(item)["image"].numpy()


def shifted(item: dict[str, Any], by: float = -3.6) -> dict[str, Any]:
    """The files again, z-scored as some centres deliver them: another background in each."""
    for number, file in enumerate(item["image"]):
        image = nib.load(file)
        values = np.asarray(image.dataobj, np.float32) / 37 + by - number
        Path(file).unlink()
        save(Path(file), values.astype(np.float32), image.affine)
    return item


@pytest.mark.parametrize("stacked", [False, True])
def test_corners_bring_back_a_background_of_0(tmp_path: Path, stacked: bool) -> None:
    item = head(tmp_path, "a", stacked=stacked)
    before = read(item)
    if stacked:
        item["image"] = [item["image"]]
    item = shifted(item)
    item["image"] = item["image"][0] if stacked else item["image"]
    assert [problem.level for problem in problems(item, **WANTED)] == ["warning"]
    item["background"] = "corners"
    assert problems(item, **WANTED) == []
    after = read(item)
    assert np.array_equal(after == 0, before == 0)
    assert read({key: value for key, value in item.items() if key != "background"}, background="corners").shape == (
        after.shape
    )
    moved = before[0] / 37 - 3.6  # z-scores inside the brain are what they were
    assert np.allclose(after[0][before[0] != 0], moved[before[0] != 0], atol=1e-4)


def test_a_value_that_is_stated(tmp_path: Path) -> None:
    item = shifted(head(tmp_path, "a", sequences=("flair",)))
    wanted = {**WANTED, "sequences": ("flair",)}
    assert problems({**item, "background": -3.6}, **wanted) == []
    (problem,) = [one for one in problems({**item, "background": -5}, **wanted) if one.level == "error"]
    assert "has no voxel of the background value -5 (its first corner is -3.6)" in problem.message


def test_a_mask_of_the_brain_in_another_order_of_axes(tmp_path: Path) -> None:
    item = head(tmp_path, "a")
    before = read(item)
    brain = nib.load(item["image"][0])
    mask = nib.Nifti1Image((np.asarray(brain.dataobj) != 0).astype(np.uint8) * 255, brain.affine)
    turned = mask.as_reoriented(np.array([[1, -1], [0, 1], [2, -1]]))
    item["brain_mask"] = str(save(tmp_path / "a_brain.nii.gz", np.asarray(turned.dataobj), turned.affine))
    for file in item["image"]:  # a skull around it
        image = nib.load(file)
        values = np.asarray(image.dataobj).copy()
        values[values == 0] = 77
        save(Path(file), values, image.affine)
    assert problems(item, **WANTED) == []
    assert np.array_equal(read(item), before)


def test_what_cannot_be_done_is_said(tmp_path: Path) -> None:
    item = head(tmp_path, "a", sequences=("flair",))
    wanted = {**WANTED, "sequences": ("flair",)}
    noise = np.random.default_rng(0).normal(size=nib.load(item["image"][0]).shape).astype(np.float32)
    save(Path(item["image"][0]), noise)
    (problem,) = problems({**item, "background": "corners"}, **wanted)[:1]
    assert (problem.level, "has no background of one value" in problem.message) == ("error", True)
    small = save(tmp_path / "small.nii.gz", np.ones((4, 4, 4), np.uint8))
    empty = save(tmp_path / "empty.nii.gz", np.zeros(noise.shape, np.uint8))
    away = nib.load(item["image"][0]).affine
    away[0, 3] += 6  # of voxels of 2 mm
    moved = save(tmp_path / "moved.nii.gz", np.ones(noise.shape, np.uint8), away)
    for mask, sentence in (
        (small, "has shape (4, 4, 4) but a_"),
        (empty, "without any"),
        (moved, "lies up to 3 voxels away from a_"),
    ):
        found = problems({**item, "brain_mask": str(mask)}, **wanted)
        assert any(sentence in problem.message and problem.level == "error" for problem in found)
    for value in ("corner", True, float("nan"), [0]):
        with pytest.raises(InputError, match="expected the value of the background"):
            check_background(value)


def test_a_datalist_says_it_and_the_record_of_a_training_too(tmp_path: Path) -> None:
    item = head(tmp_path, "a")
    mask = save(tmp_path / "mask.nii.gz", np.ones((4, 4, 4), np.uint8))
    path = head_list(tmp_path, training=[{**item, "brain_mask": "mask.nii.gz"}])
    plain = items(path, "training")
    assert plain[0]["brain_mask"] == str(mask)
    path.write_text(json.dumps({**json.loads(path.read_text()), "background": "corners"}))
    assert items(path, "training")[0]["background"] == "corners"
    assert fingerprint(items(path, "training")) != fingerprint(plain)
    save(mask, np.zeros((4, 4, 4), np.uint8))
    assert fingerprint(items(path, "training")) != fingerprint(plain)
    record = Record.of_plain({
        "class_names": [], "shown": {}, "unlearnt": {}, "regions": True, "items": 1, "patients": 1, "absolute": False,
        "images": {}, "about": {"background": "corners"},
    })  # fmt: skip
    assert LoadVolumesd("image", record=record, **WANTED).expected.background == "corners"
    assert LoadVolumesd("image", record=record, **WANTED, background=0.5).expected.background == 0.5


@pytest.mark.parametrize(
    ("said", "kept", "text"),
    [
        ([{}, {}], {}, ""),
        ([{"background": "corners"}] * 2, {"background": "corners"}, "the background of heads (corners) becomes 0"),
        ([{"background": -3.6}], {"background": -3.6}, "the background of heads (-3.6) becomes 0"),
        ([{"background": 0}] * 2, {"background": 0}, "the background of heads (0) becomes 0"),
        (
            [{"background": "corners"}, {"background": -3.6}, {}, {"background": 1, "brain_mask": "m.nii"}],
            {"backgrounds": {"corners": 1, "-3.6": 1, "as it is": 1, "by brain_mask": 1}},
            "(corners 1, -3.6 1, as it is 1, by brain_mask 1), so here none does that heads do not say",
        ),
        ([{"brain_mask": "m.nii"}] * 3, {"backgrounds": {"by brain_mask": 3}}, "(by brain_mask 3), so here none does"),
    ],
)
def test_a_record_keeps_what_each_item_said(
    said: list[dict[str, Any]], kept: dict[str, Any], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert background_treatment(said) == kept
    assert as_in_training(kept) == kept.get("background")
    assert text in capsys.readouterr().out or not text

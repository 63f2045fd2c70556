"""What a training learnt from: made of what was found, kept as JSON, compared with new images."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from bundle_runtime.data.flips import SIDE, packed
from bundle_runtime.data.record import Images, Record, learn_from, unseen_classes
from bundle_runtime.data.verify import Found
from bundle_runtime.data.verify_pictures import Seen, look_of
from bundle_runtime.weights.load import read_record
from custom_components.errors import InputError
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

ORGANS = ("background", "spleen", "liver", "aorta")
REGIONS = ("background", "TC", "WT", "ET")


def case(voxels: dict[int, int] | None, unlabelled: tuple[str, ...] = (), **more: Any) -> Found:
    return Found("training", "a", "a.nii", voxels=voxels, unlabelled=list(unlabelled), **more)


class Data:
    """What `learn_from` asks of a data set of masks."""

    def __init__(self, *found: Found) -> None:
        self.found, self.data = list(found), [{"patient_id": str(number // 2)} for number in range(len(found))]
        self.facts = [entry.facts for entry in found]

    def __len__(self) -> int:
        return len(self.data)


class Labels(Data):
    """The same of class indices or findings."""

    def __init__(self, labels: Any) -> None:
        super().__init__(*[case(None) for _ in labels])
        self.labels = np.array(labels)


def test_organs_that_are_nowhere_or_declared_unlabelled() -> None:
    found = [case({0: 9, 2: 4}, ("spleen",)), case({0: 9, 1: 3, 2: 1}, ("spleen",)), case(None)]
    reasons = unseen_classes(found, ORGANS)
    assert list(reasons) == ["spleen", "aorta"]
    assert "declares it unlabelled" in reasons["spleen"]
    assert "none of the 2 training label(s)" in reasons["aorta"]
    assert unseen_classes([case(None)], ORGANS) == {}


@given(st.lists(st.dictionaries(st.integers(0, 3), st.integers(1, 9)), min_size=1, max_size=5))
def test_what_is_learnt_is_what_some_label_shows(labels: list[dict[int, int]]) -> None:
    network, loss = nn.Conv1d(1, 4, 1), nn.Identity()
    shown = {value for label in labels for value in label if value}
    try:
        record = learn_from(Data(*map(case, labels)), ORGANS, network, loss, allow_unlearnt=True)
    except InputError:
        assert not shown
        return
    assert {ORGANS.index(name) for name in record.unlearnt} == {1, 2, 3} - shown
    assert record.shown["liver"]["voxels"] == sum(label.get(2, 0) for label in labels)
    assert record.channels == record.indices == loss.unlearnt
    probabilities = network(torch.randn(1, 1, 2)).softmax(1)[0]
    assert [index for index in range(4) if not probabilities[index].sum()] == list(record.indices)
    assert Record.of_plain(json.loads(json.dumps(record.to_plain()))) == record


def test_regions_count_from_the_first_channel() -> None:
    hidden = case({0: 9, 3: 4, 4: 2}, ("ET",), tissues={"tumour core": 4, "enhancing tumour": 2})
    loss = nn.Identity()
    with pytest.raises(InputError, match=r"ET .no training label can tell it.*--allow_unlearnt true"):
        learn_from(Data(hidden), REGIONS, nn.Identity(), loss)
    record = learn_from(Data(hidden), REGIONS, nn.Identity(), loss, allow_unlearnt=True)
    assert (record.indices, record.channels, record.regions) == ((3,), (2,), True)
    assert record.shown["TC"]["voxels"] == 6


@pytest.mark.parametrize(
    ("labels", "unlearnt"),
    [
        ([0, 2, 0], [1]),
        ([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], [1]),
        ([[1.0, np.nan, 0.0], [0.0, np.nan, 1.0]], [1]),
        ([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]], [1]),
        ([0, 1, 2], []),
    ],
)
def test_classes_and_findings(labels: Any, unlearnt: list[int]) -> None:
    names = ["a", "b", "c"]
    if unlearnt:
        with pytest.raises(InputError, match=r"cannot be learnt: b \(it"):
            learn_from(Labels(labels), names, nn.Identity(), nn.Identity())
    record = learn_from(Labels(labels), names, nn.Identity(), nn.Identity(), allow_unlearnt=True)
    assert list(record.indices) == unlearnt


@pytest.mark.parametrize("labels", [[0, 0], [[0.0, 0.0], [0.0, 0.0]]])
def test_the_switch_does_not_let_nothing_be_learnt(labels: Any) -> None:
    with pytest.raises(InputError, match="something must be left"):
        learn_from(Labels(labels), ["a", "b"], nn.Identity(), nn.Identity(), allow_unlearnt=True)


def image(shift: float = 0, scale: float = 1, spacing: tuple[float, ...] = (1, 1, 3), zeros: float = 0.5) -> dict:
    values = [(value + shift) * scale for value in (-1000.0, -500.0, 400.0)]
    return {"image": {"spacing": list(spacing), "values": {"ct": values}, "zeros": {"ct": zeros}}}


SEEN = Images.of([image(10), image(-10, spacing=(0.8, 0.8, 5)), image()])


@given(st.floats(-200, 200), st.floats(0.5, 2.0))
def test_images_like_those_of_the_training(shift: float, scale: float) -> None:
    assert SEEN.differences(image(shift, scale), absolute=True) == []


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (image(1024), "holds values from 24 to 1424"),
        (image(-1024), "Hounsfield"),
        (image(scale=0.001), "holds values from -1 to 0.4"),
        (image(scale=10), "Hounsfield"),
        (image(spacing=(1, 1, 11)), "1 x 1 x 11"),
        (image(spacing=(0.2, 1, 3)), "far from those of the training"),
    ],
)
def test_images_unlike_them(facts: dict, said: str) -> None:
    (found,) = SEEN.differences(facts, absolute=True)
    assert said in found
    if "holds" in found:  # values without a unit are not compared
        assert SEEN.differences(facts, absolute=False) == []


def test_a_background_that_the_training_did_not_have() -> None:
    unstripped = Images.of([image(zeros=0.0), image(zeros=0.01)])
    assert "background of exactly 0" in unstripped.differences(image(zeros=0.6), False)[0]
    assert unstripped.differences(image(zeros=0.02), False) == SEEN.differences(image(zeros=0.6), False) == []


def test_pictures() -> None:
    seen = Images.of([{"picture": Seen("", "RGB", 300, 400).facts()}, {"picture": Seen("", "RGB", 500, 500).facts()}])
    assert seen.differences({"picture": Seen("", "RGB", 900, 700).facts()}, False) == []
    assert "is grey" in seen.differences({"picture": Seen("", "8-bit grey", 300, 300).facts()}, False)[0]
    assert "100 pixels" in seen.differences({"picture": Seen("", "RGB", 100, 900).facts()}, False)[0]


def body(*axes: int) -> str:
    """A coarse picture with another look from each side, flipped."""
    x, y, z = np.ogrid[:SIDE, :SIDE, :SIDE]
    values = np.exp(-((x - 8) ** 2 + (y - 4) ** 2 + (z - 13) ** 2) / 60) + (z > 12) * 0.4 + (y > 14) * 0.3
    values = np.flip(values, axes) - values.mean()
    return packed(values / np.linalg.norm(values))


def lying(axes: str, picture: str) -> dict:
    facts = image()
    return {"image": {**facts["image"], "axes": axes, "body": picture}}


def test_volumes_that_lie_otherwise() -> None:
    seen = Images.of([lying("RAS", body()) for _ in range(5)])
    assert seen.differences(lying("RAS", body()), False) == []
    (stored,) = seen.differences(lying("LPS", body()), False)
    assert stored == "is stored as LPS, those of the training as RAS"
    (flipped,) = seen.differences(lying("RAS", body(1)), False)
    assert flipped.startswith("looks flipped front-back")
    assert "against those of the training" in flipped
    mixed = Images.of([lying(axes, body()) for axes in ("RAS", "RAS", "LPS", "LAS")])
    assert mixed.differences(lying("LPS", body()), False) == []  # the training had both
    few = Images.of([lying("RAS", body())] * 2)
    assert few.body == ""
    assert Record.of_plain(json.loads(json.dumps(record_with(seen).to_plain()))).images == seen
    assert "body" not in record_with(seen).in_short()["images"]


def record_with(images: Images) -> Record:
    return Record(["background", "liver"], {}, {}, False, 5, 5, False, images, {})


def test_pictures_of_another_look() -> None:
    """Plain texts on the way: what a sidecar keeps, and what a picture showed."""
    rows = np.linspace(0, 200, 40).round().astype(np.uint8)[None, :, None].repeat(30, axis=2)
    facts = [{"picture": {"side": 30, "grey": True, "look": look_of(rows + shift)}} for shift in range(6)]
    seen = Images(**json.loads(json.dumps(record_with(Images.of(facts)).to_plain()["images"])))
    assert seen.differences(facts[3], False) == []
    exchanged, dark = ({"picture": {"side": 30, "grey": True, "look": look_of(p)}} for p in (255 - rows, rows // 16))
    assert "are black and white exchanged" in " ".join(seen.differences(exchanged, False))
    (said,) = seen.differences(dark, False)
    assert "holds grey levels from 0 to 12" in said
    assert Images().differences(dark, False) == []  # weights of before


def test_a_record_is_read_from_the_sidecar(tmp_path: Any) -> None:
    assert read_record(tmp_path / "model.pt") is None
    data = Data(case({1: 3, 2: 1, 3: 1}))
    data.data[0]["background"] = "corners"
    record = learn_from(data, ORGANS, nn.Identity(), nn.Identity(), about={"max_epochs": 3})
    (tmp_path / "model.json").write_text(json.dumps({"training": record.to_plain()}))
    assert read_record(tmp_path / "model.pt") == record
    (tmp_path / "model.json").write_text(json.dumps({"training": {"shown": {}}}))
    with pytest.raises(InputError, match=r"model.json: 'training' is no record"):
        read_record(tmp_path / "model.pt")

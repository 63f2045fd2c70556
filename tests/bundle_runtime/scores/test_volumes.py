"""Volumes in ml: in the report of an evaluation, and as the table of an inference."""

import csv
import json
import math
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from bundle_runtime.scores.segmentation import score_case
from bundle_runtime.scores.segmentation_report import SegmentationReport
from bundle_runtime.scores.volumes import VolumeTable
from custom_components.errors import InputError
from custom_components.tumour_labels import region_masks
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import DataLoader, Dataset, MetaTensor
from monai.engines import SupervisedEvaluator

ORGANS = ["background", "liver", "right kidney"]
REGIONS = ["background", "TC", "WT", "ET"]


def blocks(*edges: int, shape: tuple[int, ...] = (12, 12, 12)) -> np.ndarray:
    """Class 1, 2, ... as cubes of these edges along the first axis; 0 leaves one out."""
    volume = np.zeros(shape, np.uint8)
    for index, edge in enumerate(edges, start=1):
        volume[6 * (index - 1) : 6 * (index - 1) + edge, :edge, :edge] = index
    return volume


# --- report ---------------------------------------------------------------------------------------------------------


def test_report_holds_mean_volumes_and_their_differences(tmp_path: Path) -> None:
    report = SegmentationReport(ORGANS)
    spacing = (2.0, 2.0, 2.5)  # 0.01 ml
    for number, (label, prediction) in enumerate([((5, 4), (4, 4)), ((3, 0), (4, 0)), ((4, 2), (4, 5))]):
        unlabelled = ["right kidney"] if number == 2 else []
        rows = score_case(blocks(*prediction), blocks(*label), spacing, ORGANS, unlabelled)
        report.add(f"case{number}", f"p{number}", rows)
    organs = report.summary()["organs"]
    assert organs["liver"]["volume_ml"] == pytest.approx(
        {"label": (1.25 + 0.27 + 0.64) / 3, "prediction": 0.64, "difference": (0.61 + 0.37) / 3, "n": 3}
    )
    # Absent counts as 0 ml, and a case in which it is not drawn does not count at all.
    assert organs["right kidney"]["volume_ml"] == pytest.approx(
        {"label": 0.32, "prediction": 0.32, "difference": 0.0, "n": 2}
    )
    lines = report.table(report.summary()).splitlines()
    assert "ml label  ml predicted  scored" in lines[1]
    assert next(line for line in lines if line.startswith("liver")).split()[-6:-4] == ["0.72", "0.64"]
    report.write(tmp_path)
    np.testing.assert_equal(SegmentationReport.read(tmp_path).summary(), report.summary())


def test_large_and_undrawn_volumes_in_the_table() -> None:
    report = SegmentationReport(ORGANS)
    rows = score_case(blocks(6, 6), blocks(6, 6), (20.0, 20.0, 20.0), ORGANS, ["right kidney"])
    report.add("case", "p", rows)
    liver, kidney = (line.split() for line in report.table(report.summary()).splitlines()[3:5])
    assert liver[-6:-4] == ["1728.0", "1728.0"]
    assert kidney[-6:-4] == ["-", "-"]


def test_flat_images_have_no_volume(tmp_path: Path) -> None:
    report = SegmentationReport(ORGANS)
    flat = blocks(5, 4)[:, :, 0]
    report.add("case", "p", score_case(flat, flat, (1.0, 1.0), ORGANS))
    assert "ml" not in report.table(report.summary()).splitlines()[1]
    report.write(tmp_path)
    assert json.loads((tmp_path / "scores.json").read_text())["organs"]["liver"]["volume_ml"]["label"] is None


# --- table of an inference ------------------------------------------------------------------------------------------


class AsItIs(torch.nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        if image.max() > 50:
            raise RuntimeError("out of memory")
        return image


def evaluator(handler: VolumeTable, items: list[dict]) -> SupervisedEvaluator:
    """An evaluator whose prediction is its image, and which goes on after a case that fails."""

    def iteration(engine: SupervisedEvaluator, batch: dict) -> object:
        try:
            return engine._iteration(engine, batch)
        except RuntimeError:
            engine.state.batch = []
            return []

    return SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset(items), batch_size=1),
        network=AsItIs(),
        iteration_update=iteration,
        val_handlers=[handler],
    )


def item(name: str, codes: np.ndarray, affine: np.ndarray) -> dict:
    image = MetaTensor(torch.from_numpy(codes)[None].to(torch.int16), affine=torch.from_numpy(affine))
    return {"image": image, "case": name, "patient_id": f"patient {name}"}


def read(folder: Path) -> list[dict[str, str]]:
    with (folder / "volumes.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_table_of_classes_leaves_out_what_failed(tmp_path: Path) -> None:
    tilted = nib.affines.from_matvec([[-2, 0, 0], [0, 2, 0.7], [0, 0, 2.5]], [5, 6, 7])  # sheared, as a tilted gantry
    items = [
        item("b", blocks(5, 4), tilted),
        item("broken", np.full((12, 12, 12), 99), tilted),
        item("a", blocks(0, 3), np.diag([1.0, 1.0, 1.0, 1.0])),
    ]
    items[2] |= {"warning": "blank", "file": "in/a.nii"}
    (tmp_path / "volumes.csv").write_text("of an earlier run")
    evaluator(VolumeTable(ORGANS, tmp_path), items).run()
    assert read(tmp_path) == [
        {"case": "a", "patient_id": "patient a", "file": "in/a.nii", "liver_ml": "0.000", "right kidney_ml": "0.027",
         "warning": "blank"},
        {"case": "b", "patient_id": "patient b", "file": "", "liver_ml": "1.250", "right kidney_ml": "0.640",
         "warning": ""},
    ]  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["volumes.csv"]


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000))
def test_table_of_regions_counts_their_masks(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    folder = tmp_path_factory.mktemp("out")
    codes = np.random.default_rng(seed).integers(0, 6, (7, 6, 5))
    evaluator(VolumeTable(REGIONS, folder, regions=True), [item("a", codes, np.diag([5.0, 5.0, 8.0, 1.0]))]).run()
    (row,) = read(folder)
    counts = region_masks(torch.from_numpy(codes)[None], REGIONS).sum((1, 2, 3)).tolist()
    found = [float(row[f"{name}_ml"]) for name in REGIONS[1:]]
    assert found == pytest.approx([0.2 * count for count in counts])
    assert found[2] <= found[0] <= found[1]  # ET within TC within WT


def test_volumes_agree_with_those_of_the_evaluation(tmp_path: Path) -> None:
    codes, affine = blocks(5, 4), np.diag([0.9, 1.1, 3.0, 1.0])
    evaluator(VolumeTable(ORGANS, tmp_path), [item("a", codes, affine)]).run()
    rows = score_case(codes, codes, (0.9, 1.1, 3.0), ORGANS)
    (line,) = read(tmp_path)
    for row in rows:
        assert float(line[f"{row.structure}_ml"]) == pytest.approx(row.volume_ml_prediction, abs=5e-4)
        assert not math.isnan(row.volume_ml_prediction)


def test_table_says_what_is_wrong(tmp_path: Path) -> None:
    handler = VolumeTable(ORGANS, tmp_path)
    with pytest.raises(InputError, match=r"a: pred holds the value 3; expected class indices 0 to 2"):
        evaluator(handler, [item("a", blocks(2, 2) + 1, np.eye(4))]).run()
    plain = {**item("a", blocks(2, 2), np.eye(4)), "image": torch.zeros(1, 4, 4, 4, dtype=torch.int16)}
    with pytest.raises(InputError, match="a: pred is no volume with an affine"):
        evaluator(handler, [plain]).run()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="no region"):
        VolumeTable(ORGANS, tmp_path, regions=True)

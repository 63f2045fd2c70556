"""Nuclei on slides through the command line: a slide is drawn, and a tiny network looks at it."""

import csv
import json
from pathlib import Path

import shapely
from bundle_runtime.weights.save import save_network
from monai.bundle import ConfigParser
from slide_files import pyramid, with_tissue

from .conftest import BUNDLES, Runner, _overlay

TINY = {
    "hidden_size": 12, "mlp_dim": 24, "num_layers": 4, "num_heads": 2, "img_size": 32, "patch_size": 8,
    "head_channels": 8, "auxiliary_channels": 0, "mpp": 2.0, "min_size": 1, "min_distance": 3,
}  # fmt: skip


def test_objects_of_a_slide_are_counted_and_a_foreign_resolution_is_refused(tmp_path: Path) -> None:
    pyramid(tmp_path / "in" / "TCGA-AA-0001-01.tif", with_tissue(256, [(64, 64, 96, 96)]), mpp=2.0)
    (tmp_path / "in" / "short.tif").write_bytes((tmp_path / "in" / "TCGA-AA-0001-01.tif").read_bytes()[:4000])
    bundle = BUNDLES / "histo_sdmae"
    files = [str(bundle / "configs" / f"{name}.yaml") for name in ("slides_segmentation", "demo_segmentation")]
    parser = ConfigParser(ConfigParser.load_config_files(files))
    parser.update({**TINY, "bundle_root": str(bundle), "class_names": ["background", "nucleus"]})
    normalisation = parser.get_parsed_content("normalisation")
    save_network(
        tmp_path / "segmentation.pt", parser.get_parsed_content("network_def"),
        {"class_names": ["background", "nucleus"], "normalisation": normalisation, "mpp": 2.0},
    )  # fmt: skip
    runner = Runner(bundle, tmp_path / "in", _overlay(tmp_path, TINY), "demo_segmentation.yaml")
    failed = runner.run("slides_segmentation", tmp_path, expect=1)
    assert "short.tif" in failed.stderr
    assert "Traceback" not in failed.stderr
    out = tmp_path / "slides_segmentation"
    with (out / "slides.csv").open() as stream:
        (row,) = csv.DictReader(stream)
    features = json.loads((out / "TCGA-AA-0001-01" / "objects.geojson").read_text())["features"]
    assert row["patient_id"] == "TCGA-AA-0001"
    assert int(row["nucleus_count"]) == len(features)
    assert all(shapely.geometry.shape(feature["geometry"]).is_valid for feature in features)
    assert "trained on tiles of 2" in runner.run("slides_segmentation", tmp_path, expect=1, mpp=4.0).stderr

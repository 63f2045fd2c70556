"""MONAI Deploy's bundle operator runs the packages."""

import json
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import PIL.Image
import pydicom
import pytest
from dicom_files import slices, uid, write
from picture_files import dicom
from strangers import CONTROL, ROOT, Packages, interpreter, run, scores_of, tissues

pytestmark = pytest.mark.slow
Ask = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def deploy() -> Iterator[str]:
    """The interpreter; Holoscan asks for a stack of 32 MiB, which a process hands on to those that it starts."""
    python = interpreter("DEPLOY", "holoscan")
    before = resource.getrlimit(resource.RLIMIT_STACK)
    resource.setrlimit(resource.RLIMIT_STACK, (32 << 20, before[1]))
    yield python
    resource.setrlimit(resource.RLIMIT_STACK, before)


def test_a_label_map_is_that_of_the_bundles_own_run(packages: Packages, deploy: str, ask: Ask, tmp_path: Path) -> None:
    name = "btcv_unetr_mae"
    image = packages.images(name)[0]
    found = ask(deploy, "deploy_tool.py", packages.bundle(name), image)
    own = packages.own(name)
    assert np.array_equal(np.load(tmp_path / "label_map.npy"), np.asarray(nib.load(own).dataobj))
    assert len(found["values"]) > 1


def test_a_bundle_of_the_zoo_gives_a_label_map(packages: Packages, deploy: str, ask: Ask) -> None:
    image = packages.images(CONTROL)[0]
    found = ask(deploy, "deploy_tool.py", packages.bundle(CONTROL), image)
    assert found["shape"] == list(nib.load(image).shape[::-1])
    assert {int(value) for value in found["values"]} <= {0, 1}


def test_torchscript_gives_the_same_where_the_package_is_on_the_path(
    packages: Packages, deploy: str, ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, image = packages.bundle("btcv_unetr_mae"), packages.images("btcv_unetr_mae")[0]
    exported = tmp_path / "model.ts"
    files = {"config_file": "configs/inference.json", "meta_file": "configs/metadata.json", "filepath": exported}
    words = [part for key, value in files.items() for part in (f"--{key}", value)]
    run([deploy, "-W", "ignore", "-m", "monai.bundle", "ckpt_export", "network_def", *words], bundle)
    whole = ask(deploy, "deploy_tool.py", bundle, image)
    script = ask(deploy, "deploy_tool.py", exported, image, bundle)
    assert script["values"] == whole["values"]


def test_scores_are_those_of_the_bundles_own_run(packages: Packages, deploy: str, ask: Ask, tmp_path: Path) -> None:
    name = "cxr14_mae"
    image = packages.images(name)[0]
    found = ask(deploy, "deploy_tool.py", packages.bundle(name), image)
    own = scores_of(image, packages.own(name))
    names = json.loads((packages.bundle(name) / "configs" / "metadata.json").read_text())
    channels = names["network_data_format"]["outputs"]["pred"]["channel_def"]
    assert found["scores"] == pytest.approx([own[channel.lower()] for channel in channels.values()], abs=2e-4)


def test_a_head_of_four_sequences(packages: Packages, deploy: str, ask: Ask, tmp_path: Path) -> None:
    name = "brats_unetr_mae"
    head = nib.load(packages.images(name)[0])
    image = tmp_path / "array.nii.gz"  # an array is all that the operator has for several channels: it has no grid
    nib.save(nib.Nifti1Image(np.asarray(head.dataobj), np.eye(4)), image)
    found = ask(deploy, "deploy_tool.py", packages.bundle(name), image)
    assert found["shape"] == list(head.shape[2::-1])
    assert len(found["values"]) > 1
    own = packages.own(name, str(image))
    assert np.array_equal(np.load(tmp_path / "label_map.npy"), tissues(nib.load(own)))


def test_the_application_goes_from_a_series_to_a_segmentation(packages: Packages, deploy: str, tmp_path: Path) -> None:
    bundle, image = packages.bundle("btcv_unetr_mae"), nib.load(packages.images("btcv_unetr_mae")[0])
    voxels = np.asarray(nib.as_closest_canonical(image).dataobj)[::-1, ::-1]  # RAS -> the axes of an axial series
    series = write(tmp_path / "series", slices((voxels + 1024).astype(np.uint16), spacing=(4.8, 4.8, 4.8)))
    out = tmp_path / "out"
    seg = application(deploy, series, bundle, out)
    assert seg.Modality == "SEG"
    assert [segment.SegmentLabel for segment in seg.SegmentSequence] == [
        "liver", "spleen", "right kidney", "left kidney", "aorta"
    ]  # fmt: skip
    reference = seg.ReferencedSeriesSequence[0]
    assert reference.SeriesInstanceUID == slices(np.zeros((2, 2, 1), np.uint16))[0].SeriesInstanceUID
    assert (seg.Rows, seg.Columns) == voxels.shape[1::-1]
    assert seg.pixel_array.any()


def test_the_application_goes_from_an_x_ray_to_a_report(packages: Packages, deploy: str, tmp_path: Path) -> None:
    name = "cxr14_mae"
    image = packages.images(name)[0]
    (tmp_path / "series").mkdir()
    uids = {f"{level}InstanceUID": uid("x-ray", level) for level in ("Study", "Series")}
    dicom(tmp_path / "series" / "one.dcm", np.asarray(PIL.Image.open(image)), bits=8, **uids)
    report = application(deploy, tmp_path / "series", packages.bundle(name), tmp_path / "out")
    assert (report.Modality, report.StudyInstanceUID) == ("SR", uids["StudyInstanceUID"])
    own = scores_of(image, packages.own(name))
    said = dict(line.split(": ") for line in report.ContentSequence[0].TextValue.splitlines())
    assert len(said) == 6
    for finding, score in said.items():
        assert float(score) == pytest.approx(own[finding.lower()], abs=2e-4), finding


def application(python: str, series: Path, bundle: Path, out: Path) -> pydicom.Dataset:
    """What the application of docs/ writes."""
    run([python, "-W", "ignore", ROOT / "docs" / "deploy" / "app.py", series, bundle, out], out.parent)
    (made,) = out.glob("*.dcm")
    return pydicom.dcmread(made)

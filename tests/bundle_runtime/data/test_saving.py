import io
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from bundle_runtime.data.inputs import Inputs
from bundle_runtime.data.saving import SaveImageLabelMapd
from custom_components.errors import InputError
from monai.data import MetaTensor


def header(path: Path) -> bytes:
    """As `LoadVolumesd` gives it."""
    stream = io.BytesIO()
    nib.load(path).header.write_to(stream)
    return stream.getvalue()


def of(path: Path) -> dict[str, Any]:
    return {"file": str(path), "header": header(path), "case": "a"}


def test_saved_label_map_keeps_grid_and_header(scan: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    path, label = scan
    out = tmp_path / "out"
    result = SaveImageLabelMapd("pred", str(out))({"pred": torch.from_numpy(label)[None], **of(path)})
    written, original = nib.load(result["pred_path"]), nib.load(path)
    assert np.array_equal(np.asarray(written.dataobj), label)
    assert written.get_data_dtype() == np.uint8
    assert np.array_equal(written.affine, original.affine)
    for code in ("qform_code", "sform_code", "xyzt_units"):
        assert written.header[code] == original.header[code]
    assert bytes(written.header["descrip"]).startswith(b"scanner 7")
    assert [file.name for file in out.iterdir()] == ["a_seg.nii.gz"]


def test_probabilities_are_written_one_volume_a_class(scan: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    path, label = scan
    values = torch.rand(3, *label.shape)
    save = SaveImageLabelMapd("probabilities", str(tmp_path), postfix="prob", dtype="float32")
    written = nib.load(save({"probabilities": values, **of(path)})["probabilities_path"])
    assert written.shape == (*label.shape, 3)
    assert np.allclose(np.moveaxis(np.asarray(written.dataobj), -1, 0), values.numpy())


def test_a_result_on_another_grid_is_refused(scan: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="shape"):
        SaveImageLabelMapd("pred", str(tmp_path))({"pred": torch.zeros(1, 3, 3, 3), **of(scan[0])})


@pytest.mark.parametrize(("shift", "refused"), [(0.05, False), (0.2, True), (float("nan"), True)])
def test_a_result_that_lies_elsewhere_is_refused(
    scan: tuple[Path, np.ndarray], tmp_path: Path, shift: float, refused: bool
) -> None:
    path, label = scan
    affine = nib.load(path).affine.copy()
    affine[:3, 3] += shift * affine[:3, 0]
    item = {
        "pred": MetaTensor(label[None], affine=torch.from_numpy(affine)),
        "file": str(path),
        "header": header(path),
        "case": "a",
    }
    save = SaveImageLabelMapd("pred", str(tmp_path / "out"))
    if refused:
        with pytest.raises(InputError, match=r"voxels off the grid of the image; the preprocessing was not inverted"):
            save(item)
    else:
        assert np.array_equal(nib.load(save(item)["pred_path"]).affine, nib.load(path).affine)


def test_a_label_map_of_a_file_with_several_volumes_is_three_dimensional(tmp_path: Path) -> None:
    """The Decathlon keeps four sequences in one file; its header says four volumes."""
    label = np.zeros((6, 5, 4), np.uint8)
    label[2:4, 1:3, 1:3] = 3
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    nib.save(nib.Nifti1Image(np.ones((6, 5, 4, 4), np.float32), affine), tmp_path / "BRATS_001.nii.gz")
    path = tmp_path / "BRATS_001.nii.gz"
    item = {"pred": torch.from_numpy(label)[None], "file": str(path), "header": header(path), "case": "BRATS_001"}
    written = nib.load(SaveImageLabelMapd("pred", str(tmp_path / "out"))(item)["pred_path"])
    assert written.shape == (6, 5, 4)
    assert written.header["dim"].tolist() == [3, 6, 5, 4, 1, 1, 1, 1]
    assert np.array_equal(written.affine, affine)
    assert np.array_equal(np.asarray(written.dataobj), label)


def test_a_case_of_folders_with_long_names_is_written(scan: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    """As inference names it: folder, folder, file."""
    path, label = scan
    folder = tmp_path / "in" / ("Müller " * 20) / ("y" * 150)
    for number in "12":
        (folder / number).mkdir(parents=True)
        shutil.copyfile(path, folder / number / "scan.nii.gz")
    items = Inputs(str(tmp_path / "in"), output_dir=str(tmp_path / "out")).items
    save = SaveImageLabelMapd("pred", str(tmp_path / "out"), postfix="trans_seg")
    written = [Path(save({"pred": torch.from_numpy(label)[None], **of(path), "case": item["case"]})["pred_path"])
               for item in items]  # fmt: skip
    assert [item["case"][-7:] for item in items] == ["_1_scan", "_2_scan"]
    assert min(len(item["case"]) for item in items) > 255
    assert sorted(written) == sorted((tmp_path / "out").iterdir())
    for file in written:
        assert file.name.startswith("Müller Müller")
        assert file.name.endswith("_trans_seg.nii.gz")

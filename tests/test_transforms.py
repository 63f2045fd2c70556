from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, CropForegroundd, LoadImaged, Orientationd, Spacingd

from custom_components.errors import InputError
from custom_components.transforms import NativeArgmaxd, SaveLabelMapd, UnlabelledMaskd

OBLIQUE = np.array(
    [[-1.9, 0.15, 0.1, 40.0], [0.12, 1.6, -0.3, -30.0], [0.08, 0.25, 2.7, 12.0], [0, 0, 0, 1]]
)  # left-handed, tilted, unequal voxels


@pytest.fixture
def scan(tmp_path: Path) -> tuple[Path, np.ndarray]:
    """A volume of two blocks on an oblique grid, with a telling header."""
    label = np.zeros((30, 26, 18), np.uint8)
    label[6:14, 8:16, 4:12] = 1
    label[16:25, 10:20, 6:14] = 2
    image = nib.Nifti1Image((label * 100 + 10).astype(np.int16), OBLIQUE)
    image.header.set_xyzt_units("mm", "sec")
    image.header["descrip"] = b"scanner 7"
    image.set_qform(OBLIQUE, 1)
    image.set_sform(OBLIQUE, 2)
    path = tmp_path / "scan.nii.gz"
    nib.save(image, path)
    return path, label


def preprocessing() -> Compose:
    return Compose(
        [
            LoadImaged("image", reader="NibabelReader", ensure_channel_first=True),
            Orientationd("image", axcodes="RAS", labels=None),
            Spacingd("image", pixdim=(1.5, 1.5, 1.5), mode="bilinear"),
            CropForegroundd("image", source_key="image", allow_smaller=True, margin=3),
        ]
    )


def logits_like(image: MetaTensor) -> torch.Tensor:
    """Scores of three classes that the image's own grey values give away."""
    centres = torch.tensor([10.0, 110.0, 210.0]).view(3, 1, 1, 1)
    return -((image.as_tensor() - centres) ** 2) / 500


def test_native_argmax_comes_back_to_the_files_own_grid(scan: tuple[Path, np.ndarray]) -> None:
    path, label = scan
    steps = preprocessing()
    item = steps({"image": str(path)})
    assert item["image"].shape[1:] != label.shape
    result = NativeArgmaxd("pred", steps)({**item, "pred": logits_like(item["image"])})["pred"]
    assert tuple(result.shape) == (1, *label.shape)
    assert np.allclose(result.affine, OBLIQUE)
    found = result.as_tensor()[0].numpy()
    for value in (1, 2):
        dice = 2 * ((found == value) & (label == value)).sum() / ((found == value).sum() + (label == value).sum())
        assert dice > 0.85  # the interpolated rim of a block looks like the class between
    assert found[0].max() == found[-1].max() == 0  # outside the crop: background


def test_native_argmax_equals_inverting_all_classes_at_once(scan: tuple[Path, np.ndarray]) -> None:
    path, _ = scan
    steps = preprocessing()
    item = steps({"image": str(path)})
    data = {**item, "pred": logits_like(item["image"])}
    result = NativeArgmaxd("pred", steps, probabilities_key="probabilities")(data)
    probabilities = result["probabilities"].as_tensor()
    assert probabilities.shape[0] == 3
    inside = probabilities.sum(0) > 0.99
    assert inside.float().mean() > 0.3
    assert torch.equal(probabilities.argmax(0)[inside], result["pred"].as_tensor()[0].long()[inside])


def test_saved_label_map_keeps_grid_and_header(scan: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    path, label = scan
    out = tmp_path / "out"
    result = SaveLabelMapd("pred", str(out))({"pred": torch.from_numpy(label)[None], "file": str(path), "case": "a"})
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
    save = SaveLabelMapd("probabilities", str(tmp_path), postfix="prob", dtype="float32")
    written = nib.load(save({"probabilities": values, "file": str(path), "case": "a"})["probabilities_path"])
    assert written.shape == (*label.shape, 3)
    assert np.allclose(np.moveaxis(np.asarray(written.dataobj), -1, 0), values.numpy())


def test_a_result_on_another_grid_is_refused(scan: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="shape"):
        SaveLabelMapd("pred", str(tmp_path))({"pred": torch.zeros(1, 3, 3, 3), "file": str(scan[0]), "case": "a"})


def test_unlabelled_mask() -> None:
    mask = UnlabelledMaskd(["background", "liver", "spleen"])
    assert mask({"unlabelled": ["spleen"]})["unlabelled"].tolist() == [False, False, True]
    assert mask({"unlabelled": []})["unlabelled"].tolist() == [False, False, False]

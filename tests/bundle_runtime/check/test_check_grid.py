from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from nifti_files import label, only, pair, problems, save


def test_label_of_another_shape(tmp_path: Path) -> None:
    item = pair(tmp_path, data=label(1, 2, shape=(12, 10, 9)))
    only(item, "error", r"lab/a\.nii\.gz: has shape \(12, 10, 9\) but its image has \(12, 10, 8\)")


@pytest.mark.parametrize(("shift", "flip"), [(3.0, 1), (0.0, -1)])
def test_label_on_another_grid(tmp_path: Path, shift: float, flip: int) -> None:
    affine = np.diag([2.0 * flip, 2, 3, 1])
    affine[1, 3] = shift
    only(pair(tmp_path, affine=affine), "error", r"lab/a\.nii\.gz: lies up to .* voxels away from its image")


def test_rounding_in_the_affine_is_no_other_grid(tmp_path: Path) -> None:
    affine = np.diag([2.0 + 1e-5, 2, 3, 1])
    affine[0, 3] = 1e-3
    assert problems(pair(tmp_path, affine=affine)) == []


def test_bad_headers(tmp_path: Path) -> None:
    image = nib.load(save(tmp_path / "a.nii"))
    file = str(tmp_path / "b.nii")
    item = {"image": file, "file": file, "case": "b"}

    def header(**fields: Any) -> None:
        changed = nib.Nifti1Image(np.asarray(image.dataobj), image.affine, image.header)
        nib.save(changed, file)
        content = bytearray(Path(file).read_bytes())
        raw = np.frombuffer(content, dtype=image.header.template_dtype, count=1)
        for name, value in fields.items():
            raw[name] = value
        Path(file).write_bytes(content)

    header(pixdim=[1, 0, 2, 3, 0, 0, 0, 0])
    only(item, "error", r"b\.nii: has spacing \(0\.0, 2\.0, 3\.0\) mm, expected positive numbers")
    header(srow_x=[0, 0, 0, 0])
    only(item, "error", "singular")
    header(qform_code=0, sform_code=0)
    only(item, "warning", "neither qform nor sform")
    header(qoffset_x=50)
    only(item, "warning", "qform and an sform that disagree")
    header(quatern_b=3)
    only(item, "warning", "qform and an sform that disagree")
    header(pixdim=[1, 4, 4, 4, 0, 0, 0, 0], qform_code=0)
    only(item, "warning", "4 x 4 x 4 mm in pixdim but 2 x 2 x 3 mm in its affine")

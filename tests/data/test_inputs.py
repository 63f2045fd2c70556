import gzip
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from custom_components.data.inputs import Inputs
from custom_components.errors import InputError


def save(path: Path, shape: tuple[int, ...] = (6, 5, 4)) -> None:
    nib.save(nib.Nifti1Image(np.random.default_rng(0).normal(size=shape).astype(np.float32), np.eye(4)), path)


def test_bad_files_are_set_aside_and_reported_at_the_end(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for name in ("a", "b", "c"):
        save(tmp_path / f"{name}.nii.gz")
    (tmp_path / "b.nii.gz").write_bytes((tmp_path / "a.nii.gz").read_bytes()[:200])
    save(tmp_path / "d.nii", (6, 5, 4, 2))
    inputs = Inputs(str(tmp_path), output_dir=str(out))
    assert [item["case"] for item in inputs.items] == ["a", "c"]
    with pytest.raises(InputError, match=r"2 of 4 images could not be used.*b\.nii\.gz.*d\.nii"):
        inputs.finish()
    assert len(json.loads((out / "failures.json").read_text())) == 2


def test_nothing_to_report(tmp_path: Path) -> None:
    save(tmp_path / "a.nii.gz")
    inputs = Inputs(str(tmp_path), output_dir=str(tmp_path / "out"))
    inputs.finish()
    assert not (tmp_path / "out").exists()


def test_nothing_usable_stops_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(b"no volume"))
    with pytest.raises(InputError, match="1 of 1 images"):
        Inputs(str(tmp_path), output_dir=str(tmp_path / "out"))


def test_empty_and_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no \.nii"):
        Inputs(str(tmp_path))
    with pytest.raises(InputError, match="not a folder"):
        Inputs(str(tmp_path / "none"))


def test_a_datalist_needs_no_labels(tmp_path: Path) -> None:
    save(tmp_path / "a.nii.gz")
    datalist = tmp_path / "datalist.json"
    datalist.write_text(json.dumps({"training": [], "validation": [], "test": [{"image": "a.nii.gz"}]}))
    assert [item["case"] for item in Inputs(str(tmp_path), str(datalist)).items] == ["a"]


def test_a_case_that_fails_on_the_way_does_not_stop_the_others(tmp_path: Path) -> None:
    from monai.data import DataLoader, Dataset
    from monai.engines import SupervisedEvaluator
    from monai.transforms import LoadImaged

    for name in ("a", "b", "c"):
        save(tmp_path / f"{name}.nii.gz")
    inputs = Inputs(str(tmp_path), output_dir=str(tmp_path / "out"))
    done: list[str] = []

    def network(image: torch.Tensor) -> torch.Tensor:
        if len(done) == 1 and not inputs.problems:
            raise MemoryError("too large")
        done.append("case")
        return image

    loader = DataLoader(Dataset(inputs.items, LoadImaged("image", ensure_channel_first=True)), batch_size=1)
    evaluator = SupervisedEvaluator("cpu", loader, torch.nn.Identity(), iteration_update=inputs.iteration)
    evaluator.inferer = lambda image, _: network(image)
    evaluator.run()
    assert len(done) == 2
    with pytest.raises(InputError, match=r"1 of 3 images could not be used: .*b\.nii\.gz.*MemoryError: too large"):
        inputs.finish()

from pathlib import Path

import pytest

from bundle_runtime.data.datalist import load
from custom_components.errors import InputError
from mae_tools.sources.segmented import write_masks_list


def test_dealt_by_patient_and_written(tmp_path: Path) -> None:
    entries = [{"image": f"{i}.png", "label": f"m{i}.png", "patient_id": f"p{i // 2}"} for i in range(20)]
    made = write_masks_list(tmp_path, None, entries, None, ["background", "x"], "binary", "H&E", 0.2, 0.2, 0)
    assert [len(made[part]) for part in ("training", "validation", "test")] == [12, 4, 4]
    read = load(tmp_path / "datalist.json", class_names=["background", "x"])
    assert (read["mask_kind"], read["modality"]) == ("binary", "H&E")
    with pytest.raises(InputError, match="mask_kind is 'ids'; choose one of classes, binary, instance"):
        write_masks_list(tmp_path, None, entries, None, ["background", "x"], "ids", None, 0.2, 0.2, 0)

from pathlib import Path

import pytest

from bundle_runtime.data.datalist import load, write
from custom_components.errors import InputError
from mae_tools.sources.registry import Root
from mae_tools.sources.segmented import masks_list


def test_dealt_by_patient_and_written(tmp_path: Path) -> None:
    entries = [{"image": f"{i}.png", "label": f"m{i}.png", "patient_id": f"p{i // 2}"} for i in range(20)]
    made = masks_list(Root(tmp_path), entries, None, ["background", "x"], "binary", "H&E", 0.2, 0.2, 0)
    assert [len(made[part]) for part in ("training", "validation", "test")] == [12, 4, 4]
    write(tmp_path / "datalist.json", made)
    read = load(tmp_path / "datalist.json", class_names=["background", "x"])
    assert (read["mask_kind"], read["modality"]) == ("binary", "H&E")
    with pytest.raises(InputError, match="mask_kind is 'ids'; choose one of classes, binary, instance"):
        masks_list(Root(tmp_path), entries, None, ["background", "x"], "ids", None, 0.2, 0.2, 0)

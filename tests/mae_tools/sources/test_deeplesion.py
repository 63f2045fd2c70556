from pathlib import Path

import numpy as np
import pytest
from bundle_runtime.data.image_file import read_picture
from custom_components.errors import InputError
from mae_tools.sources.deeplesion import TYPES, deeplesion
from picture_trees import SECTIONS, by_image, sizes
from PIL import Image

HEADER = "File_name,Patient_index,Coarse_lesion_type,Possibly_noisy,DICOM_windows,Train_Val_Test\n"


def slice_of(hu: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((hu + 32768).astype(np.uint16)).save(path)


def release(root: Path, patients: int = 40) -> Path:
    rows = []
    for patient in range(patients):
        part = 1 + patient % 3
        kind = -1 if part == 1 else 1 + patient // 3 % 2
        slice_of(
            np.tile(np.arange(-1000, 1000, 50), (8, 1)), root / f"Images_png/{patient:06d}_01_01/{109 + patient}.png"
        )
        rows.append(f'{patient:06d}_01_01_{109 + patient}.png,{patient},{kind},0,"-175, 275",{part}')
    (root / "DL_info.csv").write_text(HEADER + "\n".join(rows) + "\n")
    return root


def test_windowed_slices_by_patient(tmp_path: Path) -> None:
    made = deeplesion(release(tmp_path))
    assert made["class_names"] == list(TYPES)
    assert sum(sizes(made)) == 26
    owners = [item["patient_id"] for part in SECTIONS for item in made[part]]
    assert len(set(owners)) == 26
    item = by_image(made)["key_slices_table/000001_01_01_110.png"]
    assert item["label"] == 0
    pixels = np.asarray(Image.open(tmp_path / item["image"]))
    hu = np.arange(-1000, 1000, 50)
    assert pixels.dtype == np.uint8
    assert pixels[0] == pytest.approx(255 * ((hu + 175) / 450).clip(0, 1), abs=0.51)


def test_another_window_is_another_folder(tmp_path: Path) -> None:
    made = deeplesion(release(tmp_path), window="-1024,3071")
    assert made["test"][0]["image"].startswith("key_slices_-1024_3071/")
    again = deeplesion(
        tmp_path, window=(-1024, 3071)
    )  # as Fire reads it; slices of the first run are not taken for raw
    assert again == made


def test_read_raw_the_window_would_be_the_range_of_each_slice(tmp_path: Path) -> None:
    """What the reader of pictures does with 16 bits, and why a window is needed here."""
    release(tmp_path)
    raw = read_picture(tmp_path / "Images_png/000001_01_01/110.png")
    assert raw.kind == "16-bit grey"
    assert (raw.pixels.min(), raw.pixels.max()) == (0, 255)


def test_pretraining_takes_all(tmp_path: Path) -> None:
    made = deeplesion(release(tmp_path), labelled=False)
    assert sizes(made) == [14, 13, 13]
    assert "task" not in made
    assert all("label" not in item for part in SECTIONS for item in made[part])


def test_a_slice_with_two_types_or_noise_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    release(tmp_path)
    with open(tmp_path / "DL_info.csv", "a") as table:
        table.write('000001_01_01_110.png,1,8,0,"-175, 275",2\n000002_01_01_111.png,2,8,1,"-175, 275",3\n')
    made = deeplesion(tmp_path)
    assert "1 show several and are left out" in capsys.readouterr().out
    assert "key_slices_table/000001_01_01_110.png" not in by_image(made)
    assert "key_slices_table/000002_01_01_111.png" in by_image(made)  # its noisy row does not count


def test_refusals(tmp_path: Path) -> None:
    release(tmp_path)
    for window in ("lung", "10,-10", (1, 2, 3)):
        with pytest.raises(InputError, match=r"window is .*; expected table, or the HU of black and white"):
            deeplesion(tmp_path, window=window)  # type: ignore[arg-type]
    (tmp_path / "Images_png/000001_01_01/110.png").unlink()
    with pytest.raises(InputError, match=r"1 of 26 key slices are missing: 000001_01_01_110\.png"):
        deeplesion(tmp_path)
    assert sum(sizes(deeplesion(tmp_path, partial_set=True))) == 25
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "Images_png/000001_01_01/110.png")
    with pytest.raises(InputError, match=r"110\.png: is a picture of mode L, expected 16-bit grey"):
        deeplesion(tmp_path)
    table = tmp_path / "DL_info.csv"
    table.write_text(table.read_text().replace("110.png,1,1,0", "110.png,1,9,0"))
    with pytest.raises(InputError, match="line 3 has the lesion type '9'; expected -1 or 1 to 8"):
        deeplesion(tmp_path)

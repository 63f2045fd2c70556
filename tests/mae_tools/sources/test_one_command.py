"""Public data sets that `class_folder` and `table` read with one command, as the documentation gives it."""

from pathlib import Path

from mae_tools.sources.class_folder import class_folder
from mae_tools.sources.table import table
from picture_trees import SECTIONS, by_image, class_counts, sizes, touch


def test_mhist(tmp_path: Path) -> None:
    rows = [(f"MHIST_{i:03d}.png", "SSA" if i % 3 else "HP", i % 8, "test" if i >= 40 else "train") for i in range(60)]
    touch(tmp_path, *(f"images/{name}" for name, *_ in rows))
    (tmp_path / "annotations.csv").write_text(
        "Image Name,Majority Vote Label,Number of Annotators who Selected SSA (Out of 7),Partition\n"
        + "".join(f"{','.join(map(str, row))}\n" for row in rows)
    )
    made = table(
        tmp_path,
        "annotations.csv",
        path_column="Image Name",
        class_column="Majority Vote Label",
        split_column="Partition",
        modality="H&E",
    )
    assert made["class_names"] == ["HP", "SSA"]
    assert len(made["test"]) == 20
    assert sum(sizes(made)) == 60
    assert made["validation"]


def test_ham10000_by_lesion(tmp_path: Path) -> None:
    rows = [(f"HAM_{i // 2:05d}", f"ISIC_{i:05d}", ["nv", "mel", "bkl"][i // 2 % 3]) for i in range(60)]
    touch(tmp_path, *(f"HAM10000_images_part_{1 + i % 2}/{name}.jpg" for i, (_, name, _) in enumerate(rows)))
    (tmp_path / "HAM10000_metadata.csv").write_text(
        "lesion_id,image_id,dx,dx_type,age,sex,localization\n" + "".join(f"{','.join(r)},,,,\n" for r in rows)
    )
    made = table(
        tmp_path, "HAM10000_metadata.csv", path_column="image_id", class_column="dx", patient_column="lesion_id"
    )
    assert made["class_names"] == ["bkl", "mel", "nv"]
    owners = [{item["patient_id"] for item in made[part]} for part in SECTIONS]
    assert sum(map(len, owners)) == 30
    assert by_image(made)["HAM10000_images_part_2/ISIC_00001.jpg"]["patient_id"] == "HAM_00000"


def test_brain_tumour_mri(tmp_path: Path) -> None:
    for part, count in (("Training", 20), ("Testing", 5)):
        touch(
            tmp_path,
            *(
                f"{part}/{name}/Tr-{name}_{i}.jpg"
                for name in ("glioma", "meningioma", "notumor", "pituitary")
                for i in range(count)
            ),
        )
    made = class_folder(tmp_path, modality="MRI")
    assert class_counts(made, "test") == dict.fromkeys(range(4), 5)
    assert class_counts(made, "validation") == dict.fromkeys(range(4), 4)


def test_the_split_of_msmae_is_marked_parity(tmp_path: Path) -> None:
    """floor(0.3 x class count) of each class selects and is reported, and nothing else is held out."""
    touch(tmp_path, *(f"a/{i}.png" for i in range(17)), *(f"b/{i}.png" for i in range(33)))
    made = class_folder(tmp_path, parity_split=True, parity=True)
    assert made["parity"] is True
    assert made["validation"] == made["test"]
    assert class_counts(made, "validation") == {0: 5, 1: 9}
    assert class_counts(made, "training") == {0: 12, 1: 24}

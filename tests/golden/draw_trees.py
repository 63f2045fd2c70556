"""Small copies of the layouts that the datalist sources read, and the command lines that read them.

Most sources look at names only: their pictures are empty files.
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image


class Tree(NamedTuple):
    """A layout.

    Attributes:
        draw: makes it in a folder.
        commands: what is given to `datalist <source> <folder>`, one datalist each.
    """

    draw: Callable[[Path], None]
    commands: tuple[tuple[str, ...], ...]


def touch(root: Path, names: Iterable[str]) -> None:
    """Empty files."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def table(path: Path, header: str, rows: Iterable[str]) -> None:
    """A CSV file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows]) + "\n")


def picture(path: Path, pixels: np.ndarray) -> None:
    """A picture file of any format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def brats(root: Path) -> None:
    """Cases of two years, two scans of a patient, one case without a sequence."""
    touch(root, (f"old/c{n}/c{n}_{part}.nii.gz" for n in range(8) for part in ("flair", "t1", "t1ce", "t2", "seg")))
    touch(
        root,
        (
            f"new/BraTS-GLI-{n // 2:05d}-{n % 2:03d}/BraTS-GLI-{n // 2:05d}-{n % 2:03d}-{part}.nii.gz"
            for n in range(6)
            for part in ("t2f", "t1n", "t1c", "t2w", "seg")
        ),
    )
    touch(root, ("old/d0/d0_t1.nii.gz", "old/d0/d0_seg.nii.gz", "old/e0/e0_flair.nii.gz"))


def btcv(root: Path) -> None:
    """The thirty cases."""
    numbers = [*range(1, 11), *range(21, 41)]
    touch(root, (f"{folder}/{name}{n:04d}.nii.gz" for n in numbers for folder, name in
                 (("imagesTr", "img"), ("labelsTr", "label"))))  # fmt: skip


def busi(root: Path) -> None:
    """Three classes; one picture has two masks."""
    rng = np.random.default_rng(0)
    for name, count in (("benign", 6), ("malignant", 5), ("normal", 4)):
        for number in range(1, count + 1):
            stem = root / name / f"{name} ({number})"
            picture(stem.with_name(f"{stem.name}.png"), rng.integers(0, 255, (12, 16, 3), np.uint8))
            for part in ("", "_1") if (name, number) == ("benign", 2) else ("",):
                mask = np.zeros((12, 16), np.uint8)
                if name != "normal":
                    mask[number : number + 4, 3 + len(part) : 8] = 255
                picture(stem.with_name(f"{stem.name}_mask{part}.png"), mask)


def chest2017(root: Path) -> None:
    """Given lists; some patients train and are tested."""
    for part, count in (("train", 12), ("val", 2), ("test", 6)):
        touch(root, (f"{part}/PNEUMONIA/person{n // 2 + (9 if part == 'test' else 1)}_bacteria_{n}.jpeg"
                     for n in range(count)))  # fmt: skip
        touch(root, (f"{part}/NORMAL/IM-{n + len(part) * 20:04d}-0001.jpeg" for n in range(count)))


def class_folder(root: Path) -> None:
    """Three classes, patients in the names, masks and clutter that are left out."""
    touch(root, (f"{name}/p{n // 2}_{n}.png" for name in ("mel", "nv", "bkl") for n in range(10)))
    touch(root, (*(f"nv/p{n // 2}_{n}_mask.png" for n in range(3)), "mel/Thumbs.db"))
    rows = (f"{name}/p{n // 2}_{n}.png,owner{n // 3}" for name in ("mel", "nv", "bkl") for n in range(10))
    table(root / "patients.csv", "case,patient_id", rows)


def cxr14(root: Path) -> None:
    """Fifty pictures with findings, in two of the release's folders."""
    findings = ("No Finding", "Effusion", "Mass|Nodule", "Hernia", "Pleural_Thickening|Edema", "Cardiomegaly")
    names = [f"{n // 2:08d}_{n % 2:03d}.png" for n in range(60)]
    touch(root, (f"images_{n % 2 + 1:03d}/images/{name}" for n, name in enumerate(names)))
    table(
        root / "Data_Entry_2017_v2020.csv",
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age",
        (f"{name},{findings[n * 7 % len(findings)]},0,{n // 2},060Y" for n, name in enumerate(names)),
    )
    (root / "train_val_list.txt").write_text("\n".join(names[:40]) + "\n")
    (root / "test_list.txt").write_text("\n".join(names[40:]) + "\n")


def decathlon(root: Path) -> None:
    """A task of two labels."""
    _task(root, {"0": "background", "1": "Anterior", "2": "Posterior"}, {"0": "MRI"}, "hippocampus", 12)


def deeplesion(root: Path) -> None:
    """Slices of 16 bits with their window in the table."""
    rows = []
    for patient in range(30):
        part = 1 + patient % 3
        kind = -1 if part == 1 else 1 + patient // 3 % 2
        slope = np.tile(np.arange(-1000, 1000, 125) + patient, (4, 1))
        name = f"{patient:06d}_01_01"
        picture(root / f"Images_png/{name}/{109 + patient}.png", (slope + 32768).astype(np.uint16))
        rows.append(f'{name}_{109 + patient}.png,{patient},{kind},{int(patient == 4)},"-175, 275",{part}')
    columns = "File_name,Patient_index,Coarse_lesion_type,Possibly_noisy,DICOM_windows,Train_Val_Test"
    table(root / "DL_info.csv", columns, rows)


def folder(root: Path) -> None:
    """Pairs of two hospitals; a table says whose they are."""
    cases = [f"{site}_{n}" for site in ("a", "b") for n in range(7)]
    touch(root, (f"{place}/{case}.nii.gz" for case in cases for place in ("images", "labels")))
    table(root / "patients.csv", "case,patient_id", (f"{case},p{n // 2}" for n, case in enumerate(cases)))


def glas(root: Path) -> None:
    """Pictures and outlines, with the table of patients."""
    names = [f"train_{n}" for n in range(1, 11)] + [f"testA_{n}" for n in range(1, 5)] + ["testB_1"]
    touch(root, (f"Warwick/{name}{end}.bmp" for name in names for end in ("", "_anno")))
    table(root / "Warwick/Grade.csv", "name,patient ID,grade (GlaS)",
          (f"{name},{10 if name == 'testB_1' else n // 2},benign" for n, name in enumerate(names)))  # fmt: skip


def messidor2(root: Path) -> None:
    """Pairs of eyes with grades; one photograph cannot be graded."""
    names = [f"2006_{n:04d}.png" for n in range(40)]
    touch(root, (f"IMAGES/{name}" for name in names))
    table(root / "messidor_data.csv", "image_id,adjudicated_dr_grade,adjudicated_dme,adjudicated_gradable",
          (f"{name},{n // 2 % 5},0,{int(n != 7)}" for n, name in enumerate(names)))  # fmt: skip
    table(root / "messidor-2.csv", "left;right", (f"{names[n]};{names[n + 1]}" for n in range(0, 36, 2)))


def monuseg(root: Path) -> None:
    """Tiles with two outlines that share pixels."""
    squares = (((4, 6), (4, 12), (9, 12), (9, 6)), ((4, 10), (4, 20), (9.5, 20.5), (9, 10)))
    regions = "".join(
        "<Region><Vertices>" + "".join(f'<Vertex X="{x}" Y="{y}" Z="0"/>' for y, x in square) + "</Vertices></Region>"
        for square in squares
    )
    text = f"<Annotations><Annotation><Regions>{regions}</Regions></Annotation></Annotations>"
    for number in range(9):
        name = f"TCGA-18-{5590 + number // 2}-01Z-00-DX{number}"
        tested = number > 7
        picture(root / ("MoNuSegTestData" if tested else "Training/Images") / f"{name}.tif",
                np.zeros((20 + number, 30, 3), np.uint8))  # fmt: skip
        place = root / ("MoNuSegTestData" if tested else "Training/Annotations") / f"{name}.xml"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)


def msd(root: Path) -> None:
    """The brain tumour task."""
    labels = {"0": "background", "1": "edema", "2": "non-enhancing tumor", "3": "enhancing tumour"}
    _task(root, labels, {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"}, "BRATS", 20)


def nct_crc(root: Path) -> None:
    """Nine tissues in two sets."""
    for name in ("ADI", "BACK", "DEB", "LYM", "MUC", "MUS", "NORM", "STR", "TUM"):
        touch(root, (f"NCT-CRC-HE-100K/{name}/{name}-{n}.tif" for n in range(10)))
        touch(root, (f"CRC-VAL-HE-7K/{name}/{name}-TCGA-{n}.tif" for n in range(3)))


def pcam(root: Path) -> None:
    """The six HDF5 files, two tiles a slide."""
    import h5py  # only this source has such files

    for number, (word, count) in enumerate({"train": 8, "valid": 4, "test": 5}.items()):
        stem = f"{root}/camelyonpatch_level_2_split_{word}"
        root.mkdir(parents=True, exist_ok=True)
        with h5py.File(f"{stem}_x.h5", "w") as file:
            file["x"] = np.random.default_rng(number).integers(0, 256, (count, 96, 96, 3), np.uint8)
        with h5py.File(f"{stem}_y.h5", "w") as file:
            file["y"] = (np.arange(count) % 2).astype(np.uint8).reshape(-1, 1, 1, 1)
        owners = [f"{'train' if word == 'test' and n == 0 else word}_{n // 2}" for n in range(count)]
        table(Path(f"{stem}_meta.csv"), ",coord_y,wsi", (f"{n},1,{owner}" for n, owner in enumerate(owners)))


def labels_table(root: Path) -> None:
    """Pictures with columns of findings, of a grade and of a list."""
    names = [f"view{n % 3}/s{n:02d}.png" for n in range(36)]
    touch(root, names)
    lists = ("train", "train", "train", "val", "test", "test")
    table(
        root / "labels.csv",
        "Path,Subject,Effusion,Mass,Grade,Fold",
        (
            f"{name},u{n // 3},{('1', '0', '-1', '')[n % 4]},{int(n % 5 == 0)},{('low', 'mid', 'high')[n // 3 % 3]},"
            f"{lists[n // 3 % 6]}"
            for n, name in enumerate(names)
        ),
    )


def tiles_masks(root: Path) -> None:
    """Pictures and masks in folders of their own, and another datalist to take the lists from."""
    touch(root, (f"{place}/s{n // 2}_{n}.png" for n in range(12) for place in ("images", "masks")))
    parts = {"training": range(0, 6), "validation": range(6, 8), "test": range(8, 12)}
    earlier = {
        part: [{"image": f"images/s{n // 2}_{n}.png", "patient_id": f"s{n // 2}"} for n in numbers]
        for part, numbers in parts.items()
    }
    (root / "earlier.json").write_text(json.dumps(earlier))


def _task(root: Path, labels: dict[str, str], modality: dict[str, str], name: str, count: int) -> None:
    files = [f"{name}_{n:03d}.nii.gz" for n in range(1, count + 1)]
    touch(root, (f"{place}/{file}" for file in files for place in ("imagesTr", "labelsTr")))
    training = [{"image": f"./imagesTr/{file}", "label": f"./labelsTr/{file}"} for file in files]
    content = {"name": name, "labels": labels, "modality": modality, "training": training, "test": []}
    (root / "dataset.json").write_text(json.dumps(content))


_PARITY = ("--parity", "true")
TREES: dict[str, Tree] = {
    "brats": Tree(brats, ((), (*_PARITY, "--fold", "2"), ("--labels", "false", "--seed", "3"),
                          ("--conventions", '{"c1": {"1": "oedema", "2": "tumour core"}}'))),
    "btcv": Tree(btcv, ((), _PARITY, ("--validation", "6", "--seed", "4"))),
    "busi": Tree(busi, ((), ("--with_normal", "false", "--seed", "1"))),
    "chest2017": Tree(chest2017, ((), ("--crossing", "keep", "--keep_validation", "true"),
                                  ("--train_fraction", "0.7"), _PARITY)),
    "class_folder": Tree(class_folder, (("--exclude", "*_mask*"),
                                        ("--exclude", "*_mask*", "--patient_pattern", r"^(p\d+)_", "--ordered", "true",
                                         "--class_names", "[nv,bkl,mel]"),
                                        ("--exclude", "*_mask*", "--patients", "patients.csv"),
                                        ("--exclude", "*_mask*", "--parity_split", "true"))),
    "cxr14": Tree(cxr14, (("--counts", "false"), ("--counts", "false", *_PARITY),
                          ("--counts", "false", "--val_fraction", "0.3", "--seed", "5"))),
    "decathlon": Tree(decathlon, ((), ("--seed", "2", "--val_fraction", "0.1"))),
    "deeplesion": Tree(deeplesion, ((), ("--labelled", "false"), ("--window", "-1024,1024", "--seed", "1"))),
    "folder": Tree(folder, ((), ("--patients", "patients.csv", "--class_names", "[background,liver,spleen]",
                                 "--unlabelled", '{"b_*": ["spleen"]}', "--modality", "CT"))),
    "glas": Tree(glas, (("--counts", "false", "--crossing", "drop"), ("--counts", "false", "--crossing", "keep"),
                        ("--counts", "false", "--crossing", "drop", *_PARITY))),
    "messidor2": Tree(messidor2, ((), ("--pairs", "None", "--train_fraction", "0.7"), _PARITY)),
    "monuseg": Tree(monuseg, ((), _PARITY)),
    "msd": Tree(msd, ((), _PARITY, ("--folds", "1"))),
    "nct_crc": Tree(nct_crc, (("--counts", "false"), ("--counts", "false", "--drop_background", "true", *_PARITY))),
    "pcam": Tree(pcam, (("--counts", "false", "--crossing", "drop"), ("--counts", "false", "--crossing", "keep",
                                                                     "--limit", "3"))),
    "table": Tree(labels_table, (
        ("labels.csv", "--path_column", "Path", "--label_columns", "[Effusion,Mass]", "--patient_column", "Subject"),
        ("labels.csv", "--path_column", "Path", "--label_columns", "[Effusion,Mass]", "--uncertain", "positive",
         "--patient_pattern", r"(s\d)"),
        ("labels.csv", "--path_column", "Path", "--class_column", "Grade", "--patient_column", "Subject", "--ordered",
         "true", "--class_names", "[low,mid,high]", "--split_column", "Fold"),
    )),
    "tiles_masks": Tree(tiles_masks, ((), ("--patient_pattern", r"^(s\d+)_", *_PARITY),
                                      ("--split_from", "earlier.json", "--mask_kind", "binary"))),
}  # fmt: skip

"""A made-up copy of the NIH release with the published counts: table and lists, and as many empty pictures as asked."""

from pathlib import Path

from mae_tools.sources.cxr14 import CXR14_FINDINGS

POSITIVES = {
    "train_val": (8280, 1707, 8659, 13782, 4034, 4708, 876, 2637, 2852, 1378, 1423, 1251, 2242, 141),
    "test": (3279, 1069, 4658, 6112, 1748, 1623, 555, 2665, 1815, 925, 1093, 435, 1143, 86),
}
IMAGES = {"train_val": 86524, "test": 25596}
NO_FINDING = {"train_val": 50500, "test": 9861}
PATIENTS = {"train_val": 28008, "test": 2797}
HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
)


def rows(part: str, first_patient: int) -> list[tuple[str, str, int]]:
    """(image, findings, patient) of one list: each finding takes the next so many of the images with findings."""
    images = IMAGES[part]
    ill = images - NO_FINDING[part]
    found: list[list[str]] = [[] for _ in range(images)]
    start = 0
    for finding, count in zip(CXR14_FINDINGS, POSITIVES[part], strict=True):
        for position in range(start, start + count):
            found[position % ill].append(finding)
        start += count
    listed = []
    for number, names in enumerate(found):
        patient = first_patient + number % PATIENTS[part]
        name = f"{patient:08d}_{number // PATIENTS[part]:03d}.png"
        listed.append((name, "|".join(names) or "No Finding", patient))
    return listed


def make_release(root: Path, pictures: int = 0) -> list[str]:
    """Write it; returns the names of all images, those of train_val first."""
    root.mkdir(parents=True, exist_ok=True)
    parts = {"train_val": rows("train_val", 1), "test": rows("test", 1 + PATIENTS["train_val"])}
    lines = [
        f"{name},{found},0,{patient},060Y,M,PA,2500,2048,0.168,0.168,"
        for part in parts.values()
        for name, found, patient in part
    ]
    (root / "Data_Entry_2017_v2020.csv").write_text("\n".join([HEADER, *lines]) + "\n")
    for part, listed in parts.items():
        (root / f"{part}_list.txt").write_text("".join(f"{name}\n" for name, _, _ in listed))
    names = [name for part in parts.values() for name, _, _ in part]
    for number, name in enumerate(names[:: max(len(names) // pictures, 1)][:pictures] if pictures else []):
        folder = root / f"images_{number % 12 + 1:03d}" / "images"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return names

"""Near copies in a folder of pictures, as patients: `python -m benchmarks.studies.copies <folder> <out.csv>`.

Some public sets hold turned and mirrored copies of a few pictures and name no patients; split by picture, copies of one
land in training and test. Turning and mirroring hardly change how often each colour occurs, so pictures of one class
whose colour histograms overlap are put together (single linkage), and `--patients <out.csv>` keeps them in one list.
"""

import argparse
import csv
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse.csgraph import connected_components

SIDE, BITS = 112, 4  # pixels of a side and bits of a colour that are compared
OVERLAP = 0.97  # Bhattacharyya's coefficient; on LC25000 copies lie above 0.974 and others below, seen by eye


def colours(path: Path) -> NDArray[np.float64]:
    """The root of the joint colour histogram of a picture: the product of two is their overlap, 1 for equal ones."""
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB").resize((SIDE, SIDE))).astype(int) >> (8 - BITS)  # H W 3
    codes = (pixels @ [1, 1 << BITS, 1 << 2 * BITS]).ravel()
    return np.sqrt(np.bincount(codes, minlength=1 << 3 * BITS) / len(codes))


def groups(files: Sequence[Path], overlap: float = OVERLAP, pattern: str | None = None) -> NDArray[np.int64]:
    """(N,) the group of each picture; only pictures of one folder can be in one group.

    Pictures in whose names the first group of `pattern` is the same are put together, too: both eyes of a patient.
    """
    found = np.zeros(len(files), dtype=np.int64)
    first = 0
    for folder in sorted({file.parent for file in files}):
        members = [index for index, file in enumerate(files) if file.parent == folder]
        table = np.stack([colours(files[index]) for index in members])
        matches = [re.match(pattern, files[index].name) if pattern else None for index in members]
        names = np.array([str(i) if match is None else f"{match[1]} by name" for i, match in enumerate(matches)])
        number, labels = connected_components((table @ table.T >= overlap) | (names == names[:, None]), directed=False)
        found[members] = first + labels
        first += number
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the CSV with the columns `case` and `patient_id`; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.studies.copies", description=__doc__)
    parser.add_argument("folder", type=Path, help="<folder>/<class>/<picture>")
    parser.add_argument("out", type=Path, help="the CSV to write")
    parser.add_argument("--overlap", type=float, default=OVERLAP, help="of the colours of copies (%(default)s)")
    parser.add_argument("--patient_pattern", help="a regular expression whose group finds the patient in a name")
    args = parser.parse_args(arguments)
    endings = {".png", ".jpg", ".jpeg", ".tif", ".tiff"}
    files = sorted(path for path in args.folder.glob("*/*") if path.suffix.lower() in endings)
    found = groups(files, args.overlap, args.patient_pattern)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with args.out.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["case", "patient_id"])
        writer.writerows(
            [file.relative_to(args.folder).as_posix(), f"g{group}"] for file, group in zip(files, found, strict=True)
        )
    sizes = np.bincount(found)
    print(f"{len(files)} pictures in {len(sizes)} groups, the largest of {sizes.max()}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())

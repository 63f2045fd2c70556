"""Small slides written for tests."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, VLWholeSlideMicroscopyImageStorage, generate_uid

PINK = (200, 120, 170)  # stained tissue
GLASS = (243, 241, 244)


def picture(height: int = 512, width: int = 640) -> np.ndarray:
    """Smooth colours in which every place differs from the next: uint8 (H, W, 3)."""
    y, x = np.mgrid[:height, :width]
    channels = [x * 255 // width, y * 255 // height, (x // 4 + y // 8) % 256]
    return np.stack(channels, -1).astype(np.uint8)


def with_tissue(size: int = 512, boxes: Sequence[tuple[int, int, int, int]] = ((128, 128, 256, 256),)) -> np.ndarray:
    """Glass with pink, slightly noisy squares (top, left, height, width)."""
    rng = np.random.default_rng(0)
    pixels = np.full((size, size, 3), GLASS, np.int16)
    for top, left, height, width in boxes:
        pixels[top : top + height, left : left + width] = PINK
    return (pixels + rng.integers(-3, 4, pixels.shape)).clip(0, 255).astype(np.uint8)


def pyramid(
    path: Path,
    pixels: np.ndarray,
    steps: Sequence[int] = (1, 4),
    mpp: float | None = 0.5,
    tile: int | None = 64,
    **options: Any,
) -> Path:
    """Write pixels as a TIFF with levels; without `tile` in strips, without `mpp` without a resolution."""
    path.parent.mkdir(parents=True, exist_ok=True)
    settings = {"photometric": "rgb", "compression": "zlib", "metadata": None, **options}
    with tifffile.TiffWriter(path) as writer:
        for step in steps:
            level = pixels[::step, ::step]
            place = {} if tile is None else {"tile": (tile, tile)}
            if mpp is not None:
                per_cm = 1e4 / (mpp * step)
                place |= {"resolution": (per_cm, per_cm), "resolutionunit": "CENTIMETER"}
            writer.write(level, subfiletype=0 if step == 1 else 1, **place, **settings)
    return path


def large(path: Path, side: int = 8192, tile: int = 256, mpp: float = 0.5) -> Path:
    """A slide of one level that would fill 200 MB, written a JPEG tile at a time."""

    def tiles() -> Iterator[np.ndarray]:
        stained = np.full((tile, tile, 3), PINK, np.uint8)
        for number in range((side // tile) ** 2):
            stained[:8, :8] = number % 200
            yield stained

    with tifffile.TiffWriter(path) as writer:
        writer.write(
            tiles(), shape=(side, side, 3), dtype=np.uint8, tile=(tile, tile), photometric="rgb", compression="jpeg",
            metadata=None, resolution=(1e4 / mpp, 1e4 / mpp), resolutionunit="CENTIMETER",
        )  # fmt: skip
    return path


def damage(path: Path, level: int, number: int, length: int = 40) -> None:
    """Overwrite the beginning of one tile of a level."""
    with tifffile.TiffFile(path) as file:
        offset = file.pages[level].dataoffsets[number]
    with path.open("r+b") as stream:
        stream.seek(offset)
        stream.write(b"\xff" * length)


def dicom_slide(
    folder: Path, pixels: np.ndarray, steps: Sequence[int] = (1, 4), mpp: float = 0.5, tile: int = 64
) -> Path:
    """Write pixels as a DICOM whole slide: an uncompressed file a level and a label, of one series and patient P7."""
    folder.mkdir(parents=True)
    shared = {
        "SeriesInstanceUID": generate_uid(),
        "StudyInstanceUID": generate_uid(),
        "FrameOfReferenceUID": generate_uid(),
    }
    parts = [(pixels[::step, ::step], "RESAMPLED" if step > 1 else "NONE", "VOLUME", mpp * step) for step in steps]
    for number, (level, resampled, flavour, size) in enumerate([(pixels[:tile, :tile], "NONE", "LABEL", mpp), *parts]):
        height, width = level.shape[:2]
        rows, columns = -(-height // tile), -(-width // tile)
        padded = np.full((rows * tile, columns * tile, 3), 255, np.uint8)
        padded[:height, :width] = level
        frames = padded.reshape(rows, tile, columns, tile, 3).swapaxes(1, 2)
        measures, groups, light = Dataset(), Dataset(), Dataset()
        measures.PixelSpacing, measures.SliceThickness = [size / 1000] * 2, 0.001
        groups.PixelMeasuresSequence = [measures]
        light.OpticalPathIdentifier = "1"
        file = Dataset()
        file.file_meta = FileMetaDataset()
        file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        file.file_meta.MediaStorageSOPClassUID = VLWholeSlideMicroscopyImageStorage
        file.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        values = {
            **shared, "SOPClassUID": VLWholeSlideMicroscopyImageStorage, "Modality": "SM", "PatientID": "P7",
            "SOPInstanceUID": file.file_meta.MediaStorageSOPInstanceUID, "InstanceNumber": number,
            "ImageType": ["ORIGINAL", "PRIMARY", flavour, resampled], "Rows": tile, "Columns": tile,
            "NumberOfFrames": rows * columns, "SamplesPerPixel": 3, "PhotometricInterpretation": "RGB",
            "PlanarConfiguration": 0, "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelRepresentation": 0,
            "TotalPixelMatrixRows": height, "TotalPixelMatrixColumns": width, "TotalPixelMatrixFocalPlanes": 1,
            "DimensionOrganizationType": "TILED_FULL", "NumberOfOpticalPaths": 1,
            "SharedFunctionalGroupsSequence": [groups], "OpticalPathSequence": [light], "PixelData": frames.tobytes(),
        }  # fmt: skip
        for name, value in values.items():
            setattr(file, name, value)
        file.save_as(folder / f"{number}.dcm", enforce_file_format=True)
    return folder

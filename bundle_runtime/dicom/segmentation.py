"""Label maps as DICOM SEG: coded segments on the grid of the series, which it refers to."""

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from custom_components.errors import InputError
from monai.transforms import MapTransform, SaveImaged

from ..data.volume import UnusableError
from ..files import short_name, write_atomically
from .codes import SegmentCode, code_of, read_codes
from .references import equipment, file_content, model_of, source_header, taking_over
from .series import Stack, stack_of

FORMATS = ("nifti", "dicom_seg")
_NEEDED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")


class SaveImageSegmentationd(SaveImaged):
    """Write a label map as DICOM SEG beside the series that it was made of: same grid, patient, study, references.

    Segment n is class n, also where it is empty. The algorithm is AUTOMATIC, with the bundle's name and version and the
    sha256 of its weights.

    Args:
        output_dir: folder for `<case>_seg.dcm`; made if missing.
        class_names: background first.
        metadata: the bundle's `metadata.json`.
        weights: its weights.
        output_format: with "nifti" nothing is written here.
        segment_codes: one's own codes, see `codes.read_codes`; of other classes those of the table.
        key: where the label map (1, *native) is.

    Raises:
        InputError: another format, or codes that make no sense.
    """

    def __init__(
        self,
        output_dir: str,
        class_names: Sequence[str],
        metadata: str,
        weights: str,
        output_format: str = "dicom_seg",
        segment_codes: str | Mapping[str, Any] | None = None,
        key: str = "pred",
    ) -> None:
        MapTransform.__init__(self, key)
        if output_format not in FORMATS:
            raise InputError(f"output_format is {output_format!r}; choose one of {', '.join(FORMATS)}.")
        self.output_dir, self.output_format, self.key = Path(output_dir), output_format, key
        self.metadata, self.weights = metadata, weights
        own = read_codes(segment_codes)
        if unknown := [name for name in own if name not in class_names[1:]]:
            raise InputError(f"segment_codes: {unknown[0]!r} is not among the classes {list(class_names[1:])}.")
        self.codes = {name: code_of(name, own) for name in class_names[1:]}

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write the file and return a copy of the item with its path under `<key>_segmentation`.

        Raises:
            InputError: the image is no DICOM series, it has empty UIDs, or the map is not on its grid.
        """
        result = dict(data)
        if self.output_format == "dicom_seg":
            file = str(data["file"])
            try:
                stack = stack_of(file)
            except UnusableError as problem:
                raise InputError(
                    f"{file}: {problem}; a DICOM SEG needs a DICOM series, take output_format nifti."
                ) from problem
            labels = np.asarray(torch.as_tensor(data[self.key])[0].cpu()).astype(np.uint8)
            path = self.output_dir / f"{short_name(str(data['case']))}_seg.dcm"
            write_atomically(path, segmentation(labels, stack, self.codes, model_of(self.metadata, self.weights), file))
            result[f"{self.key}_segmentation"] = str(path)
        return result


def segmentation(
    labels: np.ndarray,
    stack: Stack,
    codes: Mapping[str, SegmentCode],
    model: Mapping[str, str],
    name: str = "the series",
) -> bytes:
    """The bytes of a DICOM SEG.

    Args:
        labels: uint8 (X, Y, Z) on the grid of the series.
        stack: its slices.
        codes: of the classes 1, 2, 3, ... in their order.
        model: name, version and weights_sha256.
        name: of the series, for messages.

    Raises:
        InputError: the series has empty UIDs, or another grid.
    """
    import highdicom as hd  # takes a second, and few runs need it

    rows, columns = stack.frames[0].size
    if labels.shape != (columns, rows, len(stack.frames)):
        raise InputError(
            f"{name}: the result has shape {labels.shape}, the series {(columns, rows, len(stack.frames))}."
        )
    sources = [
        source_header(file, name, _NEEDED, "a DICOM SEG")
        for file in dict.fromkeys(frame.file for frame in stack.frames)
    ]
    # One frame a slice: of an enhanced object in its own order, which need not be that of the slices.
    order = np.argsort([frame.number for frame in stack.frames], kind="stable") if len(sources) == 1 else slice(None)
    algorithm = _algorithm(hd, model)
    segments = [
        _description(hd, number, label, code, algorithm) for number, (label, code) in enumerate(codes.items(), 1)
    ]
    with taking_over():
        made = hd.seg.Segmentation(
            source_images=sources,
            pixel_array=np.ascontiguousarray(labels.transpose(2, 1, 0)[order]),
            segmentation_type="BINARY",
            segment_descriptions=segments,
            series_instance_uid=hd.UID(),
            series_number=300,
            sop_instance_uid=hd.UID(),
            instance_number=1,
            series_description=f"Segmentation, {model['name']}"[:64],
            content_label="SEGMENTATION",
            content_description=f"{len(codes)} classes, segmented automatically",
            **equipment(model),
        )
        return file_content(made)


def _algorithm(hd: Any, model: Mapping[str, str]) -> Any:
    """Name, version and weights of the network, as each segment states them."""
    from pydicom.sr.codedict import codes

    return hd.AlgorithmIdentificationSequence(
        name=model["name"][:64],
        family=codes.DCM.ArtificialIntelligence,
        version=model["version"],
        parameters={"weights_sha256": model["weights_sha256"]},
    )


def _description(hd: Any, number: int, label: str, code: SegmentCode, algorithm: Any) -> Any:
    made = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=label[:64],
        segmented_property_category=hd.sr.CodedConcept(*code.category),
        segmented_property_type=hd.sr.CodedConcept(*code.type),
        algorithm_type="AUTOMATIC",
        algorithm_identification=algorithm,
    )
    if code.side is not None:
        side = hd.sr.CodedConcept(*code.side)
        made.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [side]
    return made

"""A MONAI Deploy application: a DICOM series, a bundle, and what it says in DICOM, by Deploy's own writers.

A CT becomes a DICOM SEG, an X-ray (a series of one image) a structured report with a score for each finding.

`python docs/deploy/app.py <folder of DICOM files> <unpacked bundle> <folder for the result>`
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from holoscan.conditions import CountCondition
from monai.deploy.core import AppContext, Application, Image, IOType, Operator, OperatorSpec
from monai.deploy.operators.dicom_data_loader_operator import DICOMDataLoaderOperator
from monai.deploy.operators.dicom_seg_writer_operator import DICOMSegmentationWriterOperator, SegmentDescription
from monai.deploy.operators.dicom_series_selector_operator import DICOMSeriesSelectorOperator
from monai.deploy.operators.dicom_series_to_volume_operator import DICOMSeriesToVolumeOperator
from monai.deploy.operators.dicom_text_sr_writer_operator import DICOMTextSRWriterOperator
from monai.deploy.operators.dicom_utils import ModelInfo
from monai.deploy.operators.monai_bundle_inference_operator import IOMapping, MonaiBundleInferenceOperator
from pydicom.sr.coding import Code

MODALITIES = {"CT": "(?i)^CT$", "CR": "(?i)^(CR|DX)$"}


def segments(metadata: dict[str, Any]) -> list[SegmentDescription]:
    """A description for each class, with the codes that the bundle itself uses."""
    from bundle_runtime.dicom.codes import code_of

    channels = metadata["network_data_format"]["outputs"]["pred"]["channel_def"]
    return [
        SegmentDescription(
            segment_label=name,
            segmented_property_category=Code(*code_of(name).category),
            segmented_property_type=Code(*code_of(name).type),
            algorithm_name=metadata["name"][:64],
            algorithm_version=metadata["version"],
        )
        for value, name in channels.items()
        if int(value) > 0
    ]


class Picture(Operator):
    """An image of one slice as an array (W, H, 1): the bundle operator asks an `Image` for its place in the patient."""

    def setup(self, spec: OperatorSpec) -> None:
        """Image in, array out."""
        spec.input("image")
        spec.output("image")

    def compute(self, inputs: Any, outputs: Any, context: Any) -> None:
        """(D, H, W) -> (W, H, D)."""
        outputs.emit(np.ascontiguousarray(np.swapaxes(inputs.receive("image").asnumpy(), 0, 2)), "image")


class Findings(Operator):
    """Scores of a classifier as the text of a report."""

    def __init__(self, *args: Any, names: list[str], **kwargs: Any) -> None:
        self.names = names
        super().__init__(*args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        """Scores in, text out."""
        spec.input("pred")
        spec.output("text")

    def compute(self, inputs: Any, outputs: Any, context: Any) -> None:
        """A line for each class."""
        scores = zip(self.names, inputs.receive("pred").ravel(), strict=True)
        outputs.emit("\n".join(f"{name}: {score:.4f}" for name, score in scores), "text")


class App(Application):
    """From files to a file."""

    def __init__(self, dicom: Path, bundle: Path, out: Path) -> None:
        self.places = dicom, bundle, out
        super().__init__([])

    def compose(self) -> None:
        """Connect the operators."""
        dicom, bundle, out = self.places
        metadata = json.loads((bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))
        formats = metadata["network_data_format"]
        pred, modality = formats["outputs"]["pred"], formats["inputs"]["image"]["modality"]
        rules = {"selections": [{"name": modality, "conditions": {"Modality": MODALITIES[modality]}}]}
        load = DICOMDataLoaderOperator(self, CountCondition(self, 1), input_folder=dicom, name="load")
        select = DICOMSeriesSelectorOperator(self, rules=json.dumps(rules), name="select")
        volume = DICOMSeriesToVolumeOperator(self, name="volume")
        taken = Image if pred["type"] == "image" else np.ndarray
        infer = MonaiBundleInferenceOperator(
            self,
            app_context=AppContext({}),
            input_mapping=[IOMapping("image", taken, IOType.IN_MEMORY)],
            output_mapping=[IOMapping("pred", Image, IOType.IN_MEMORY)],
            bundle_path=bundle,
            name="infer",
        )
        self.add_flow(load, select, {("dicom_study_list", "dicom_study_list")})
        self.add_flow(select, volume, {("study_selected_series_list", "study_selected_series_list")})
        if pred["type"] == "image":
            write = DICOMSegmentationWriterOperator(
                self, segment_descriptions=segments(metadata), output_folder=out, name="write"
            )
            self.add_flow(volume, infer, {("image", "image")})
            self.add_flow(infer, write, {("pred", "seg_image")})
        else:
            model = ModelInfo(metadata["authors"], metadata["name"], metadata["version"])
            picture = Picture(self, name="picture")
            find = Findings(self, names=list(pred["channel_def"].values()), name="find")
            write = DICOMTextSRWriterOperator(self, output_folder=out, model_info=model, name="write")
            self.add_flow(volume, picture, {("image", "image")})
            self.add_flow(picture, infer, {("image", "image")})
            self.add_flow(infer, find, {("pred", "pred")})
            self.add_flow(find, write, {("text", "text")})
        self.add_flow(select, write, {("study_selected_series_list", "study_selected_series_list")})


if __name__ == "__main__":
    source, home, target = map(Path, sys.argv[1:])
    sys.path.insert(0, str(home))
    target.mkdir(parents=True, exist_ok=True)
    App(source, home, target).run()

"""A MONAI Deploy application: a CT series in DICOM, the abdominal CT bundle, a DICOM SEG by Deploy's own writer.

`python docs/deploy/app.py <folder of DICOM files> <unpacked bundle> <folder for the SEG>`
"""

import json
import sys
from pathlib import Path

from holoscan.conditions import CountCondition
from monai.deploy.core import AppContext, Application, Image, IOType
from monai.deploy.operators.dicom_data_loader_operator import DICOMDataLoaderOperator
from monai.deploy.operators.dicom_seg_writer_operator import DICOMSegmentationWriterOperator, SegmentDescription
from monai.deploy.operators.dicom_series_selector_operator import DICOMSeriesSelectorOperator
from monai.deploy.operators.dicom_series_to_volume_operator import DICOMSeriesToVolumeOperator
from monai.deploy.operators.monai_bundle_inference_operator import IOMapping, MonaiBundleInferenceOperator
from pydicom.sr.coding import Code

RULES = json.dumps({"selections": [{"name": "CT", "conditions": {"Modality": "(?i)CT"}}]})


def segments(bundle: Path) -> list[SegmentDescription]:
    """A description for each class, with the codes that the bundle itself uses."""
    from bundle_runtime.dicom.codes import code_of

    metadata = json.loads((bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))
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


class App(Application):
    """From files to a file."""

    def __init__(self, dicom: Path, bundle: Path, out: Path) -> None:
        self.places = dicom, bundle, out
        super().__init__([])

    def compose(self) -> None:
        """Connect the operators."""
        dicom, bundle, out = self.places
        load = DICOMDataLoaderOperator(self, CountCondition(self, 1), input_folder=dicom, name="load")
        select = DICOMSeriesSelectorOperator(self, rules=RULES, name="select")
        volume = DICOMSeriesToVolumeOperator(self, name="volume")
        infer = MonaiBundleInferenceOperator(
            self,
            app_context=AppContext({}),
            input_mapping=[IOMapping("image", Image, IOType.IN_MEMORY)],
            output_mapping=[IOMapping("pred", Image, IOType.IN_MEMORY)],
            bundle_path=bundle,
            name="infer",
        )
        write = DICOMSegmentationWriterOperator(
            self, segment_descriptions=segments(bundle), output_folder=out, name="write"
        )
        self.add_flow(load, select, {("dicom_study_list", "dicom_study_list")})
        self.add_flow(select, volume, {("study_selected_series_list", "study_selected_series_list")})
        self.add_flow(volume, infer, {("image", "image")})
        self.add_flow(infer, write, {("pred", "seg_image")})
        self.add_flow(select, write, {("study_selected_series_list", "study_selected_series_list")})


if __name__ == "__main__":
    source, home, target = map(Path, sys.argv[1:])
    sys.path.insert(0, str(home))
    target.mkdir(parents=True, exist_ok=True)
    App(source, home, target).run()

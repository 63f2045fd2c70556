"""A MONAI Deploy application with the bundle operator: for an environment with the App SDK and without this project.

`python deploy_tool.py <model.ts or folder of a bundle> <image> [<what goes on the path>]`; the last line is JSON.
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import PIL.Image
from holoscan.conditions import CountCondition
from monai.deploy.core import AppContext, Application, Image, IOType, Operator, OperatorSpec
from monai.deploy.operators.monai_bundle_inference_operator import (
    BundleConfigNames,
    IOMapping,
    MonaiBundleInferenceOperator,
)

OUTPUT = "label_map.npy"  # in the current folder, (W, H, D)


def as_input(path: str) -> Any:
    """An image file as an operator before the bundle hands it over.

    A volume, and a picture as a series of one image: (D, H, W) with the metadata of `DICOMSeriesToVolumeOperator`;
    several sequences: an array (W, H, D, C), the only form that the bundle operator has for them.
    """
    if path.endswith(".png"):
        voxels, affine, spacing = np.asarray(PIL.Image.open(path)).T[..., None], np.eye(4), (1.0, 1.0, 1.0)
    else:
        source = nib.load(path)
        affine, spacing = source.affine, source.header.get_zooms()[:3]
        voxels = np.asarray(source.dataobj).astype(np.float32)
        if voxels.ndim == 4:
            return voxels
    keys = ("row_pixel_spacing", "col_pixel_spacing", "depth_pixel_spacing")
    metadata = {**dict(zip(keys, map(float, spacing), strict=True)), "nifti_affine_transform": affine}
    return Image(np.ascontiguousarray(np.swapaxes(voxels, 0, 2)), metadata)


class Source(Operator):
    """Emits the image once."""

    def __init__(self, *args: Any, image: Any, **kwargs: Any) -> None:
        self.image = image
        super().__init__(*args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        """One output."""
        spec.output("image")

    def compute(self, inputs: Any, outputs: Any, context: Any) -> None:
        """Emit it."""
        outputs.emit(self.image, "image")


class Sink(Operator):
    """Keeps what it receives."""

    received: Any = None

    def setup(self, spec: OperatorSpec) -> None:
        """One input."""
        spec.input("pred")

    def compute(self, inputs: Any, outputs: Any, context: Any) -> None:
        """Keep it."""
        Sink.received = inputs.receive("pred")


class App(Application):
    """Image, bundle, result."""

    def __init__(self, bundle: str, image: Any) -> None:
        self.bundle, self.image = bundle, image
        super().__init__([])

    def compose(self) -> None:
        """Connect the three."""
        source = Source(self, CountCondition(self, 1), image=self.image, name="source")
        bundle = MonaiBundleInferenceOperator(
            self,
            app_context=AppContext({}),
            input_mapping=[IOMapping("image", type(self.image), IOType.IN_MEMORY)],
            output_mapping=[IOMapping("pred", Image, IOType.IN_MEMORY)],
            bundle_path=self.bundle,
            bundle_config_names=BundleConfigNames(config_names=["inference"]),
            name="bundle",
        )
        self.add_flow(source, bundle, {("image", "image")})
        self.add_flow(bundle, Sink(self, name="sink"), {("pred", "pred")})


def main(bundle: str, path: str) -> dict[str, Any]:
    """Run the application and describe its result."""
    App(bundle, as_input(path)).run()
    result = Sink.received
    if isinstance(result, Image):
        label_map = result.asnumpy()  # (D, H, W)
        np.save(OUTPUT, np.swapaxes(label_map, 0, 2))
        values, counts = np.unique(label_map, return_counts=True)
        return {"shape": list(label_map.shape), "values": dict(zip(values.tolist(), counts.tolist(), strict=True))}
    return {"shape": list(np.shape(result)), "scores": np.asarray(result).ravel().tolist()}


if __name__ == "__main__":
    sys.path[:0] = sys.argv[3:]
    found = main(sys.argv[1], sys.argv[2])
    versions = {name: version(name) for name in ("monai-deploy-app-sdk", "monai")}
    print(json.dumps({**versions, "bundle": Path(sys.argv[1]).name, **found}))

"""What `metadata.json` must hold, as a JSON schema.

It asks for all that MONAI's `meta_schema_20240725` asks for, and for what MONAI's tools take for granted without saying
so: a network input `image`, an output `pred`, whole-number or named sizes, a version of three numbers.
"""

from typing import Any

_TEXT: dict[str, Any] = {"type": "string", "minLength": 1}
_VERSION: dict[str, Any] = {"type": "string", "pattern": r"^\d+\.\d+\.\d+$"}

_TENSOR: dict[str, Any] = {
    "type": "object",
    "properties": {
        "type": _TEXT,
        "format": _TEXT,
        "modality": _TEXT,
        "num_channels": {"type": "integer", "minimum": 1},
        "spatial_shape": {"type": "array", "minItems": 1, "items": {"type": ["integer", "string"]}},
        "dtype": _TEXT,
        "value_range": {"type": "array", "items": {"type": "number"}, "maxItems": 2},
        "is_patch_data": {"type": "boolean"},
        "channel_def": {"type": "object", "additionalProperties": _TEXT},
    },
    "required": ["type", "format", "num_channels", "spatial_shape", "dtype", "value_range", "channel_def"],
}
_TENSORS: dict[str, Any] = {"type": "object", "additionalProperties": _TENSOR}


def _named(key: str) -> dict[str, Any]:
    return {**_TENSORS, "required": [key]}


METADATA_SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2019-09/schema",
    "type": "object",
    "properties": {
        "schema": {"type": "string", "pattern": r"^https://.*/meta_schema_20240725\.json$"},
        "version": _VERSION,
        "changelog": {"type": "object", "propertyNames": _VERSION, "additionalProperties": _TEXT, "minProperties": 1},
        **dict.fromkeys(("monai_version", "pytorch_version", "numpy_version"), _VERSION),
        "required_packages_version": {"type": "object", "additionalProperties": _TEXT},
        **dict.fromkeys(("name", "task", "description", "authors", "copyright", "intended_use"), _TEXT),
        **dict.fromkeys(("data_source", "data_type", "image_classes", "label_classes", "pred_classes"), _TEXT),
        "eval_metrics": {"type": "object"},
        "references": {"type": "array", "items": _TEXT},
        "supported_apps": {"type": "object"},
        "network_data_format": {
            "type": "object",
            "properties": {"inputs": _named("image"), "outputs": _named("pred"), "post_processed_outputs": _TENSORS},
            "required": ["inputs", "outputs"],
        },
    },
    "required": [
        *("schema", "version", "changelog", "monai_version", "pytorch_version", "numpy_version"),
        *("required_packages_version", "task", "description", "authors", "copyright", "intended_use"),
        "network_data_format",
    ],
}

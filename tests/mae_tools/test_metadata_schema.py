"""The metadata of every bundle follow the schema, and what MONAI's tools would stumble over does not."""

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from mae_tools.metadata_schema import METADATA_SCHEMA

FILES = sorted((Path(__file__).resolve().parents[2] / "bundles").glob("*/configs/metadata.json"))
REMOVED = object()


@pytest.fixture
def metadata() -> dict[str, Any]:
    return json.loads(FILES[0].read_text())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parts[-3])
def test_every_bundle_follows_the_schema(path: Path) -> None:
    jsonschema.validate(json.loads(path.read_text()), METADATA_SCHEMA)


def test_the_schema_is_one() -> None:
    jsonschema.Draft201909Validator.check_schema(METADATA_SCHEMA)


@pytest.mark.parametrize("key", METADATA_SCHEMA["required"])
def test_every_required_key_is_asked_for(metadata: dict[str, Any], key: str) -> None:
    del metadata[key]
    with pytest.raises(jsonschema.ValidationError, match=f"'{key}' is a required property"):
        jsonschema.validate(metadata, METADATA_SCHEMA)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("version", "0.1"),
        ("schema", "https://example.org/meta_schema_20220324.json"),
        ("changelog", {}),
        ("changelog", {"next": "soon"}),
        ("monai_version", "1.6"),
        ("description", ""),
        ("references", "one paper"),
        ("required_packages_version", {"scipy": 1}),
        ("network_data_format/outputs", REMOVED),
        ("network_data_format/inputs/image", REMOVED),
        ("network_data_format/outputs/pred", REMOVED),
        ("network_data_format/inputs/image/num_channels", 0),
        ("network_data_format/inputs/image/spatial_shape", []),
        ("network_data_format/inputs/image/spatial_shape", [96.0, 96.5, 96]),
        ("network_data_format/inputs/image/value_range", [0, 1, 2]),
        ("network_data_format/inputs/image/is_patch_data", "yes"),
        ("network_data_format/outputs/pred/channel_def", {"0": ""}),
        ("network_data_format/outputs/pred/dtype", REMOVED),
    ],
)
def test_what_tools_would_stumble_over_is_refused(metadata: dict[str, Any], place: str, value: Any) -> None:
    changed = copy.deepcopy(metadata)
    *path, key = place.split("/")
    entry = changed
    for part in path:
        entry = entry[part]
    if value is REMOVED:
        del entry[key]
    else:
        entry[key] = value
    with pytest.raises(jsonschema.ValidationError) as caught:
        jsonschema.validate(changed, METADATA_SCHEMA)
    found = [*map(str, caught.value.absolute_path), caught.value.message]
    assert (path[-1] if value is REMOVED else key) in found[:-1] or key in found[-1]


def test_named_sizes_and_further_keys_are_allowed(metadata: dict[str, Any]) -> None:
    metadata["network_data_format"]["inputs"]["image"]["spatial_shape"] = ["*", "16*n", 96]
    metadata["network_data_format"]["inputs"]["age"] = metadata["network_data_format"]["inputs"]["image"]
    metadata["contact"] = "somebody"
    jsonschema.validate(metadata, METADATA_SCHEMA)

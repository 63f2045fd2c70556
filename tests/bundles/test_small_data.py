"""The overlays for few images name settings that stages have, and none has an expression that cannot be evaluated."""

import re
from pathlib import Path

import pytest
import yaml
from monai.bundle import ConfigParser

BUNDLES = Path(__file__).resolve().parents[2] / "bundles"
OVERLAYS = sorted(BUNDLES.glob("*/configs/small_data*.yaml"))


def stages(overlay: Path) -> list[Path]:
    """The stages that an overlay names in its head."""
    words = set(re.findall(r"[a-z_]+", overlay.read_text().partition("# Reads")[0]))
    return sorted(path for path in overlay.parent.glob("*.yaml") if path.stem in words)


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: f"{path.parts[-3]}-{path.stem}")
def test_an_overlay_fits_the_stages_that_it_names(overlay: Path) -> None:
    content = yaml.safe_load(overlay.read_text())
    named = stages(overlay)
    assert named, overlay
    unused = set(content)
    for path in named:
        stage = ConfigParser.load_config_file(str(path))
        unused -= set(stage)
        parser = ConfigParser({**stage, **content})
        for key in set(content) & set(stage):
            default = stage[key]
            value = parser.get_parsed_content(key)
            assert isinstance(default, str | None) or isinstance(value, type(default) | int), (path.stem, key)
    assert not unused

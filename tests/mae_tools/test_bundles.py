import re
from pathlib import Path

import pytest
from custom_components.errors import InputError
from mae_tools.bundles import find_bundle, load, overlays, read_overlay, refuse_unknown

ROOT = find_bundle("cxr14_mae")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "cannot be read as a config (No such file or directory)."),
        ("a: [1\n", "cannot be read as a config (while parsing a flow sequence"),
        ("a: 1\na: 2\n", "cannot be read as a config ('a' is written twice in"),
        ("- 1\n", "holds list, expected keys with values."),
        ("word\n", "holds str, expected keys with values."),
        ("mask_ration: 0.9\n", "No stage has a setting 'mask_ration' (did you mean 'mask_ratio'?)"),
        (
            "train::traner::x: 1\nlearnin_rate: 1\n",
            "No stage has a setting 'learnin_rate' (did you mean 'learning_rate'?)",
        ),
    ],
)
def test_an_overlay_that_is_none_is_one_sentence(tmp_path: Path, text: str | None, sentence: str) -> None:
    path = tmp_path / "mine.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=f"^{re.escape(f'{path}: {sentence}')}") as caught:
        read_overlay(path, ROOT)
    assert "\n" not in str(caught.value)


def test_what_a_stage_has_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("# nothing yet\n")
    assert read_overlay(path, ROOT) == {}
    path.write_text("mask_ratio: 0.5\ntrain::trainer::max_epochs: 3\n+imports: [$import os]\n")
    assert list(read_overlay(path, ROOT)) == ["mask_ratio", "train::trainer::max_epochs", "+imports"]
    for own in overlays(ROOT / "configs", "train"):
        assert read_overlay(own, ROOT) == load(own)
    refuse_unknown(["max_epochs", "mask_ratio"], [ROOT])
    with pytest.raises(InputError, match=r"^No stage has a setting 'zzz'; see the top of .*configs/train\.yaml"):
        refuse_unknown(["zzz"], [ROOT])

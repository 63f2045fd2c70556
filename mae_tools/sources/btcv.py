"""BTCV abdomen CT (Synapse "Beyond the Cranial Vault"): 30 labelled cases, split by case number.

The 18 / 12 split is the one of TransUNet (Chen et al. 2021), which the masked-autoencoder papers follow. They chose
their best epoch on the 12; here the 12 are the test list, and a part of the 18 selects.
"""

from pathlib import Path
from typing import Any

from bundle_runtime.data.find import some
from bundle_runtime.data.schema import Item
from custom_components.errors import InputError

from .registry import Root, source
from .split import shuffled

TRAINING_CASES = (5, 6, 7, 9, 10, 21, 23, 24, 26, 27, 28, 30, 31, 33, 34, 37, 39, 40)
TEST_CASES = (1, 2, 3, 4, 8, 22, 25, 29, 32, 35, 36, 38)

CLASS_NAMES = (
    "background",
    "spleen",
    "right kidney",
    "left kidney",
    "gallbladder",
    "oesophagus",
    "liver",
    "stomach",
    "aorta",
    "inferior vena cava",
    "portal and splenic vein",
    "pancreas",
    "right adrenal gland",
    "left adrenal gland",
)

_LAYOUTS = (("imagesTr", "labelsTr"), ("img", "label"), ("Training/img", "Training/label"))


@source
def btcv(root: Root, validation: int = 4, seed: int = 0, parity: bool = False) -> dict[str, Any]:
    """Write the datalist of a BTCV folder: `imgNNNN.nii.gz` and `labelNNNN.nii.gz` in imagesTr/labelsTr or img/label.

    Args:
        root: the folder that holds the two folders.
        validation: how many of the 18 training cases are set apart to select on.
        seed: chooses them.
        parity: the papers' own use instead: all 18 train, and the 12 are both validation and test.

    Raises:
        InputError: the folders or any of the 30 cases are missing; all missing files are named.
    """
    base = root.path
    if not 0 <= validation < len(TRAINING_CASES):
        raise InputError(
            f"validation is {validation}, expected 0 to {len(TRAINING_CASES) - 1} of the 18 training cases."
        )
    layout = next((pair for pair in _LAYOUTS if all((base / part).is_dir() for part in pair)), None)
    if layout is None:
        pairs = " or ".join("/".join(Path(part).name for part in pair) for pair in _LAYOUTS[:2])
        raise InputError(f"{root} holds neither of the folder pairs {pairs}; give the folder that contains them.")
    entries = {number: _entry(number, *layout) for number in (*TRAINING_CASES, *TEST_CASES)}
    missing = [
        entry[key] for entry in entries.values() for key in ("image", "label") if not (base / entry[key]).is_file()
    ]
    if missing:
        count = f"{len(missing)} of the 60 files of BTCV's 30 labelled cases are missing"
        raise InputError(
            f"{root}: {count}: {some(sorted(missing), 60)}; for a part of the data use the source 'folder'."
        )
    training = [f"{number:04d}" for number in TRAINING_CASES]
    chosen = set() if parity else set(shuffled(training, seed)[:validation])
    test = [entries[number] for number in TEST_CASES]
    datalist: dict[str, Any] = {
        "class_names": list(CLASS_NAMES),
        "modality": "CT",
        "description": _description(parity, seed, chosen),
        "training": [entries[int(name)] for name in training if name not in chosen],
        "validation": test if parity else [entries[int(name)] for name in training if name in chosen],
        "test": test,
    }
    if parity:
        datalist["parity"] = True
    return datalist


def _entry(number: int, images: str, labels: str) -> Item:
    return {
        "image": f"{images}/img{number:04d}.nii.gz",
        "label": f"{labels}/label{number:04d}.nii.gz",
        "patient_id": f"{number:04d}",
    }


def _description(parity: bool, seed: int, chosen: set[str]) -> str:
    if parity:
        return "BTCV, 18 training cases of TransUNet; its 12 others select and test, as in the papers."
    return f"BTCV, 18 / 12 split of TransUNet; {', '.join(sorted(chosen)) or 'none'} of the 18 select (seed {seed})."

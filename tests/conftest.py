"""What several test files share."""

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import launch
import numpy as np
import pytest

_FLOORS = ("custom_components", "bundle_runtime", "mae_tools")
launch.context()  # whoever starts the server of processes first starts it with the large libraries
launch.spare_the_disk()


def pytest_collection() -> None:
    """Importing makes no garbage, and many objects to look through for it."""
    gc.disable()


def pytest_collection_finish() -> None:
    """What is imported stays. In a process that runs tests; one that only deals them out needs no PyTorch."""
    import torch
    from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

    gc.freeze()
    gc.enable()
    torch.set_num_threads(1)  # as `make test` starts one process a core
    # PyTorch looks for dead loader processes, and waits for those of a loader that is garbage, five seconds at a time.
    torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL = 0.5
    _MultiProcessingDataLoaderIter._try_get_data.__defaults__ = (0.5,)


@pytest.fixture(autouse=True)
def undisturbed_modules() -> Iterator[None]:
    """A package that a test reads in this process puts its own modules in place of the repository's; they go again."""
    path = list(sys.path)
    before = {name: module for name, module in sys.modules.items() if name.startswith(_FLOORS)}
    yield
    if any(sys.modules.get(name) is not module for name, module in before.items()):
        for name in [name for name in sys.modules if name.startswith(_FLOORS)]:
            del sys.modules[name]
        sys.modules.update(before)
    sys.path[:] = path


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real images; tests that need it are skipped where it is not given."""
    folder = os.environ.get("REAL_DATA")
    if not folder:
        pytest.skip("REAL_DATA is not set: no real images here")
    return Path(folder)


OBLIQUE = np.array(
    [[-1.9, 0.15, 0.1, 40.0], [0.12, 1.6, -0.3, -30.0], [0.08, 0.25, 2.7, 12.0], [0, 0, 0, 1]]
)  # left-handed, tilted, unequal voxels


@pytest.fixture
def scan(tmp_path: Path) -> tuple[Path, np.ndarray]:
    """A volume of two blocks on an oblique grid, with a telling header."""
    import nibabel as nib

    label = np.zeros((30, 26, 18), np.uint8)
    label[6:14, 8:16, 4:12] = 1
    label[16:25, 10:20, 6:14] = 2
    image = nib.Nifti1Image((label * 100 + 10).astype(np.int16), OBLIQUE)
    image.header.set_xyzt_units("mm", "sec")
    image.header["descrip"] = b"scanner 7"
    image.set_qform(OBLIQUE, 1)
    image.set_sform(OBLIQUE, 2)
    path = tmp_path / "scan.nii.gz"
    nib.save(image, path)
    return path, label

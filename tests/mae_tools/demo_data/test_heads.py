from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from custom_components.errors import InputError
from mae_tools.check.command import check
from mae_tools.demo_data.heads import SEQUENCES, head_case, make_heads
from scipy.ndimage import binary_dilation

SHAPE = (48, 54, 42)
CORE, OEDEMA, ENHANCING = 1, 2, 4


@pytest.fixture(scope="module")
def drawn() -> list[dict[str, np.ndarray]]:
    cases = [head_case(0, number, SHAPE) for number in range(6)]
    return [{name: np.asarray(nib.as_closest_canonical(v).dataobj) for name, v in case.items()} for case in cases]


def test_sequences_share_a_grid_and_a_background_of_zero(drawn: list) -> None:
    case = head_case(0, 1, SHAPE)
    assert list(case) == [*SEQUENCES, "seg"]
    assert all(np.array_equal(volume.affine, case["seg"].affine) for volume in case.values())
    assert head_case(0, 1, SHAPE)["t2"].to_bytes() == case["t2"].to_bytes() != head_case(1, 1, SHAPE)["t2"].to_bytes()
    for head in drawn:
        brains = [head[name] > 0 for name in SEQUENCES]
        assert all(np.array_equal(brain, brains[0]) for brain in brains)
        assert 0.15 < brains[0].mean() < 0.6
        assert not head["seg"][~brains[0]].any()


def test_regions_are_nested_and_look_as_their_sequences_show_them(drawn: list) -> None:
    for number, head in enumerate(drawn):
        label = head["seg"]
        assert set(np.unique(label)) == ({0, CORE, OEDEMA} if number % 5 == 2 else {0, CORE, OEDEMA, ENHANCING})
        core = np.isin(label, (CORE, ENHANCING))
        around = binary_dilation(core) & ~core & (head["t1"] > 0)
        assert (label[around] == OEDEMA).mean() > 0.5  # the core lies in the oedema
        healthy = (label == 0) & (head["t1"] > 0)
        assert np.median(head["flair"][label == OEDEMA]) > 1.2 * np.median(head["flair"][healthy])
        if ENHANCING in label:
            assert np.median(head["t1ce"][label == ENHANCING]) > 1.2 * np.median(head["t1ce"][healthy])
            assert np.median(head["t1ce"][label == CORE]) < np.median(head["t1ce"][healthy])


def test_the_data_set_passes_its_own_check(tmp_path: Path) -> None:
    made = make_heads(tmp_path, cases=3, shape=SHAPE)
    assert (made["sequences"], made["label_convention"]) == (list(SEQUENCES), "brats2018")
    assert [len(made[part]) for part in ("training", "validation", "test")] == [1, 1, 1]
    assert check(tmp_path / "datalist.json", need_convention=True)["errors"] == 0
    with pytest.raises(InputError, match="cases is 2"):
        make_heads(tmp_path, cases=2)

import pytest
import torch

from custom_components.networks.positions import sincos_table


def test_known_row() -> None:
    """Fact sheet, section 2.2: token 51 of a 6^3 grid is (1, 2, 3)."""
    row = sincos_table([6, 6, 6], 768)[0, 51, [0, 128, 256, 384, 512, 640]]
    assert torch.allclose(row, torch.tensor([0.8415, 0.5403, 0.9093, -0.4161, 0.1411, -0.9900]), atol=1e-4)


def test_any_grid_and_rows_tell_places_apart() -> None:
    """SelfMedMAE's 2D table holds for square grids only (fact B24)."""
    table = sincos_table([3, 5], 64)[0]
    assert table.shape == (15, 64)
    distance = torch.cdist(table, table)
    assert distance.add(torch.eye(15)).min() > 0.1
    # First half encodes the row: tokens of one row share it.
    assert torch.equal(table[0, :32], table[4, :32])
    assert not torch.equal(table[0, :32], table[5, :32])


def test_widths_that_do_not_divide_are_padded() -> None:
    """MONAI refuses 1024 (ViT-L) in 3D."""
    table = sincos_table([2, 2, 2], 1024)
    assert table.shape == (1, 8, 1024)
    assert table[..., 1020:].abs().max() == 0


def test_too_narrow() -> None:
    with pytest.raises(ValueError, match="hidden_size 4"):
        sincos_table([2, 2, 2], 4)

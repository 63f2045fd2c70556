"""The part of a coarse map that belongs to the part of the image that a crop shows."""

import torch
from torch import Tensor
from torch.nn import functional as F

from .region import Region
from .step import send


def sample_maps(maps: Tensor, region: Region) -> Tensor:
    """Cut a part out of each map and bring it to the grid of the whole map.

    A map of gh x gw cells covers its image. Between the centres of the cells it is interpolated bilinearly (beyond the
    outer centres it is constant), and each new cell is the mean of that surface over its area: exact at every size of
    the box, where sampling at points would miss cells.

    Args:
        maps: (B, gh, gw).
        region: one part for each map; parts without any area are not allowed.

    Returns:
        (B, gh, gw) float32, on the device of the maps.
    """
    box, mirrored = send(region.box.float(), maps.device), send(region.mirrored, maps.device)
    rows, columns = (
        _weights(box[:, axis], box[:, axis + 2], mirrored[:, axis], maps.shape[1 + axis]) for axis in (0, 1)
    )
    return rows @ maps.float() @ columns.transpose(1, 2)


def _weights(start: Tensor, length: Tensor, mirrored: Tensor, cells: int) -> Tensor:
    """How much each cell of the map is in each cell of the result along one axis: (B,) each -> (B, cells, cells)."""
    place = torch.arange(cells + 1, device=start.device) / cells
    edges = (start[:, None] + place * length[:, None]) * cells - 0.5  # cells' centres lie at whole numbers
    edges = torch.where(mirrored[:, None], edges.flip(1), edges)
    # One more cell at each end, with the value of the outermost, makes the map constant there.
    centres = torch.arange(-1, cells + 1, device=start.device)
    area = _hat_area(edges[:, :, None] - centres)  # B, cells + 1, cells + 2
    share = area.diff(dim=1) / edges.diff(dim=1)[:, :, None]
    first, middle, last = share.split([1, cells, 1], dim=2)
    return middle + F.pad(first, (0, cells - 1)) + F.pad(last, (cells - 1, 0))


def _hat_area(x: Tensor) -> Tensor:
    """Integral of max(0, 1 - |t|) up to x."""
    x = x.clamp(-1, 1)
    return 0.5 + x - 0.5 * x * x.abs()

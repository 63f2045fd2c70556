"""Bring what the network says back to the grid of the image file, slab by slab."""

import itertools
from abc import abstractmethod
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from monai.data import MetaTensor
from monai.transforms import Invertd, MapTransform
from torch import Tensor
from torch.nn import functional

from ..tumour_labels import region_table, tissue_map

# Interpolated values held at a time: 64 MB of float32, whatever the size of the image and the number of classes.
_VALUES_AT_A_TIME = 2**24
# Voxels that a native axis may lean towards another axis of the network's grid and still count as parallel to it.
_LEAN = 0.02

# Where a slab lies, and the kinds of its voxels.
_Slab = tuple[tuple[slice, ...], Tensor]


@dataclass(frozen=True)
class _Axis:
    """Where the voxels along one native axis lie on the axis of the network's grid that runs along it.

    `low` (N,) is the neighbour below, `weight` (N,) that of the neighbour above; `outside` counts the native voxels
    before and after those that lie less than a voxel beyond the grid.
    """

    low: Tensor
    weight: Tensor
    outside: tuple[int, int]

    def part(self, first: int, last: int) -> slice:
        """The native voxels inside that have a neighbour among the network's voxels first..last."""
        hit = ((self.low + 1 >= first) & (self.low <= last)).nonzero().flatten()
        begin, end = self.outside[0], len(self.low) - self.outside[1]
        return slice(max(int(hit[0]), begin), min(int(hit[-1]) + 1, end)) if len(hit) else slice(begin, begin)

    def interpolate(self, values: Tensor, dim: int, part: slice, start: int = 0) -> Tensor:
        """Values at the native voxels of `part`, where `values` begins at the network's voxel `start`."""
        low, shape = self.low[part] - start, [1] * values.ndim
        shape[dim] = len(low)
        high = (low + 1).clamp(max=values.shape[dim] - 1)
        weight = self.weight[part].view(shape)
        return torch.lerp(values.index_select(dim, low), values.index_select(dim, high), weight)


@dataclass(frozen=True)
class _Grid:
    """How the voxels of the image file lie on the network's grid.

    `matrix` (3, 4) takes a native voxel, its axes in `order`, to the network's grid; `shape` is the native one in the
    same order. `axes` is None where the preprocessing turned or sheared the grid.
    """

    matrix: Tensor
    shape: tuple[int, ...]
    order: list[int]
    axes: list[_Axis] | None

    @classmethod
    def of(cls, image: MetaTensor) -> "_Grid":
        native, sides = native_grid(image)
        matrix = torch.linalg.solve(torch.as_tensor(image.affine, dtype=torch.float64).cpu(), native)[:3]
        order = matrix[:, :3].abs().argmax(dim=1).tolist()
        order = order if sorted(order) == [0, 1, 2] else [0, 1, 2]
        shape = tuple(sides[axis] for axis in order)
        matrix = matrix[:, [*order, 3]]
        lean = matrix[:, :3].abs() * (torch.tensor(shape, dtype=torch.float64) - 1)
        if lean.fill_diagonal_(0).sum(dim=1).max() > _LEAN:
            return cls(matrix, shape, order, None)
        axes = []
        for axis, (length, size) in enumerate(zip(shape, image.shape[1:], strict=True)):
            place = matrix[axis, axis] * torch.arange(length, dtype=torch.float64) + matrix[axis, 3]
            inside = ((place > -1) & (place < size)).nonzero().flatten()
            outside = (int(inside[0]), length - 1 - int(inside[-1])) if len(inside) else (length, 0)
            place = place.clamp(0, size - 1)
            low = place.floor().clamp(max=max(size - 2, 0))
            axes.append(_Axis(low.long().to(image.device), (place - low).float().to(image.device), outside))
        return cls(matrix, shape, order, axes)

    def sample(self, values: Tensor, rows: slice) -> Tensor:
        """Values (C, *S) at a slab (C, rows, Y, Z) of native voxels, on a grid that lies at any angle."""
        size = torch.tensor(values.shape[1:], dtype=torch.float64)
        steps = [torch.arange(length, dtype=torch.float64) for length in self.shape]
        place = torch.stack(torch.meshgrid(steps[0][rows], *steps[1:], indexing="ij"), dim=-1)
        place = place @ self.matrix[:, :3].T + self.matrix[:, 3]
        inside = ((place > -1) & (place < size)).all(dim=-1).to(values.device)
        corners = (2 * place / (size - 1).clamp(min=1) - 1).flip(-1).float().to(values.device)
        sampled = functional.grid_sample(values[None], corners[None], padding_mode="border", align_corners=True)[0]
        return sampled * inside


def native_grid(image: MetaTensor) -> tuple[Tensor, list[int]]:
    """The affine matrix (4, 4) in float64 and the shape of the file that an image was read from.

    Of an array that comes from no file, as some tools hand it over, they are those from before the first transform.
    """
    if "original_affine" in image.meta:
        affine, shape = image.meta["original_affine"], image.meta["spatial_shape"]
    else:
        steps = image.applied_operations
        affine, shape = torch.eye(4), steps[0]["orig_size"] if steps else image.shape[1:]
    return torch.as_tensor(affine, dtype=torch.float64).cpu(), [int(size) for size in shape]


class _Native(Invertd):
    """Interpolates probabilities at the voxels of the image file and decides there.

    An `Invertd` in name: MONAI Label leaves those out where it asks how sure a network is (see `Probabilitiesd`).

    Where the preprocessing put the network's grid is read from the affine matrices that MONAI keeps with "image".
    Values are interpolated linearly. A native voxel that lies less than one voxel of the network's grid beyond it takes
    the nearest value; farther out (what was cropped away) there is background.

    A voxel is of one of several kinds, and the values that make a kind are a convex set. So a native voxel whose eight
    neighbours on the network's grid are of one kind is of that kind, too: what is interpolated are the borders.
    """

    def __init__(self, keys: Sequence[str] | str, probabilities_key: str | None = None) -> None:
        MapTransform.__init__(self, keys)
        self.probabilities_key = probabilities_key

    @abstractmethod
    def _probabilities(self, logits: Tensor) -> Tensor:
        """(C, *S) logits -> probabilities."""

    @abstractmethod
    def _kind(self, values: Tensor) -> Tensor:
        """(C, *S) probabilities -> (*S) uint8: the kind of each voxel; 0 is background."""

    def _label(self, kind: Tensor) -> Tensor:
        """(*S) uint8: what is written for a kind."""
        return kind

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the item with a native label map."""
        result = dict(data)
        for key in self.key_iterator(result):
            image, logits = result["image"], torch.as_tensor(result[key]).to(result["image"].device)
            grid = _Grid.of(image)
            affine, shape = native_grid(image)
            turned = [0, *(1 + axis for axis in grid.order)]
            label = torch.zeros(1, *shape, dtype=torch.uint8)
            kept = None if self.probabilities_key is None else torch.zeros(len(logits), *shape)
            views = label.permute(turned)[0], None if kept is None else kept.permute(turned)
            for where, kind in (self._slabs if grid.axes else self._slabs_at_an_angle)(logits, grid, views[1]):
                views[0][where] = self._label(kind).cpu()
            meta = {**image.meta, "affine": affine}
            result[key] = MetaTensor(label, meta=meta)
            if kept is not None and self.probabilities_key is not None:
                result[self.probabilities_key] = MetaTensor(kept, meta=meta)
        return result

    def _slabs(self, logits: Tensor, grid: _Grid, kept: Tensor | None) -> Iterator[_Slab]:
        """The boxes of the native grid, in the network's order of axes, that hold more than background.

        All probabilities are written to `kept`, where it is given.
        """
        axes = grid.axes or []
        first, *across = axes
        rows = max(1, _VALUES_AT_A_TIME // (len(logits) * grid.shape[1] * grid.shape[2]))
        end = grid.shape[0] - first.outside[1]
        for begin in range(first.outside[0], end, rows):
            slab = slice(begin, min(begin + rows, end))
            # Along an axis that the preprocessing mirrored, the network's voxels come in falling order.
            start, stop = int(first.low[slab].min()), int(first.low[slab].max()) + 2
            part = self._probabilities(logits[:, start:stop].float())
            if kept is not None:
                boxes = [slice(axis.outside[0], len(axis.low) - axis.outside[1]) for axis in across]
                kept[:, slab, *boxes] = _interpolate(axes, (slab, *boxes), start, part).cpu()
            kind = self._kind(part)
            active = (kind != 0).any(dim=0)
            if not active.any():
                continue
            spans = [active.any(dim=dim).nonzero().flatten() for dim in (1, 0)]
            where = (slab, *(axis.part(int(s[0]), int(s[-1])) for axis, s in zip(across, spans, strict=True)))
            yield where, self._kinds_at(axes, where, start, part, kind)

    def _kinds_at(
        self, axes: Sequence[_Axis], where: Sequence[slice], start: int, part: Tensor, kind: Tensor
    ) -> Tensor:
        """The kinds (*box) of the native voxels of a box, from probabilities (C, *S) and their kinds (*S)."""
        lows = [axis.low[span] - shift for axis, span, shift in zip(axes, where, (start, 0, 0), strict=True)]
        weights = [axis.weight[span] for axis, span in zip(axes, where, strict=True)]
        highs = [(low + 1).clamp(max=size - 1) for low, size in zip(lows, kind.shape, strict=True)]
        least = most = kind
        for dim, size in enumerate(kind.shape):  # over the eight corners of each cell
            above = torch.arange(1, size + 1, device=kind.device).clamp(max=size - 1)
            least = torch.minimum(least, least.index_select(dim, above))
            most = torch.maximum(most, most.index_select(dim, above))
        border = _take(least != most, lows).nonzero(as_tuple=True)
        found = _take(kind, lows)
        if len(border[0]) * 4 > found.numel():  # nearly everywhere: axis by axis is faster
            return self._kind(_interpolate(axes, where, start, part))
        values = part.flatten(1).T.contiguous()  # the C values of a voxel lie together
        for places in zip(*(axis.split(max(1, _VALUES_AT_A_TIME // (8 * len(part)))) for axis in border), strict=True):
            x, y, z = ([side[at] for side in (low, high)] for low, high, at in zip(lows, highs, places, strict=True))
            corners = [values[(i * kind.shape[1] + j) * kind.shape[2] + k] for i, j, k in itertools.product(x, y, z)]
            for weight, at in zip(weights[::-1], places[::-1], strict=True):
                share = weight[at][:, None]
                corners = [torch.lerp(a, b, share) for a, b in zip(corners[::2], corners[1::2], strict=True)]
            found[places] = self._kind(corners[0].T)
        return found

    def _slabs_at_an_angle(self, logits: Tensor, grid: _Grid, kept: Tensor | None) -> Iterator[_Slab]:
        """The same where the grids are not parallel: all of the native grid, by coordinates."""
        probabilities = self._probabilities(logits.float())
        rows = max(1, _VALUES_AT_A_TIME // ((len(logits) + 12) * grid.shape[1] * grid.shape[2]))
        for begin in range(0, grid.shape[0], rows):
            slab = slice(begin, min(begin + rows, grid.shape[0]))
            values = grid.sample(probabilities, slab)
            if kept is not None:
                kept[:, slab] = values.cpu()
            yield (slab, slice(None), slice(None)), self._kind(values)


def _take(values: Tensor, places: Sequence[Tensor]) -> Tensor:
    """Values (X, Y, Z) at the crossings of three lists of indices."""
    for dim, at in enumerate(places):
        values = values.index_select(dim, at)
    return values


def _interpolate(axes: Sequence[_Axis], where: Sequence[slice], start: int, values: Tensor) -> Tensor:
    """Values (C, *S), which begin at the network's plane `start`, at a box of native voxels."""
    for dim, (axis, part) in enumerate(zip(axes, where, strict=True), 1):
        values = axis.interpolate(values, dim, part, start if dim == 1 else 0)
    return values


class NativeArgmaxd(_Native):
    """Bring class scores from the network's grid back to the image file's own grid and take the best class there.

    Scores are interpolated, not labels, so borders are as fine as the file's grid.

    Args:
        keys: where the logits (C, *S) are; replaced by the label map (1, *native) uint8.
        probabilities_key: also keep the probabilities (C, *native) float32 under this key.
    """

    def _probabilities(self, logits: Tensor) -> Tensor:
        return logits.softmax(dim=0)

    def _kind(self, values: Tensor) -> Tensor:
        return values.argmax(dim=0).to(torch.uint8)


class NativeRegionsd(_Native):
    """Bring region probabilities back to the image file's own grid and decide there, ET over TC over WT.

    Args:
        keys: where the logits (regions, *S) are; replaced by a map of tissue codes (1, *native), uint8.
        class_names: background first, then the regions.
        probabilities_key: also keep the probabilities (regions, *native) float32 under this key.

    Raises:
        InputError: a name is no region.
    """

    def __init__(
        self, keys: Sequence[str] | str, class_names: Sequence[str], probabilities_key: str | None = None
    ) -> None:
        super().__init__(keys, probabilities_key)
        region_table(class_names)  # refuses a name that is no region
        masks = torch.arange(2 ** (len(class_names) - 1)) >> torch.arange(len(class_names) - 1)[:, None] & 1
        self.tissues = tissue_map(masks, class_names)[0]  # of each set of regions, a bit for each

    def _probabilities(self, logits: Tensor) -> Tensor:
        return logits.sigmoid()

    def _kind(self, values: Tensor) -> Tensor:
        # The sets, not the tissues: what is TC and what is NCR/NET may be one tissue, and their values no convex set.
        kind = torch.zeros_like(values[0], dtype=torch.uint8)
        for region, value in enumerate(values):
            kind |= (value >= 0.5).to(torch.uint8) << region
        return kind

    def _label(self, kind: Tensor) -> Tensor:
        return self.tissues.to(kind.device)[kind.long()]


class Probabilitiesd(MapTransform):
    """Logits -> probabilities where the way back to the image's grid was left out; a label map stays.

    Args:
        keys: where the logits (C, *S) or the label map are.
        regions: each channel is a yes or no of its own, not one class of several.
    """

    def __init__(self, keys: Sequence[str] | str, regions: bool = False) -> None:
        super().__init__(keys)
        self.regions = regions

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the item with float32 probabilities."""
        result = dict(data)
        for key in self.key_iterator(result):
            if result[key].is_floating_point():
                logits = result[key].float()
                result[key] = logits.sigmoid() if self.regions else logits.softmax(dim=0)
        return result

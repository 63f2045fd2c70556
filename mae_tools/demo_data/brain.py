"""The brain of a synthetic head: lobes with folded cortex, ventricles, nuclei, cerebellum, vessels, old lesions.

Places are in millimetres of a standard brain, RAS, origin between the hemispheres; a head scales and bends them.
"""

import dataclasses

import numpy as np

from .shapes import Canvas, Vector, coverage, depth, smooth_noise

SEQUENCES = ("flair", "t1", "t1ce", "t2")

# Signal in each of SEQUENCES, white matter in T1 being 1; last, how readily oedema spreads through the tissue.
TISSUES: dict[str, tuple[float, ...]] = {
    "csf": (0.24, 0.32, 0.32, 2.05, 0.0),
    "grey": (1.02, 0.72, 0.75, 1.02, 0.35),
    "white": (0.80, 1.00, 1.00, 0.70, 1.0),
    "nuclei": (0.96, 0.82, 0.84, 0.86, 0.2),
    "pallidum": (0.84, 0.94, 0.95, 0.55, 0.2),
    "brain stem": (0.88, 0.92, 0.93, 0.82, 0.4),
    "plexus": (0.85, 0.55, 1.55, 1.45, 0.0),
    "vein": (0.50, 0.55, 1.90, 0.55, 0.0),
    "artery": (0.35, 0.50, 1.75, 0.30, 0.0),
    "old lesion": (1.55, 0.80, 0.82, 1.35, 0.5),
}
# Course on the right (mirrored to the left), least and largest radius in mm, kind.
_VESSELS: tuple[tuple[tuple[tuple[float, float, float], ...], float, float, str], ...] = (
    (
        ((0, 78, 22), (0, 62, 44), (0, 34, 60), (0, 0, 66), (0, -36, 60), (0, -66, 42), (0, -87, 14), (0, -88, -6)),
        3.2,
        5.0,
        "vein",
    ),
    (((0, -88, -6), (34, -78, -12), (52, -52, -18)), 2.6, 4.2, "vein"),
    (((4, -4, 14), (3, -34, 14), (0, -48, 18), (0, -60, 8), (0, -86, 0)), 1.2, 1.7, "vein"),
    (((4, 6, -22), (22, 8, -21), (36, 4, -12), (38, -10, -2), (40, -28, 8)), 1.2, 1.8, "artery"),
    (((3, 8, -20), (2.5, 34, -6), (2.5, 44, 10), (2.5, 28, 30), (2.5, 0, 34)), 1.0, 1.5, "artery"),
    (((0, -6, -20), (0, -5, -34), (3, -12, -50)), 1.5, 2.1, "artery"),
)
_SKIN = 1.3  # mm of fluid around the brain that skull stripping leaves
_RIBBON = 3.2  # mm, thickness of the cortex


@dataclasses.dataclass
class Head(Canvas):
    """A canvas for several sequences at once: `intensity` is (len(SEQUENCES) + 1, X, Y, Z), as `TISSUES`.

    Attributes:
        voxel: mean edge of a voxel in mm of the standard brain.
        tissues: `TISSUES` as they are in this head.
    """

    voxel: float
    tissues: dict[str, np.ndarray]

    def near(self, *places: Vector, margin: float = 0.0) -> "Head":
        """The box that holds these places and their mirror images; painting it paints the head, only faster."""
        corners = np.array([np.asarray(place, float) for place in places])
        low, high = corners.min(axis=0) - margin, corners.max(axis=0) + margin
        high[0] = np.abs(corners[:, 0]).max() + margin
        low[0] = -high[0]
        box = []
        for axis, along in enumerate(self.points):
            inside = ((along >= low[axis]) & (along <= high[axis])).any(axis=tuple({0, 1, 2} - {axis}))
            hit = np.flatnonzero(inside) if inside.any() else np.zeros(1, int)
            start = min(int(hit[0]), len(inside) - 2)  # two voxels at least: a slope needs them
            box.append(slice(start, max(int(hit[-1]) + 1, start + 2)))
        return self.part(tuple(box))

    def part(self, box: tuple[slice, ...]) -> "Head":
        """The voxels of a box, as views."""
        points, intensity = self.points[(slice(None), *box)], self.intensity[(slice(None), *box)]
        return Head(points, intensity, self.label[box], self.voxel, self.tissues)

    def blend(self, share: np.ndarray, tissue: str | Vector) -> None:
        """Let a tissue (or five values) take its share of each voxel, 0 to 1."""
        values = self.tissues[tissue] if isinstance(tissue, str) else tissue
        for channel, value in zip(self.intensity, values, strict=True):
            channel += share * (value - channel)


def mirrored(canvas: Canvas) -> Canvas:
    """The same canvas with |x| for x: what is drawn on the right appears on both sides."""
    return Canvas(np.stack([np.abs(canvas.points[0]), *canvas.points[1:]]), canvas.intensity, canvas.label)


@dataclasses.dataclass(frozen=True)
class Outline:
    """The surfaces that everything else is placed by, as depths in mm, above 0 inside."""

    cerebrum: np.ndarray
    cerebellum: np.ndarray
    stem: np.ndarray

    def part(self, box: tuple[slice, ...]) -> "Outline":
        """The voxels of a box, as views."""
        return Outline(self.cerebrum[box], self.cerebellum[box], self.stem[box])


def outline(canvas: Canvas, voxel: float) -> Outline:
    """Outer surfaces of cerebrum (without the cleft between its halves), cerebellum and brain stem."""
    half = mirrored(canvas)
    _, y, z = half.points
    crown = 50 * half.ellipsoid((22, -3, 6), (45, 84, 56))
    # The base: floor of the frontal lobes, and behind it the tent over the cerebellum, rising to the back.
    base = -24 + 12 * np.clip((-y - 15) / 50, 0, 1) - z
    temporal = 22 * half.ellipsoid((42, -6, -22), (23, 44, 22), (6, 0, 0))
    cerebrum = _union(-_union(-crown, -base, 10), temporal, 5)
    cerebellum = _union(
        26 * half.ellipsoid((23, -55, -33), (31, 31, 23)), 17 * half.ellipsoid((0, -53, -30), (13, 28, 20)), 4
    )
    stem = _union(
        10 * half.tube([(0, -24, 0), (0, -26, -22), (0, -28, -40), (0, -34, -70)], [11, 11, 11, 8]),
        12 * half.ellipsoid((0, -20, -34), (16, 12, 12)),
        4,
    )
    stem = _union(stem, 8 * half.tube([(15, -8, 0), (8, -15, -20), (6, -17, -32)], [8, 7, 8]), 4)  # peduncles
    return Outline(*(voxel * depth(solid) for solid in (cerebrum, cerebellum, stem)))


def skull_strip(surfaces: Outline, rng: np.random.Generator) -> np.ndarray:
    """The mask of a brain extraction: the brain and an uneven rim of fluid, about a millimetre, cisterns included."""
    uneven = 1.3 * smooth_noise(rng, surfaces.stem.shape, (12, 13, 11), np.float64)
    parts = -_union(_union(-surfaces.cerebrum, -surfaces.cerebellum, 13), -surfaces.stem, 9)
    return parts > -(_SKIN + uneven)


def draw_brain(head: Head, rng: np.random.Generator, surfaces: Outline, age: float) -> None:
    """Paint the whole brain; `age`, 0 to 1, widens the fluid spaces and adds old lesions of the white matter."""
    head.blend(np.ones(head.label.shape), "csf")
    _draw_cerebellum(head, rng, surfaces.cerebellum)
    fluid = _draw_cortex(head, rng, surfaces.cerebrum, age)
    below = _share(-9 - head.points[2], head)
    cistern = np.clip(0.7 + 0.8 * smooth_noise(rng, head.label.shape, (14, 16, 12), np.float64), 0, 1)
    head.blend(_share(surfaces.stem + 2.2, head) * below * cistern, "csf")
    head.blend(_share(surfaces.stem, head) * below, "brain stem")
    deep = head.near((44, 46, 32), (0, -72, -48))
    _draw_nuclei(deep, rng)
    ventricle = _draw_ventricles(deep, rng, (0.75 + 0.6 * age) * rng.uniform(0.85, 1.15))
    _draw_vessels(head, rng)
    wander = smooth_noise(rng, head.label.shape, (26, 28, 24), np.float64)
    head.blend(fluid * _share(9 - surfaces.cerebrum, head) * np.clip(3 * wander - 0.8, 0, 1), "vein")
    _draw_old_lesions(deep, rng, ventricle, age)
    # Fluid that flows is not dark in FLAIR everywhere.
    flow = np.clip(2 * smooth_noise(rng, head.label.shape, (7, 8, 7), np.float64) - 0.4, 0, 1) * rng.uniform(0.3, 1.1)
    head.intensity[0] += flow * np.clip(head.intensity[SEQUENCES.index("t2")] - 1.2, 0, 1)


def _draw_cerebellum(head: Head, rng: np.random.Generator, deep: np.ndarray) -> None:
    """Leaves of cortex on a tree of white matter."""
    x, y, z = head.points
    head.blend(_share(deep, head), "grey")
    # Leaves fan out from the fourth ventricle; white matter between them, fluid where they part at the surface.
    fan = np.arctan2(z + 34, -y - 22) * 13 + 1.2 * smooth_noise(rng, head.label.shape, (8, 8, 8), np.float64)
    leaf = np.cos(2 * np.pi * fan / 4.2 + 0.05 * np.abs(x))
    head.blend(_share(deep - 3.5, head) * np.clip(0.5 + leaf, 0, 1) * 0.6, "white")
    head.blend(_share(np.minimum(deep - 9, 30 - np.hypot(x * 0.7, y + 46)), head), "white")
    head.blend(_share(deep, head) * _share(6 - deep, head) * np.clip(-leaf - 0.55, 0, 1), "csf")
    peduncles = head.near((12, -24, -34), (24, -50, -36), margin=10)
    tubes = mirrored(peduncles).tube([(12, -24, -34), (18, -38, -36), (24, -50, -36)], [8, 8, 6])
    peduncles.blend(coverage(tubes), "white")


def _draw_cortex(head: Head, rng: np.random.Generator, outer: np.ndarray, age: float) -> np.ndarray:
    """Grey ribbon around white matter, folded along sulci; returns the share of fluid in sulci and clefts."""
    across = np.abs(head.points[0])
    # The two halves part at the middle, but for the deep core (corpus callosum, thalami and what lies below).
    core = 24 * head.ellipsoid((0, -6, 6), (34, 38, 24))
    gap = 0.6 + 0.6 * age
    wall = np.where(core > 0, across, np.hypot(across, core))
    inner = np.minimum(outer, wall - gap)
    smooth = 28 * head.ellipsoid((0, -6, -3), (31, 36, 29))  # no sulci within
    fold = np.hypot(
        _folds(head, rng), np.maximum.reduce([inner - rng.uniform(12, 16), 3 - smooth, np.zeros_like(inner)])
    )
    width = 0.3 + 0.8 * age + 0.4 * smooth_noise(rng, inner.shape, (5, 5, 5), np.float64)
    sylvian = _sylvian(head, rng)
    fluid = np.maximum(_slab(fold, width, head), _slab(sylvian, 0.9 + 0.8 * age, head)) * _share(inner, head)
    to_surface = np.minimum.reduce([inner, fold - np.maximum(width, 0), sylvian - 0.9])
    ribbon = _RIBBON + 0.5 * smooth_noise(rng, inner.shape, (9, 9, 9), np.float64)
    head.blend(_share(inner, head), "grey")
    head.blend(_share(to_surface - ribbon, head), "white")
    head.blend(fluid, "csf")
    return np.maximum(fluid, _share(gap - wall, head) * _share(outer, head))


def _sylvian(head: Head, rng: np.random.Generator) -> np.ndarray:
    """Distance in mm to the Sylvian fissure, which rises to the back and ends inside at the insula."""
    x, y, z = head.points
    uneven = 3 * smooth_noise(rng, x.shape, (9, 10, 8), np.float64)
    across = np.abs(x) - 36 + uneven
    above = (z + 14 - 0.5 * (20 - y)) / 1.1 + 1.5 * uneven
    beyond = np.maximum(np.abs(y + 2) - 28, 0)
    cleft = np.square(above) + np.square(np.minimum(across, 0))
    insula = np.square(across) + np.square(np.maximum(np.abs(above) - 12, 0))
    return np.sqrt(np.minimum(cleft, insula) + np.square(beyond))


def _folds(head: Head, rng: np.random.Generator) -> np.ndarray:
    """Distance in mm to the nearest sulcus: sheets that run inward from where random waves on the surface cross 0."""
    x, y, z = head.points
    side = np.where(x < 0, -1.0, 1.0)
    radii = np.reshape((44.0, 80.0, 58.0), (3, 1, 1, 1))
    ray = np.stack([x - 20 * side, y + 6, z - 4]) / radii
    place = ray / np.sqrt(np.square(ray).sum(axis=0) + 0.02) * radii + 0.25 * head.points
    place += np.stack([6 * smooth_noise(rng, x.shape, (9, 10, 8), np.float64) for _ in range(3)])
    place[0] += 300 * side  # the two sides fold differently
    directions = rng.standard_normal((14, 3))
    lengths = rng.uniform(30, 44, (14, 1)) * np.sqrt(np.square(directions).sum(axis=1, keepdims=True))
    phases = np.tensordot(2 * np.pi * directions / lengths, place, axes=1)
    waves = np.cos(phases + rng.uniform(0, 2 * np.pi, (14, 1, 1, 1))).sum(axis=0)
    slope = np.sqrt(sum(np.square(along) for along in np.gradient(waves, head.voxel)))
    return np.abs(waves) / np.maximum(slope, 0.12)


def _draw_nuclei(head: Head, rng: np.random.Generator) -> None:
    """Caudate, putamen, pallidum, thalamus, and the hippocampus along the temporal horn."""
    half = mirrored(head)
    wobble = 0.12 * smooth_noise(rng, head.label.shape, (7, 7, 7), np.float64)
    head.blend(coverage(half.ellipsoid((27, 4, 2), (5.5, 17, 10), (0, 0, 10)) + wobble), "nuclei")
    head.blend(coverage(half.ellipsoid((20, 0, 0), (4.5, 9, 6), (0, 0, 18))), "pallidum")
    head.blend(coverage(half.ellipsoid((10.5, -17, 5), (8.5, 14, 9), (0, 0, 24)) + wobble), "nuclei")
    head.blend(coverage(half.tube([(14, 24, 4), (15, 14, 12), (18, -6, 20), (22, -22, 18)], [7, 7, 4, 3])), "nuclei")
    head.blend(coverage(half.tube([(26, -4, -22), (28, -18, -18), (24, -32, -8)], [6, 5, 4])), "grey")
    head.blend(0.6 * coverage(half.ellipsoid((6, -20, -11), (3, 5, 4))), "pallidum")  # red nucleus, nigra


def _draw_ventricles(head: Head, rng: np.random.Generator, size: float) -> np.ndarray:
    """Lateral, third and fourth ventricles and choroid plexus; returns the lateral ones as a solid."""
    half = mirrored(head)
    body = [(7, 34, 4), (8, 22, 12), (9, 6, 18), (11, -12, 21), (16, -28, 16), (24, -40, 4)]
    atrium = body[-1]
    horn = [atrium, (34, -26, -10), (34, -8, -18)]
    parts = [
        half.tube(body, [3 * size, 4.5 * size, 4.2 * size, 4 * size, 5 * size, 6 * size]),
        half.tube(horn, [4 * size, 2.2 * size, 1.6 * size]),
        half.tube([atrium, (24, -62, 3)], [5 * size, 1.8 * size]),
    ]
    lateral = np.minimum.reduce(parts)
    septum = (1.4 - half.points[0]) / 4
    head.blend(coverage(np.maximum(lateral, septum)), "csf")
    head.blend(coverage(half.ellipsoid((0, -8, -3), (2.2 * size, 13, 9))), "csf")
    head.blend(coverage(half.ellipsoid((0, -39, -33), (6 * size, 4.5, 8), (20, 0, 0))), "csf")
    head.blend(coverage(half.tube([(0, -24, -6), (0, -30, -18), (0, -37, -28)], 1.6)) * 0.6, "csf")
    plexus = half.tube([(11, -14, 19), (17, -29, 13), (23, -37, 4)], 2.2)
    plexus = np.minimum(plexus, half.ellipsoid(atrium, (3.8, 5, 5)))
    head.blend(coverage(np.maximum(plexus, lateral)) * rng.uniform(0.7, 1), "plexus")
    return lateral


def _draw_vessels(head: Head, rng: np.random.Generator) -> None:
    """Sinuses, deep veins and the great arteries: bright after contrast, and no tumour."""
    for path, thin, thick, tissue in _VESSELS:
        radius = rng.uniform(thin, thick)
        part = head.near(*path, margin=2 * radius)
        part.blend(0.9 * coverage(mirrored(part).tube(path, radius)), tissue)


def _draw_old_lesions(head: Head, rng: np.random.Generator, ventricle: np.ndarray, age: float) -> None:
    """Bright caps on the ventricles and spots in the white matter in FLAIR and T2, more with age."""
    white = np.clip(2 * head.intensity[-1] - 1, 0, 1)
    away = np.maximum(-depth(ventricle) * head.voxel, 0)
    patchy = np.clip(0.6 + 0.7 * smooth_noise(rng, white.shape, (7, 8, 6), np.float64), 0, 1)
    head.blend(np.exp(-away / (1.5 + 4 * age)) * white * patchy * (0.35 + 0.6 * age), "old lesion")
    for _ in range(rng.poisson(14 * age**2)):
        centre = np.array([rng.uniform(14, 42) * rng.choice((-1, 1)), rng.uniform(-55, 45), rng.uniform(8, 40)])
        part = head.near(centre, margin=8)
        spot = coverage(part.ellipsoid(centre, rng.uniform(2, 6, 3), rng.uniform(-40, 40, 3)))
        part.blend(spot * np.clip(2 * part.intensity[-1] - 1, 0, 1) * rng.uniform(0.6, 1), "old lesion")


def _union(first: np.ndarray, second: np.ndarray, width: float) -> np.ndarray:
    """Two solids in mm as one, their seam rounded over `width` mm."""
    share = np.clip(0.5 + 0.5 * (second - first) / width, 0, 1)
    return second + share * (first - second) - width * share * (1 - share)


def _share(inside: np.ndarray, head: Head) -> np.ndarray:
    """Coverage from a depth in mm."""
    return np.clip(0.5 + inside / head.voxel, 0, 1)


def _slab(distance: np.ndarray, width: float | np.ndarray, head: Head) -> np.ndarray:
    """Coverage by a sheet that reaches `width` mm to either side: thin ones fill a voxel only in part."""
    return np.clip(0.5 + (width - distance) / head.voxel, 0, np.clip(2 * np.maximum(width, 0) / head.voxel, 0, 1))

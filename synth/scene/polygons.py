"""Convex outlines on the ground: whether they overlap, and where one finds room beside another."""

import math

import cv2
import numpy as np

from synth.types import Array, Rng


def footprint(points_world: Array) -> Array:
    """(M, 2) corners of the convex outline seen from above, counter-clockwise."""
    flat = points_world[:, :2]
    corners = convex_outline(flat)
    if len(corners) < 3:  # seen from above it is a line: given a little width
        width = 1e-5 * np.ptp(flat, axis=0).max() + 1e-12
        flat = (flat[:, None] + width * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])).reshape(-1, 2)
        corners = convex_outline(flat)
    return corners


def convex_outline(flat: Array) -> Array:
    """(M, 2) corners of the convex hull of points (N, 2), counter-clockwise; of a line its ends."""
    middle = flat.mean(0)
    at = cv2.convexHull((flat - middle).astype(np.float32), returnPoints=False)
    return np.asarray(flat[at[:, 0]])


def convex_overlap(a: Array, b: Array) -> bool:
    """Whether two convex polygons (M, 2), (N, 2) overlap; the axes' boxes are looked at first."""
    if (a.max(0) <= b.min(0)).any() or (b.max(0) <= a.min(0)).any():
        return False
    below, above, _ = separations(a, b, np.zeros(2))
    return not ((below >= 0) | (above >= 0)).any()


def separations(a: Array, b: Array, direction: Array) -> tuple[Array, Array, Array]:
    """Along the normals of all edges of convex polygons (M, 2), (N, 2), one of which parts them if any line
    does: how far `a` lies below `b`, how far above it, and the component of `direction`, (M + N,) each."""
    edges = np.concatenate([a[1:], a[:1], b[1:], b[:1]]) - np.concatenate([a, b])
    normals = np.stack([edges[:, 1], -edges[:, 0]], axis=1)
    along_a, along_b = a @ normals.T, b @ normals.T
    return along_b.min(0) - along_a.max(0), along_a.min(0) - along_b.max(0), normals @ direction


def spot_beside(shape: Array, other: Array, diameter: float, gap: tuple[float, float], rng: Rng) -> Array:
    """The offset (2,) that puts `shape` next to `other` in a random direction.

    shape, other: convex polygons (M, 2), (N, 2), metres. diameter: of the object, metres. gap: range of the
    room between them, in diameters.
    """
    angle = rng.uniform(-math.pi, math.pi)
    direction = np.array([math.cos(angle), math.sin(angle)])
    start = (other.max(0) + other.min(0)) / 2 - (shape.max(0) + shape.min(0)) / 2
    below, above, speed = separations(shape + start, other, direction)
    near, far = 0.0, 2.5 * diameter
    for _ in range(12):
        middle = (near + far) / 2
        if ((below >= speed * middle) | (above >= -speed * middle)).any():
            far = middle
        else:
            near = middle
    return np.asarray(start + direction * (far + rng.uniform(*gap) * diameter))

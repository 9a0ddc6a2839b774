"""Convex outlines on the ground: whether they overlap, and where one finds room beside another."""

import math

import cv2
import numpy as np

from synth.types import Array, Rng


def footprint(points_world: Array) -> Array:
    """(M, 2) corners, M >= 3, counter-clockwise, of the convex hull of points (N, 3) seen from above."""
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
    """Whether two convex polygons (M, 2), (N, 2) overlap (separating axis theorem); ones that only touch do
    not. Their bounding boxes are compared first, which settles most cases."""
    if (a.max(0) <= b.min(0)).any() or (b.max(0) <= a.min(0)).any():
        return False
    below, above, _ = separations(a, b, np.zeros(2))
    return not ((below >= 0) | (above >= 0)).any()


def separations(a: Array, b: Array, direction: Array) -> tuple[Array, Array, Array]:
    """How far two convex polygons (M, 2), (N, 2) are apart along the normal of each edge of either.

    Returns three arrays (M + N,), all scaled with the edges' lengths: how far all of `a` lies below all of
    `b`, how far above it, and the component of `direction` (2,) along the normal. Two convex polygons are
    apart exactly if one of these normals parts them.
    """
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

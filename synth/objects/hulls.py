"""What a mesh's shape says: distances to its surface, its convex hull and pieces, how it comes to rest."""

import math

import cv2
import numpy as np
import trimesh
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import ConvexHull, QhullError

from synth.asset import Part
from synth.geometry import rotation_between, unit
from synth.types import Array

MAX_STABLE_POSES = 16
MIN_POSE_PROBABILITY = 0.01
SAMPLES, OUTLINE_PX, OPEN, CELLS, PIECE_CORNERS = 20_000, 32, 0.8, 8, 32
"""For convex_pieces. SAMPLES points on the surface are looked at along the three axes, in pictures of
OUTLINE_PX a side. Where they fill less than the share OPEN of the hull's silhouettes, one sees through the
shape, and it is cut into cells, CELLS along its longest side; each cell's hull keeps PIECE_CORNERS
corners."""
MAX_CORNERS = 1024
"""Kept of a convex hull: that of a finely meshed ball has as many corners as the ball has vertices."""
UP = np.array([0.0, 0.0, 1.0])
WELD = 1e-6
"""Vertices nearer to each other than this share of the mesh's longest side count as one."""
FLAT = 1e-6
"""A mesh thinner than this share of its size is flat; one that is also narrower than that is a line."""


def distance_to_surface(parts: tuple[Part, ...], points: Array) -> Array:
    """points: (K, 3). Returns (K,) metres to the nearest surface of the parts."""
    vertices, faces = merged(parts)
    triangles = vertices[faces]
    return np.array([_distances(triangles, point).min() for point in points])


def normals_at(parts: tuple[Part, ...], points: Array, reach_m: float) -> tuple[Array, ...]:
    """For each of points (K, 3) the outward normals (N, 3), not of unit length, of the faces within `reach_m`
    metres.

    N = 0 where there is no face, or where one of them may be seen from behind, because neither its part nor
    all parts together are closed there: nothing can then be said about which sides hide the point.
    """
    vertices, faces = merged(parts)
    triangles = vertices[faces]
    normals = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    closed = np.concatenate([np.full(len(part.faces), part.closed) for part in parts])
    closed |= closed_faces(vertices, faces)
    found = []
    for point in points:
        near = _distances(triangles, point) < reach_m
        found.append(normals[near] if closed[near].all() else normals[:0])
    return tuple(found)


def _distances(triangles: Array, point: Array) -> Array:
    """(F,) of the point (3,) from each triangle."""
    nearest = trimesh.triangles.closest_point(triangles, np.broadcast_to(point, (len(triangles), 3)))
    return np.asarray(np.linalg.norm(nearest - point, axis=1))


def merged(parts: tuple[Part, ...]) -> tuple[Array, np.ndarray]:
    """All parts' vertices (V, 3) and faces (F, 3) as one."""
    offsets = np.cumsum([0] + [len(p.vertices) for p in parts[:-1]])
    return (
        np.concatenate([p.vertices for p in parts]),
        np.concatenate([p.faces + o for p, o in zip(parts, offsets, strict=True)]),
    )


def convex_corners(parts: tuple[Part, ...]) -> Array:
    """(H, 3) corners of the parts' common convex hull, metres; at most MAX_CORNERS, those farthest out in
    evenly spread directions. Of a flat mesh all vertices."""
    vertices, _ = merged(parts)
    try:
        corners: Array = vertices[ConvexHull(vertices).vertices]
    except QhullError:
        corners = vertices
    return corners if len(corners) <= MAX_CORNERS else _supports(corners, MAX_CORNERS)


def _supports(points: Array, count: int) -> Array:
    """(H, 3) of points (N, 3) those farthest out in any of `count` directions, which are spread evenly over
    the sphere by a Fibonacci lattice; H <= count."""
    turns = np.arange(count) + 0.5
    z = 1 - 2 * turns / count
    angle = math.pi * (1 + math.sqrt(5)) * turns
    flat = np.sqrt(1 - z**2)
    directions = np.column_stack([flat * np.cos(angle), flat * np.sin(angle), z])
    kept: Array = points[np.unique([(points @ direction).argmax() for direction in directions])]
    return kept


def convex_pieces(parts: tuple[Part, ...]) -> tuple[Array, ...]:
    """Corners (H, 3) of convex bodies that together fill about what the parts fill, metres.

    One body, the parts' hull, where it is a fair picture of them. Where one sees through much of it along the
    axes (a chair, a bicycle), the hulls of what lies in each cell of a grid.
    """
    hull, (vertices, faces) = convex_corners(parts), merged(parts)
    surface = trimesh.Trimesh(vertices, faces, process=False)
    points = np.asarray(trimesh.sample.sample_surface(surface, SAMPLES, seed=0)[0])
    areas = np.array([_silhouette_areas(np.delete(points, i, 1), np.delete(hull, i, 1)) for i in range(3)])
    filled, whole = areas.sum(0)
    if filled >= OPEN * whole:
        return (hull,)
    cells = ((points - points.min(0)) / np.ptp(points, axis=0).max() * CELLS).astype(int)
    _, cell = np.unique(cells, axis=0, return_inverse=True)
    return tuple(_supports(points[cell == n], PIECE_CORNERS) for n in range(cell.max() + 1))


def _silhouette_areas(points: Array, hull: Array) -> tuple[float, float]:
    """Two areas in a picture of OUTLINE_PX a side: of the pixels that points (N, 2) fall in, and of their
    hull with corners (H, 2)."""
    low, size = hull.min(0), np.maximum(np.ptp(hull, axis=0), 1e-30)
    seen, outline = np.zeros((2, OUTLINE_PX, OUTLINE_PX), np.uint8)
    x, y = np.minimum((points - low) / size * OUTLINE_PX, OUTLINE_PX - 1).astype(int).T
    seen[y, x] = 1
    corners = np.round((hull - low) / size * (OUTLINE_PX - 1)).astype(np.int32)
    cv2.fillConvexPoly(outline, cv2.convexHull(corners), 1)
    pixel = float(np.prod(size / OUTLINE_PX))
    return int((seen & outline).sum()) * pixel, int(outline.sum()) * pixel


def stable_poses(parts: tuple[Part, ...]) -> tuple[tuple[Array, float], ...]:
    """Rotations (3, 3) in which the convex hull lies on z = 0 without toppling, each with its probability,
    the most probable first; the probabilities add up to 1.

    From trimesh, for an evenly filled hull; but each rotation is made anew as the smallest that turns the
    side it lies on down, and equally probable ones are ordered by that side: trimesh's own yaw and order
    differ from processor to processor. A flat mesh lies on either face, a ball in any pose.
    """
    vertices, _ = merged(parts)
    down = -UP
    thin = np.linalg.eigh(np.cov(vertices.T))[1][:, 0]
    hull = None
    if np.ptp(vertices @ thin) > FLAT * np.ptp(vertices, axis=0).max():
        corners = convex_corners(parts)
        hull = trimesh.convex.convex_hull(vertices if len(corners) < MAX_CORNERS // 2 else corners)
    # without its centre of mass inside, trimesh would look for one that is, for ever
    if hull is None or not (_heights(hull, hull.center_mass) < 0).all():
        R = rotation_between(thin * np.sign(thin[np.abs(thin).argmax()]), UP)
        return ((R, 0.5), (np.diag([1.0, -1.0, -1.0]) @ R, 0.5))
    transforms, probabilities = trimesh.poses.compute_stable_poses(hull)
    sides = [
        (round(float(p), 6), tuple(np.round(t[:3, :3].T @ down, 6) + 0.0))
        for t, p in zip(transforms, probabilities, strict=True)
        if p >= MIN_POSE_PROBABILITY
    ]
    sides.sort(key=lambda side: (-side[0], side[1]))
    poses = [(rotation_between(unit(np.array(side)), down), p) for p, side in sides[:MAX_STABLE_POSES]]
    if not poses:  # round: every pose is as good as another
        return ((np.eye(3), 1.0),)
    total = sum(p for _, p in poses)
    return tuple((r, p / total) for r, p in poses)


def _heights(hull: trimesh.Trimesh, point: Array) -> Array:
    """(F,) metres of the point (3,) above each face of the hull."""
    heights: Array = np.einsum("ij,ij->i", point - hull.triangles_center, hull.face_normals)
    return heights


def closed_faces(vertices: Array, faces: np.ndarray) -> NDArray[np.bool_]:
    """(F,) whether each face belongs to a piece of surface that is closed and has its outside out, so that no
    back of it ever shows.

    vertices: (V, 3). faces: (F, 3). Closed: the faces of the piece run along every edge once in each
    direction, and enclose a positive volume. Vertices at one place (WELD) count as one. Faces without area
    never show and follow the others.
    """
    closed = np.zeros(len(faces), np.bool_)
    span = np.ptp(vertices, axis=0).max()
    if span == 0:
        return closed
    _, same = trimesh.grouping.unique_rows(vertices / (span * WELD), digits=0)
    corners = same[faces]
    real = (corners != np.roll(corners, 1, axis=1)).all(axis=1)
    corners = corners[real]
    start, end = corners.ravel().astype(np.int64), np.roll(corners, -1, axis=1).ravel()
    n = int(same.max()) + 1
    pieces, piece = connected_components(coo_array((np.ones(len(start), bool), (start, end)), shape=(n, n)))
    runs, which, times = np.unique(start * n + end, return_inverse=True, return_counts=True)
    open_edges = (times[which] > 1) | ~np.isin(end * n + start, runs)
    places = (vertices - vertices.mean(0))[np.unique(same, return_index=True)[1]]
    a, b, c = np.moveaxis(places[corners], 1, 0)
    volumes = np.bincount(piece[corners[:, 0]], np.einsum("ij,ij->i", a, np.cross(b, c)), minlength=pieces)
    volumes[piece[start[open_edges]]] = 0
    closed[real] = volumes[piece[corners[:, 0]]] > 0
    closed[~real] = closed.any()
    return closed

"""Polygons of any number of corners as triangles."""

from collections.abc import Sequence
from typing import Any

import manifold3d
import numpy as np
from numpy.typing import NDArray

from synth.types import Array

OUTSIDE = 1e-3
"""A polygon is not filled by a fan of which a triangle is turned over and larger than this share of it."""
Triangles = NDArray[np.int64]
Corners = Sequence[int] | NDArray[Any]


def cuts(vertices: Array, polygons: Sequence[Corners]) -> dict[int, Triangles]:
    """Of the polygons that a fan of triangles about the first corner would not fill: the polygon's number ->
    the triangles (n - 2, 3) that do, as positions among its n corners.

    vertices: (V, 3). polygons: of each the vertices at its corners. All corners stay corners of triangles, so
    that neighbours still meet edge to edge. Polygons need not be quite flat: they are cut as they look from
    their mean normal. Raises IndexError for a corner that is no vertex.
    """
    by_size: dict[int, list[int]] = {}
    for number, polygon in enumerate(polygons):
        if len(polygon) > 3:
            by_size.setdefault(len(polygon), []).append(number)
    found = {}
    for numbers in by_size.values():
        corners = vertices[np.array([polygons[number] for number in numbers], dtype=np.int64)]
        found.update({numbers[row]: _ears(corners[row]) for row in np.flatnonzero(~_fans_fill(corners))})
    return found


def triangles(vertices: Array, polygons: Sequence[Sequence[int]]) -> tuple[Triangles, Triangles]:
    """Faces (F, 3) that fill the polygons, vertex indices, and for each face the number of its polygon.

    Triangles come first, then the halves of quadrilaterals, then the rest, as from trimesh.
    """
    concave = cuts(vertices, polygons)
    rows: list[tuple[int, int, Sequence[int]]] = []
    for number, polygon in enumerate(polygons):
        size = len(polygon)
        if number in concave:
            rows += [(0, number, [polygon[i] for i in corners]) for corners in concave[number]]
        elif size == 4:
            first, second, third, fourth = polygon
            rows += [(1, number, (first, second, third)), (2, number, (third, fourth, first))]
        else:
            rank = 0 if size == 3 else 3
            rows += [(rank, number, (polygon[0], *polygon[i : i + 2])) for i in range(1, size - 1)]
    rows.sort(key=lambda row: row[0])
    faces = np.array([corners for _, _, corners in rows], dtype=np.int64).reshape(-1, 3)
    return faces, np.array([number for _, number, _ in rows], dtype=np.int64)


def _fans_fill(corners: Array) -> NDArray[np.bool_]:
    """(M,) of polygons (M, n, 3): whether no triangle of the fan is turned over against the polygon's normal.

    The triangles' areas add up to the polygon's; where none is negative, they cover it once.
    """
    arms = corners[:, 1:] - corners[:, :1]
    areas = np.cross(arms[:, :-1], arms[:, 1:])
    normals = areas.sum(1)
    along = (areas * normals[:, None]).sum(2)
    return np.asarray((along >= -OUTSIDE * (normals**2).sum(1)[:, None]).all(1))


def _ears(corners: Array) -> Triangles:
    """See cuts. corners: (n, 3)."""
    centred = corners - corners.mean(0)
    normal = np.cross(centred, np.roll(centred, -1, axis=0)).sum(0)
    normal /= np.linalg.norm(normal)
    across = np.cross(normal, np.eye(3)[np.abs(normal).argmin()])
    across /= np.linalg.norm(across)
    seen = centred @ np.column_stack([across, np.cross(normal, across)])
    return np.asarray(manifold3d.triangulate([seen]), dtype=np.int64)

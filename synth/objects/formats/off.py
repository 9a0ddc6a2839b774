"""OFF files: places, colours and polygons. Trimesh's reader knows no colours and fans every polygon."""

import re
from collections.abc import Iterator
from itertools import islice

import numpy as np
import trimesh
from numpy.typing import NDArray

from synth.objects.formats.polygons import triangles

_HEADER = re.compile(r"\s*(ST)?(C)?(N)?(4)?(n)?OFF\b", re.IGNORECASE)


def read_off(text: str) -> trimesh.Trimesh:
    """The mesh, with colours of its vertices or faces where the file has them.

    Raises ValueError for a file that is no OFF file in text of three dimensions, or ends early.
    """
    header = _HEADER.match(text)
    if header is None:
        raise ValueError("not an OFF file: it does not begin with OFF, COFF, NOFF or the like")
    textured, colored, with_normals, *dimensions = header.groups()
    if any(dimensions) or text[header.end() :].lstrip().upper().startswith("BINARY"):
        raise ValueError(f"{header.group().strip()} of another dimension or BINARY: export it as text OFF")
    words = _lines(text[header.end() :])
    n_vertices, n_faces = (int(word) for word in next(words)[:2])
    rows = list(islice(words, n_vertices + n_faces))
    if min(n_vertices, n_faces) < 0 or len(rows) < n_vertices + n_faces:
        raise ValueError(f"it ends early: {len(rows)} lines, expected {n_vertices + n_faces}")
    vertices = np.array([row[:3] for row in rows[:n_vertices]], dtype=np.float64).reshape(n_vertices, 3)
    sizes = [int(row[0]) for row in rows[n_vertices:]]
    polygons = [[int(w) for w in row[1 : n + 1]] for n, row in zip(sizes, rows[n_vertices:], strict=True)]
    if any(len(polygon) != size for polygon, size in zip(polygons, sizes, strict=True)):
        raise ValueError("it ends early: a face has fewer corners than it says")
    if any(not 0 <= corner < n_vertices for polygon in polygons for corner in polygon):
        raise ValueError(f"a face has a corner that is none of its {n_vertices} vertices")
    faces, sources = triangles(vertices, polygons)
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    start = 6 if with_normals else 3
    end = -2 if textured else None
    of_vertices = _colors([row[start:end] for row in rows[:n_vertices]]) if colored else None
    of_faces = _colors([row[n + 1 :] for n, row in zip(sizes, rows[n_vertices:], strict=True)])
    if of_vertices is not None:
        mesh.visual = trimesh.visual.ColorVisuals(mesh, vertex_colors=of_vertices)
    elif of_faces is not None:
        mesh.visual = trimesh.visual.ColorVisuals(mesh, face_colors=of_faces[sources])
    return mesh


def _lines(text: str) -> Iterator[list[str]]:
    """The words of each line that holds any before a comment."""
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if words:
            yield words


def _colors(rows: list[list[str]]) -> NDArray[np.uint8] | None:
    """(N, 3) where each row has at least three numbers, whole ones up to 255 or shares of 1; else None: a
    single number is a place in a table that no file holds."""
    if not rows or any(len(row) < 3 for row in rows):
        return None
    shares = any("." in word or "e" in word.lower() for row in rows for word in row[:3])
    values = np.array([row[:3] for row in rows], dtype=np.float64)
    return np.asarray(np.clip(values * (255 if shares and values.max() <= 1 else 1) + 0.5, 0, 255), np.uint8)

"""A folder of meshes to stand around as distractors, read when they are first asked for."""

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from synth.asset import Part
from synth.errors import AssetError
from synth.objects.hulls import convex_corners, merged, stable_poses
from synth.objects.mesh_files import MESH_SUFFIXES
from synth.objects.meshes import load_mesh
from synth.system.apart import read_apart
from synth.system.pool import Pool, files_below, open_pool
from synth.system.progress import track
from synth.types import Array

MESHES_KEPT = 64


@dataclass(frozen=True)
class PoolMesh:
    """parts: in a frame with the bounding box's middle as origin and its longest side as unit.

    size: (3,) of the box. corners: (H, 3) of the convex hull. poses: see ObjectAsset.stable_poses.
    """

    parts: tuple[Part, ...]
    size: tuple[float, float, float]
    corners: Array
    poses: tuple[tuple[Array, float], ...]


def open_meshes(folder: Path) -> Pool:
    """The pool of the meshes in the folder. Raises DataError when there is none."""
    pool = open_pool(folder, MESH_SUFFIXES, "distractor meshes")
    meshes = set(pool.names)
    return replace(pool, beside=tuple(name for name in files_below(folder) if name not in meshes))


def check_meshes(pool: Pool) -> None:
    """Reads every mesh once, in another process. Raises AssetError for the first that is unsound or ends that
    process."""
    files = [(pool.path(name), (1.0, pool.folder)) for name in pool.names]
    for _ in track(read_apart(load_mesh, files, AssetError), len(files), "distractor meshes"):
        pass


def pool_mesh(pool: Pool, name: str) -> PoolMesh:
    """A mesh of the pool. Raises AssetError for a file that is no sound mesh."""
    return _load(pool.folder, name)


@lru_cache(maxsize=MESHES_KEPT)
def _load(folder: Path, name: str) -> PoolMesh:
    parts = load_mesh(folder / name, 1.0, folder).parts
    vertices, _ = merged(parts)
    low, high = vertices.min(0), vertices.max(0)
    unit = float((high - low).max())
    parts = tuple(replace(p, vertices=(p.vertices - (low + high) / 2) / unit) for p in parts)
    x, y, z = (float(side) for side in (high - low) / unit)
    return PoolMesh(parts, (x, y, z), convex_corners(parts), stable_poses(parts))


def box_projected(part: Part) -> Part:
    """The part with uv as a procedural surface wants them: the position along the normal's largest axis."""
    axis = np.abs(part.normals).argmax(1)
    rows = np.arange(len(axis))
    uv = np.column_stack([part.vertices[rows, (axis + 1) % 3], part.vertices[rows, (axis + 2) % 3]])
    return replace(part, uv=uv, texture=None, base_color=(1.0, 1.0, 1.0))

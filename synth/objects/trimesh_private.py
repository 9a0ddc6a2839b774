"""What trimesh knows and has no public name for: the only module that touches its private fields.

Trimesh computes normals that are asked for, and keeps a file's own in the same cache; only the cache tells
the two apart. Setting `mesh.vertex_normals` fills it.
"""

import numpy as np
import trimesh
from trimesh.visual import TextureVisuals

from synth.types import Array


def given_normals(mesh: trimesh.Trimesh) -> Array | None:
    """(V, 3) vertex normals that the file or whoever changed the mesh has given; None = none yet."""
    normals = mesh._cache.cache.get("vertex_normals")
    return None if normals is None else np.asarray(normals)


def has_normals(mesh: trimesh.Trimesh) -> bool:
    """Whether the mesh, as it is now, has vertex normals that need not be computed."""
    return "vertex_normals" in mesh._cache


def forget_normals(mesh: trimesh.Trimesh) -> None:
    mesh._cache.delete("vertex_normals")


def copied(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """A copy with the given normals and, unlike trimesh's own of a textured mesh, with vertex colours."""
    copy = mesh.copy(include_cache=True)
    if isinstance(mesh.visual, TextureVisuals):
        vars(copy.visual)["vertex_attributes"].update(mesh.visual.vertex_attributes.data)
    return copy

"""Mesh and texture files in: named parts in metres, their hull and their stable poses."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from PIL import Image
from scipy.spatial import ConvexHull, QhullError
from trimesh.visual import TextureVisuals

from synth.errors import AssetError
from synth.types import Array, Part

MAX_TEXTURE_PX = 2048
SHARP_EDGE = math.radians(30)
"""Meshes without normals are shaded smooth across edges flatter than this."""
MAX_STABLE_POSES = 16
MIN_POSE_PROBABILITY = 0.01


def load_texture(path: Path) -> np.ndarray:
    """(h, w, 3) uint8 sRGB, at most MAX_TEXTURE_PX a side."""
    try:
        with Image.open(path) as image:
            return _texture_array(image)
    except (OSError, Image.DecompressionBombError) as error:
        raise AssetError(f"{path}: not a readable image: {error}") from error


def load_parts(path: Path, unit_m: float) -> tuple[Part, ...]:
    """The mesh file's geometries with their node transforms applied, in metres."""
    try:
        scene = trimesh.load_scene(path, process=False)  # processing would drop what is not finite unseen
        geometries = _placed_meshes(scene)
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise AssetError(f"{path}: cannot be read as a mesh: {reason}") from error
    if not geometries:
        raise AssetError(f"{path}: has no faces")
    vertices = np.concatenate([geometry.vertices for geometry in geometries])
    if not np.isfinite(vertices).all():
        raise AssetError(f"{path}: {int((~np.isfinite(vertices)).any(1).sum())} vertices are not finite")
    if np.ptp(vertices, axis=0).max() <= 0:
        raise AssetError(f"{path}: the mesh has zero size")
    return tuple(_part(geometry, unit_m, path) for geometry in geometries)


def _placed_meshes(scene: trimesh.Scene) -> list[trimesh.Trimesh]:
    """Every instance of every mesh, moved to its place; unlike Scene.dump this keeps the file's normals."""
    placed = []
    for node in scene.graph.nodes_geometry:
        transform, name = scene.graph[node]
        geometry = scene.geometry[name]
        if isinstance(geometry, trimesh.Trimesh) and len(geometry.faces):
            mesh = geometry.copy(include_cache=True)
            if isinstance(geometry.visual, TextureVisuals):  # its copy has no vertex colours
                vars(mesh.visual)["vertex_attributes"].update(geometry.visual.vertex_attributes.data)
            mesh.apply_transform(transform)
            mesh.metadata["name"] = name
            placed.append(mesh)
    return placed


def distance_to_surface(parts: tuple[Part, ...], points: Array) -> Array:
    """points: (K, 3). Returns (K,) metres to the nearest surface of the parts."""
    vertices, faces = merged(parts)
    triangles = vertices[faces]
    nearest = [
        np.linalg.norm(
            trimesh.triangles.closest_point(triangles, np.broadcast_to(p, (len(triangles), 3))) - p, axis=1
        ).min()
        for p in points
    ]
    return np.array(nearest)


def merged(parts: tuple[Part, ...]) -> tuple[Array, np.ndarray]:
    """All parts' vertices (V, 3) and faces (F, 3) as one."""
    offsets = np.cumsum([0] + [len(p.vertices) for p in parts[:-1]])
    return (
        np.concatenate([p.vertices for p in parts]),
        np.concatenate([p.faces + o for p, o in zip(parts, offsets, strict=True)]),
    )


def convex_corners(parts: tuple[Part, ...]) -> Array:
    """(H, 3) corners of the convex hull; all vertices when the mesh is flat."""
    vertices, _ = merged(parts)
    try:
        corners: Array = vertices[ConvexHull(vertices).vertices]
        return corners
    except QhullError:
        return vertices


def stable_poses(parts: tuple[Part, ...]) -> tuple[tuple[Array, float], ...]:
    """Rotations that lay the convex hull on z = 0 without toppling, most probable first."""
    vertices, _ = merged(parts)
    try:
        hull = trimesh.convex.convex_hull(vertices)
        transforms, probabilities = trimesh.poses.compute_stable_poses(hull)
    except Exception:  # a flat mesh has no volume: it rests on either side
        return ((np.eye(3), 0.5), (np.diag([1.0, -1.0, -1.0]), 0.5))
    poses = [
        (np.ascontiguousarray(t[:3, :3]), float(p))
        for t, p in zip(transforms, probabilities, strict=True)
        if p >= MIN_POSE_PROBABILITY
    ][:MAX_STABLE_POSES]
    total = sum(p for _, p in poses)
    return tuple((r, p / total) for r, p in poses)


def _part(mesh: trimesh.Trimesh, unit_m: float, path: Path) -> Part:
    if "vertex_normals" not in mesh._cache:
        mesh.merge_vertices()
    material = getattr(mesh.visual, "material", None)
    if material is not None and not isinstance(material, trimesh.visual.material.PBRMaterial):
        material = material.to_pbr()
    uv = getattr(mesh.visual, "uv", None)
    image = getattr(material, "baseColorTexture", None)
    texture = _texture_array(image) if image is not None and uv is not None else None
    bumps, surface = (
        None if uv is None or image is None else _texture_array(image)
        for image in (getattr(material, f"{kind}Texture", None) for kind in ("normal", "metallicRoughness"))
    )
    textured = any(image is not None for image in (texture, bumps, surface))
    color = getattr(material, "baseColorFactor", None)
    if color is None:
        plain = np.array([255, 255, 255, 255], dtype=np.uint8)
        color = getattr(mesh.visual, "main_color", plain) if material is None else plain
    if not textured and "vertex_normals" not in mesh._cache:
        mesh = trimesh.graph.smooth_shade(mesh, angle=SHARP_EDGE)
    vertex_colors = _vertex_colors(mesh, linear=path.suffix.lower() in (".glb", ".gltf"))
    if vertex_colors is not None and material is None:
        color = np.ones(3)
    name = str(mesh.metadata.get("name") or path.stem)
    rgb = np.asarray(color)[:3]
    rgb = rgb / 255.0 if rgb.dtype == np.uint8 else rgb.astype(np.float64)
    roughness = getattr(material, "roughnessFactor", None)
    metallic = getattr(material, "metallicFactor", None)
    return Part(
        name=path.stem if name == path.name else name,
        vertices=np.asarray(mesh.vertices, dtype=np.float64) * unit_m,
        faces=np.asarray(mesh.faces, dtype=np.int64),
        normals=np.asarray(mesh.vertex_normals, dtype=np.float64),
        uv=np.asarray(uv, dtype=np.float64) if textured else None,
        texture=texture,
        base_color=(float(rgb[0]), float(rgb[1]), float(rgb[2])),
        roughness=0.6 if roughness is None else float(roughness),
        metallic=0.0 if metallic is None else float(metallic),
        vertex_colors=vertex_colors,
        normal_texture=bumps,
        surface_texture=surface,
    )


def _vertex_colors(mesh: trimesh.Trimesh, linear: bool) -> np.ndarray | None:
    """(V, 3) uint8 sRGB; linear: the file holds linear light, as glTF does."""
    visual: Any = mesh.visual
    found = visual.vertex_colors if visual.kind == "vertex" else None
    if visual.kind == "texture":
        found = visual.vertex_attributes.get("color")
    if found is None or len(found) != len(mesh.vertices):
        return None
    rgb = np.asarray(found)[:, :3]
    if rgb.dtype.kind != "f":
        rgb = rgb / np.iinfo(rgb.dtype).max
    if linear:
        rgb = np.where(rgb <= 0.0031308, 12.92 * rgb, 1.055 * np.maximum(rgb, 0.0031308) ** (1 / 2.4) - 0.055)
    return np.asarray(np.clip(rgb, 0, 1) * 255 + 0.5, dtype=np.uint8)


def _texture_array(image: Image.Image) -> np.ndarray:
    image = image.convert("RGB")
    image.thumbnail((MAX_TEXTURE_PX, MAX_TEXTURE_PX))
    return np.asarray(image, dtype=np.uint8)

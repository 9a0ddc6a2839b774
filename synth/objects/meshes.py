"""Mesh and texture files in: named parts in metres."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from PIL import Image
from trimesh.visual import ColorVisuals

from synth.asset import Part
from synth.errors import AssetError
from synth.objects.formats.wrapping import repeating
from synth.objects.hulls import FLAT, UP, closed_faces
from synth.objects.mesh_files import MAX_FACES, one_line, read_scene
from synth.objects.trimesh_private import copied, forget_normals, given_normals, has_normals
from synth.system.pictures import rgb_image

MAX_TEXTURE_PX = 2048
SHARP_EDGE = math.radians(30)
"""Meshes without normals are shaded smooth across edges flatter than this."""
TURNED = -0.1
"""A face is turned over when the mean scalar product of its normal with the file's normals at its corners is
less than this."""
SIZES_M = (1e-12, 1e12)
"""Meshes smaller or larger than this are beyond what floating-point numbers measure."""


@dataclass(frozen=True)
class Mesh:
    """A mesh file's parts, the files that were read beside it, the names of those that are absent, and what
    else it asks for and is not drawn."""

    parts: tuple[Part, ...]
    files: tuple[Path, ...]
    absent: tuple[str, ...]
    not_drawn: tuple[str, ...]


def load_texture(path: Path) -> np.ndarray:
    """(h, w, 3) uint8 sRGB, at most MAX_TEXTURE_PX a side."""
    try:
        with Image.open(path) as image:
            return _texture_array(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise AssetError(f"{path}: not a readable image: {error}") from error


def load_mesh(path: Path, unit_m: float, folder: Path | None = None) -> Mesh:
    """The mesh file's geometries with their node transforms applied, in metres.

    folder: what the file may refer to lies in there; by default the file's own. Raises AssetError.
    """
    scene, beside = read_scene(path, folder or path.parent)
    try:
        with np.errstate(invalid="ignore", over="ignore"):
            geometries = _placed_meshes(scene)
        if not geometries:
            raise ValueError("it has no faces")
        vertices = np.concatenate([geometry.vertices for geometry in geometries])
        if not np.isfinite(vertices).all():
            raise ValueError(f"{int((~np.isfinite(vertices)).any(1).sum())} vertices are not finite")
        size_m = float(np.ptp(vertices, axis=0).max()) * unit_m
        if size_m == 0:
            raise ValueError("the mesh has zero size")
        if not SIZES_M[0] < size_m < SIZES_M[1]:
            raise ValueError(f"it measures {size_m:g} m, expected {SIZES_M[0]:g} to {SIZES_M[1]:g}")
        spread = np.linalg.eigvalsh(np.cov(vertices.T))
        if spread[1] < FLAT**2 * spread[2]:
            raise ValueError("all vertices lie on one line")
        parts = tuple(_part(_mended(geometry), unit_m, path) for geometry in geometries)
    except Exception as error:
        raise AssetError(f"{path}: cannot be read as a mesh: {one_line(error)}") from error
    not_drawn = dict.fromkeys(beside.not_drawn + _pictures_without_coordinates(geometries))
    return Mesh(parts, tuple(beside.read), tuple(beside.absent), tuple(not_drawn))


def _pictures_without_coordinates(meshes: list[trimesh.Trimesh]) -> list[str]:
    found = []
    for mesh in meshes:
        visual: Any = mesh.visual
        pictures = [
            getattr(getattr(visual, "material", None), key, None) for key in ("image", "baseColorTexture")
        ]
        if any(pictures) and visual.uv is None:
            found.append(
                f"texture of {mesh.metadata['name']}: drawn without it: it has no texture coordinates"
            )
    return found


def _placed_meshes(scene: trimesh.Scene) -> list[trimesh.Trimesh]:
    """Every instance of every mesh, moved to its place; unlike Scene.dump this keeps the file's normals."""
    placed, faces = [], 0
    for node in scene.graph.nodes_geometry:
        transform, name = scene.graph[node]
        geometry = scene.geometry[name]
        if isinstance(geometry, trimesh.Trimesh) and len(geometry.faces):
            faces += len(geometry.faces)
            if faces > MAX_FACES:
                raise ValueError(f"more than {MAX_FACES} faces; simplify it, 5,000 to 50,000 are plenty")
            if geometry.faces.min() < 0 or geometry.faces.max() >= len(geometry.vertices):
                raise ValueError(f"a face of {name!r} has a corner that is not among its vertices")
            mesh = copied(geometry)
            mesh.apply_transform(transform)
            mesh.metadata["name"] = name
            placed.append(mesh)
    return placed


def _mended(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """The mesh, changed in place, with what exporters get wrong mended.

    Vertices that no face uses are dropped; normals without length are computed anew; faces are turned to the
    side that the file's normals point to, and closed surfaces outside out. Without normals in the file,
    vertices at one place become one, so that closed surfaces are known as such, unless they differ in colour;
    where faces have colours, each gets vertices of its own.
    """
    used = np.zeros(len(mesh.vertices), bool)
    used[mesh.faces] = True
    if not used.all():
        mesh.update_vertices(used)
    given = given_normals(mesh)
    if given is not None and not (np.linalg.norm(given, axis=1) > 1e-6).all():
        forget_normals(mesh)
    if has_normals(mesh):
        normals = mesh.vertex_normals.copy()
        turned = (mesh.face_normals * normals[mesh.faces].mean(1)).sum(1) < TURNED
        if turned.any():
            mesh.faces = np.where(turned[:, None], mesh.faces[:, ::-1], mesh.faces)
            mesh.vertex_normals = normals  # type: ignore[method-assign]
    elif isinstance(mesh.visual, ColorVisuals) and mesh.visual.kind == "face":
        colors = np.repeat(mesh.visual.face_colors, 3, axis=0)
        mesh.unmerge_vertices()
        mesh.visual = ColorVisuals(mesh, vertex_colors=colors)
    elif not _colors_meet(mesh):
        mesh.merge_vertices()  # else no STL is watertight
    if mesh.is_watertight and mesh.volume < 0:
        mesh.invert()
    return mesh


def _crease(mesh: trimesh.Trimesh) -> None:
    """Gives the mesh, in place, vertex normals that are smooth across edges flatter than SHARP_EDGE; at
    sharper edges vertices are doubled, one for each side.

    As trimesh's smooth_shade, but texture coordinates are kept, and where only the texture is cut into
    islands the surface stays smooth.
    """
    welded = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    welded.merge_vertices()
    flat = welded.face_adjacency[welded.face_adjacency_angles <= SHARP_EDGE]
    surface = trimesh.graph.connected_component_labels(flat, node_count=len(mesh.faces)).astype(np.int64)
    count, whole = len(mesh.vertices), len(welded.vertices)
    places, corners = np.unique(surface[:, None] * whole + welded.faces, return_inverse=True)
    corners = corners.reshape(-1, 3)
    normals = trimesh.Trimesh(welded.vertices[places % whole], corners, process=False).vertex_normals
    normals = np.where(normals.any(axis=1, keepdims=True), normals, UP)  # of faces without area
    rows, faces = np.unique(corners * count + mesh.faces, return_inverse=True)
    mesh.update_vertices(rows % count)
    mesh.faces = faces.reshape(-1, 3)
    mesh.vertex_normals = normals[rows // count]  # type: ignore[method-assign]


def _colors_meet(mesh: trimesh.Trimesh) -> bool:
    """Whether vertices at one place have different colours."""
    colors = _raw_colors(mesh)
    if colors is None:
        return False
    _, place = trimesh.grouping.unique_rows(mesh.vertices)
    first = np.unique(place, return_index=True)[1]
    return bool((colors != colors[first][place]).any())


def _part(mesh: trimesh.Trimesh, unit_m: float, path: Path) -> Part:
    material = getattr(mesh.visual, "material", None)
    if material is not None and not isinstance(material, trimesh.visual.material.PBRMaterial):
        material = material.to_pbr()
    if not has_normals(mesh):
        _crease(mesh)
    uv = getattr(mesh.visual, "uv", None)
    image = getattr(material, "baseColorTexture", None)
    texture = _texture_array(image) if image is not None and uv is not None else None
    bumps, surface = (
        None if uv is None or image is None else _texture_array(image)
        for image in (getattr(material, f"{kind}Texture", None) for kind in ("normal", "metallicRoughness"))
    )
    if "wrap" in mesh.metadata and uv is not None:
        uv, (texture, bumps, surface) = repeating(
            np.asarray(uv), [texture, bumps, surface], mesh.metadata["wrap"]
        )
    textured = any(image is not None for image in (texture, bumps, surface))
    color = getattr(material, "baseColorFactor", None)
    if color is None:
        plain = np.array([255, 255, 255, 255], dtype=np.uint8)
        color = getattr(mesh.visual, "main_color", plain) if material is None else plain
    vertex_colors = _vertex_colors(mesh, linear=path.suffix.lower() in (".glb", ".gltf"))
    if vertex_colors is not None and material is None:
        color = np.ones(3)
    name = str(mesh.metadata.get("name") or path.stem)
    rgb = np.asarray(color)[:3]
    rgb = rgb / 255.0 if rgb.dtype == np.uint8 else rgb.astype(np.float64)
    roughness = getattr(material, "roughnessFactor", None)
    metallic = getattr(material, "metallicFactor", None)
    vertices, faces = np.asarray(mesh.vertices, dtype=np.float64), np.asarray(mesh.faces, dtype=np.int64)
    return Part(
        name=path.stem if name == path.name else name,
        vertices=vertices * unit_m,
        faces=faces,
        normals=np.asarray(mesh.vertex_normals, dtype=np.float64),
        uv=np.asarray(uv, dtype=np.float64) if textured else None,
        texture=texture,
        base_color=(float(rgb[0]), float(rgb[1]), float(rgb[2])),
        roughness=(0.6 if surface is None else 1.0) if roughness is None else float(roughness),
        metallic=(0.0 if surface is None else 1.0) if metallic is None else float(metallic),
        vertex_colors=vertex_colors,
        normal_texture=bumps,
        surface_texture=surface,
        closed=bool(closed_faces(vertices, faces).all()),
    )


def _raw_colors(mesh: trimesh.Trimesh) -> np.ndarray | None:
    """(V, 3 or 4) of the vertices, as the file has them."""
    visual: Any = mesh.visual
    found = visual.vertex_colors if visual.kind == "vertex" else None
    if visual.kind == "texture":
        found = visual.vertex_attributes.get("color")
    return None if found is None or len(found) != len(mesh.vertices) else np.asarray(found)


def _vertex_colors(mesh: trimesh.Trimesh, linear: bool) -> np.ndarray | None:
    """(V, 3) uint8 sRGB; linear: the file holds linear light, as glTF does."""
    found = _raw_colors(mesh)
    if found is None:
        return None
    rgb = found[:, :3]
    if rgb.dtype.kind != "f":
        rgb = rgb / np.iinfo(rgb.dtype).max
    if linear:
        rgb = np.where(rgb <= 0.0031308, 12.92 * rgb, 1.055 * np.maximum(rgb, 0.0031308) ** (1 / 2.4) - 0.055)
    return np.asarray(np.clip(rgb, 0, 1) * 255 + 0.5, dtype=np.uint8)


def _texture_array(image: Image.Image) -> np.ndarray:
    image = rgb_image(image)
    image.thumbnail((MAX_TEXTURE_PX, MAX_TEXTURE_PX))
    return np.asarray(image, dtype=np.uint8)

"""What every renderer draws from a scene: geometry, textures, extents. No OpenGL."""

from dataclasses import replace
from functools import lru_cache

import cv2
import numpy as np
import trimesh
from numpy.typing import NDArray

from synth.asset import MaterialRange, Part
from synth.geometry import rays, transform_points
from synth.objects.library import Library
from synth.objects.mesh_pool import box_projected, pool_mesh
from synth.scene.background import crop_photo, load_photo
from synth.scene.instances import hull_world, middle, projected_box
from synth.scene.surfaces import surface
from synth.types import Array, Distractor, Look, SceneSpec

LinearColor = tuple[float, float, float]
BACKDROP_CELLS = (32, 24)
BACKDROP_REACH = 5.0
"""The ground ends at this multiple of the camera's distance from the world's origin."""


def chosen_texture(part: Part, look: Look, material: MaterialRange | None) -> NDArray[np.uint8] | None:
    """(h, w, 3) uint8 sRGB: the alternative of the object's material that the look has chosen, else the
    part's own texture; None without either."""
    if look.texture is not None and material is not None and part.uv is not None:
        return material.textures[look.texture]
    return part.texture


def varied_texture(part: Part, look: Look, material: MaterialRange | None) -> NDArray[np.uint8] | None:
    """chosen_texture with the look's hue, saturation and value."""
    texture = chosen_texture(part, look, material)
    return None if texture is None else shift_hsv(texture, look)


def varied_color(part: Part, look: Look) -> tuple[float, float, float]:
    """The part's factor of linear RGB; where it has neither texture nor vertex colours, and the factor alone
    is its colour, with the look's hue, saturation and value."""
    if part.texture is not None or part.vertex_colors is not None:
        return part.base_color
    encoded = (np.array(part.base_color) ** (1 / 2.2) * 255 + 0.5).astype(np.uint8)
    r, g, b = (shift_hsv(encoded[None, None], look)[0, 0] / 255.0) ** 2.2
    return float(r), float(g), float(b)


def shift_hsv(rgb: NDArray[np.uint8], look: Look) -> NDArray[np.uint8]:
    """(h, w, 3) uint8 sRGB, its hue turned, its saturation and value multiplied, through lookup tables."""
    h, s, v = cv2.split(cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV_FULL))
    steps = np.arange(256)
    hue = np.asarray((steps + round(look.hue * 256)) % 256, dtype=np.uint8)
    saturation = np.clip(steps * look.saturation + 0.5, 0, 255).astype(np.uint8)
    value = np.clip(steps * look.value + 0.5, 0, 255).astype(np.uint8)
    varied = cv2.merge([cv2.LUT(h, hue), cv2.LUT(s, saturation), cv2.LUT(v, value)])
    return np.asarray(cv2.cvtColor(varied, cv2.COLOR_HSV2RGB_FULL), dtype=np.uint8)


def backdrop(scene: SceneSpec) -> tuple[Array, NDArray[np.int64], Array]:
    """A mesh that fills the image: the ground z = 0 as far as BACKDROP_REACH, a distant wall beyond.

    Returns vertices (V, 3) in world, faces (F, 3) and uv (V, 2): for photos shares of the image with
    v upwards, for surfaces positions in tiles.
    """
    camera, background = scene.camera, scene.background
    columns, rows = BACKDROP_CELLS
    x, y = np.meshgrid(np.linspace(-0.02, 1.02, columns + 1), np.linspace(-0.02, 1.02, rows + 1))
    shares = np.column_stack([x.ravel(), y.ravel()])
    directions = rays(camera, shares * [camera.width_px, camera.height_px])
    eye = camera.T_world_from_camera[:3, 3]
    far = BACKDROP_REACH * reach(scene)
    lengths = far / np.linalg.norm(directions, axis=1)
    if background.on_plane:
        down = np.minimum(directions[:, 2], -1e-9)
        lengths = np.minimum(lengths, -eye[2] / down)
    vertices = eye + directions * lengths[:, None]
    corner = (np.arange(rows)[:, None] * (columns + 1) + np.arange(columns)).ravel()
    a, b, c, d = corner, corner + 1, corner + columns + 2, corner + columns + 1
    faces = np.concatenate([np.column_stack([a, d, c]), np.column_stack([a, c, b])])
    if background.kind == "photo" or not background.on_plane:
        uv = np.column_stack([shares[:, 0], 1 - shares[:, 1]])
    else:
        uv = np.column_stack([vertices[:, 0], vertices[:, 1] + vertices[:, 2]]) / background.tile_m
    return vertices, faces.astype(np.int64), uv


def backdrop_texture(scene: SceneSpec, library: Library) -> NDArray[np.uint8]:
    """(h, w, 3) uint8 sRGB: the photo's crop in the image's size, or one tile of the procedural surface.
    Raises ValueError for a photo of another library."""
    background, camera = scene.background, scene.camera
    if background.kind == "photo":
        if library.photos is None:
            raise ValueError("the scene shows a photo, but the library has no photos")
        photo = load_photo(library.photos.path(background.photo))
        return crop_photo(photo, background.crop, background.flip, camera.width_px, camera.height_px)
    tile = surface(background.kind, background.seed)
    return np.ascontiguousarray(tile[:, ::-1]) if background.flip else tile


def _corners(distractor: Distractor) -> Array:
    half = np.array(distractor.size_m) / 2
    corners: Array = trimesh.bounds.corners(np.array([-half, half]))
    return corners


def reach(scene: SceneSpec) -> float:
    """Metres from the camera to the farthest thing in the scene (at least to the world's origin)."""
    eye = scene.camera.T_world_from_camera[:3, 3]
    places = [np.zeros(3)]
    places += [o.T_world_from_object[:3, 3] for o in scene.objects]
    places += [d.T_world_from_object[:3, 3] for d in scene.distractors]
    return float(max(np.linalg.norm(p - eye) for p in places))


def shadow_region(scene: SceneSpec, library: Library) -> tuple[Array, float]:
    """Centre (3,) in world and radius in metres of a sphere around objects and distractors, with 2 % to
    spare; around the origin, 1 m, where there are none."""
    spheres = [
        (middle(hull_world(library[o.asset], o)), library[o.asset].diameter_m * max(1.0, *o.scale))
        for o in scene.objects
    ]
    spheres += [
        (d.T_world_from_object[:3, 3], float(np.linalg.norm(d.size_m)) / 2) for d in scene.distractors
    ]
    if not spheres:
        return np.zeros(3), 1.0
    centre = np.mean([c for c, _ in spheres], axis=0)
    return centre, 1.02 * max(float(np.linalg.norm(c - centre)) + r for c, r in spheres)


@lru_cache(maxsize=8)
def unit_shape(shape: str) -> tuple[Array, Array, Array]:
    """A distractor's shape in the unit cube, centred: corners of its triangles, the normals there, and those
    of the triangles, (3 F, 3) each; unwelded so that edges are sharp."""
    if shape == "box":
        mesh: trimesh.Trimesh = trimesh.creation.box()
    elif shape == "cylinder":
        mesh = trimesh.creation.cylinder(radius=0.5, height=1.0, sections=32)
    elif shape == "sphere":
        mesh = trimesh.creation.icosphere(subdivisions=3, radius=0.5)
    elif shape == "capsule":
        mesh = trimesh.creation.capsule(radius=0.25, height=0.5, count=(16, 16))
    else:
        mesh = trimesh.creation.cone(radius=0.5, height=1.0, sections=32)
    mesh.apply_translation(-mesh.bounds.mean(0))
    face_normals = np.repeat(mesh.face_normals, 3, axis=0)
    smooth = mesh.vertex_normals[mesh.faces].reshape(-1, 3)
    normals = smooth if shape in ("sphere", "capsule") else face_normals
    return mesh.triangles.reshape(-1, 3), normals, face_normals


def distractor_part(distractor: Distractor) -> Part:
    """The distractor as a part in its own frame, uv by box projection; its texture is surface(…)."""
    corners, normals, face_normals = unit_shape(distractor.shape)
    size = np.array(distractor.size_m)
    vertices = corners * size
    axis = np.abs(face_normals).argmax(1)
    rows = np.arange(len(axis))
    uv = np.column_stack([vertices[rows, (axis + 1) % 3], vertices[rows, (axis + 2) % 3]]) / size.max()
    scaled = normals / size
    return Part(
        name=distractor.shape,
        vertices=vertices,
        faces=np.arange(len(corners)).reshape(-1, 3),
        normals=scaled / np.linalg.norm(scaled, axis=1, keepdims=True),
        uv=uv,
        texture=None,
        base_color=distractor.tint,
        roughness=distractor.roughness,
        metallic=distractor.metallic,
        closed=True,
    )


def distractor_parts(distractor: Distractor, library: Library) -> tuple[Part, ...]:
    """The distractor in its own frame; of a mesh, all parts."""
    if library.meshes is None or distractor.shape not in library.meshes.names:
        return (distractor_part(distractor),)
    parts = pool_mesh(library.meshes, distractor.shape).parts
    return tuple(
        replace(
            part,
            vertices=part.vertices * max(distractor.size_m),
            base_color=_times(part.base_color, distractor.tint),
            roughness=distractor.roughness,
            metallic=distractor.metallic,
        )
        for part in (map(box_projected, parts) if distractor.surface else parts)
    )


def _times(a: LinearColor, b: LinearColor) -> LinearColor:
    return a[0] * b[0], a[1] * b[1], a[2] * b[2]


def may_be_hidden(scene: SceneSpec, library: Library) -> tuple[bool, ...]:
    """For each object whether anything could hide a part of it: the ground that it sinks into, or a thing
    whose projected box meets its own. For the others the pixels it would cover alone need not be drawn."""
    boxes = [projected_box(scene.camera, hull_world(library[o.asset], o)) for o in scene.objects]
    boxes += [
        projected_box(scene.camera, transform_points(d.T_world_from_object, _corners(d)))
        for d in scene.distractors
    ]
    return tuple(
        library[instance.asset].placement.plane_at_m is not None
        or any(_meet(boxes[n], other) for m, other in enumerate(boxes) if m != n)
        for n, instance in enumerate(scene.objects)
    )


def _meet(one: Array | None, other: Array | None) -> bool:
    """Whether two boxes x0, y0, x1, y1 overlap; None, a box that is not known, overlaps all."""
    if one is None or other is None:
        return True
    return bool(((one[:2] < other[2:]) & (other[:2] < one[2:])).all())


def clip_planes(scene: SceneSpec, diameter_m: float) -> tuple[float, float]:
    """Near and far distance in metres along the camera's z, between which everything in the scene lies."""
    far = reach(scene)
    return max(1e-4, 0.01 * min(far, diameter_m)), BACKDROP_REACH * far * 1.1

"""Object folders: object.yaml + mesh + textures -> ObjectAsset.

`OBJECT` is a name in assets/ or a path to such a folder anywhere. Coordinates in object.yaml are in mesh
units, angles in degrees; everything returned is in metres and radians.
"""

import hashlib
import math
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from synth.asset import Joint, MaterialRange, Moving, ObjectAsset, Part, Placement, Ring, Symmetry
from synth.errors import AssetError
from synth.geometry import circle
from synth.objects.hulls import convex_corners, convex_pieces, distance_to_surface, normals_at, stable_poses
from synth.objects.mesh_files import MAX_FILE_BYTES
from synth.objects.meshes import load_mesh, load_texture
from synth.objects.spec import JointSpec, MaterialSpec, ObjectSpec, Vec3, unit_axis
from synth.system.shipped import shipped_folder
from synth.system.yaml_files import read_yaml, validation_text
from synth.types import Array, KeypointSchema

ASSETS = shipped_folder("assets")
ON_SURFACE = 1e-3
"""A keypoint lies on faces that are within this share of the object's diameter."""


def find_object(name_or_path: str | Path) -> Path:
    """The object's folder. Raises AssetError when neither assets/NAME nor the path holds object.yaml."""
    candidates = [Path(name_or_path).expanduser(), ASSETS / str(name_or_path)]
    for folder in candidates:
        if (folder / "object.yaml").is_file():
            return folder.resolve()
    known = sorted(p.parent.name for p in ASSETS.glob("*/object.yaml"))
    raise AssetError(
        f"{name_or_path}: no object.yaml there, and no such object in assets/ (known: {', '.join(known)})"
    )


def load_spec(name_or_path: str | Path) -> tuple[Path, ObjectSpec]:
    """Folder and checked object.yaml. Raises AssetError naming file and field."""
    folder = find_object(name_or_path)
    path = folder / "object.yaml"
    raw = read_yaml(path, AssetError)
    try:
        return folder, ObjectSpec.model_validate(raw)
    except ValidationError as error:
        raise AssetError(f"{path}: {validation_text(error)}") from error


def load_schema(name_or_path: str | Path) -> tuple[str, int, KeypointSchema, Array]:
    """(name, category_id, schema, keypoints_m (K, 3)) from object.yaml alone; the mesh is not read."""
    _, spec = load_spec(name_or_path)
    return spec.name, spec.category_id, spec.keypoint_schema(), spec.keypoints_m()


@lru_cache(maxsize=16)
def load_object(name_or_path: str | Path) -> ObjectAsset:
    """Reads meshes and textures. Raises AssetError for anything missing, empty, not finite or unsafe."""
    folder, spec = load_spec(name_or_path)
    files = [inside(folder, name, "mesh") for name in spec.mesh_files]
    loaded = [load_mesh(file, spec.unit_m, folder) for file in files]
    meshes = tuple(mesh.parts for mesh in loaded)
    textures = {
        part: tuple(load_texture(inside(folder, name, f"materials {part}")) for name in material.textures)
        for part, material in spec.materials.items()
    }
    _check_parts(spec, meshes[0], folder / "object.yaml")
    keypoints = spec.keypoints_m()
    hashed = [folder / "object.yaml", *files]
    hashed += [inside(folder, n, "materials") for m in spec.materials.values() for n in m.textures]
    hashed += [file for mesh in loaded for file in mesh.files]
    vertices = np.concatenate([part.vertices for part in meshes[0]])
    diameter = float(np.linalg.norm(vertices.max(0) - vertices.min(0)))
    return ObjectAsset(
        name=spec.name,
        category_id=spec.category_id,
        meshes=meshes,
        keypoints_m=keypoints,
        keypoint_depth_m=np.array([_depths(parts, keypoints, spec.rings()) for parts in meshes]),
        keypoint_normals=tuple(normals_at(parts, keypoints, ON_SURFACE * diameter) for parts in meshes),
        schema=spec.keypoint_schema(),
        placement=_placement(spec),
        materials={p: _material(m, textures[p]) for p, m in spec.materials.items()},
        joints=tuple(_joint(name, joint, spec) for name, joint in spec.joints.items()),
        scale_range=(spec.scale.x, spec.scale.y, spec.scale.z),
        apparent_size=spec.apparent_size,
        symmetries=tuple(
            Symmetry(unit_axis(s.axis), _scaled(s.origin, spec.unit_m), s.order) for s in spec.symmetries
        ),
        hulls=tuple(convex_corners(parts) for parts in meshes),
        stable_poses=tuple(
            stable_poses(parts) if spec.placement.mode == "resting" else () for parts in meshes
        ),
        diameter_m=diameter,
        hashes={str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in hashed},
        rings=spec.rings(),
        moving_hulls=tuple(
            _moving(spec, parts, lambda group: [convex_corners(group)]) for parts in meshes if spec.joints
        ),
        pieces=tuple(_moving(spec, parts, convex_pieces) for parts in meshes),
        absent_files=tuple(sorted({name for mesh in loaded for name in mesh.absent})),
        not_drawn=tuple(mesh.not_drawn for mesh in loaded),
    )


def _moving(
    spec: ObjectSpec, parts: tuple[Part, ...], bodies: Callable[[tuple[Part, ...]], Iterable[Array]]
) -> tuple[Moving, ...]:
    """The bodies that the parts between the same joints are made of, with those joints."""
    groups: dict[tuple[str, ...], list[Part]] = {}
    for part in parts:
        moved_by = tuple(name for name, joint in spec.joints.items() if part.name in joint.parts)
        groups.setdefault(moved_by, []).append(part)
    return tuple((names, corners) for names, group in groups.items() for corners in bodies(tuple(group)))


def _depths(parts: tuple[Part, ...], keypoints: Array, rings: tuple[Ring, ...]) -> Array:
    depths = distance_to_surface(parts, keypoints)
    for ring in rings:
        places = circle(keypoints[ring.keypoint], ring.axis, ring.radius_m)
        depths[ring.keypoint] = distance_to_surface(parts, places).max()
    return depths


def inside(folder: Path, name: str, field: str) -> Path:
    """The existing file `name` of the object's folder; refuses paths that leave it."""
    where = f"{folder / 'object.yaml'}: {field}: {name!r:.200}"
    try:
        path = (folder / name).resolve()
    except (ValueError, OSError, RuntimeError) as error:
        raise AssetError(f"{where} is no file name") from error
    if not path.is_relative_to(folder.resolve()):
        raise AssetError(f"{where} leaves the object's folder")
    if not path.is_file():
        raise AssetError(f"{where} does not exist")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise AssetError(f"{where} is larger than {MAX_FILE_BYTES >> 20} MiB")
    return path


def _check_parts(spec: ObjectSpec, parts: tuple[Part, ...], path: Path) -> None:
    known = {part.name for part in parts}
    wanted: list[tuple[str, Any]] = [(f"joints {j}", p) for j, s in spec.joints.items() for p in s.parts]
    wanted += [("materials", p) for p in spec.materials if p != "*"]
    for field, name in wanted:
        if name not in known:
            raise AssetError(f"{path}: {field}: the mesh has no part {name!r}; parts are {sorted(known)}")


def _placement(spec: ObjectSpec) -> Placement:
    p = spec.placement
    return Placement(
        mode=p.mode,
        up=unit_axis(p.up),
        plane_at_m=None if p.plane_at is None else p.plane_at * spec.unit_m,
        tilt_axis=unit_axis(p.tilt_axis),
        tilt_range=_radians(p.tilt_deg),
        facing_axis=unit_axis(p.facing_axis),
        facing_max_angle=math.radians(p.facing_max_deg),
        roll_range=_radians(p.roll_deg),
        elevation=_radians(p.elevation_deg),
    )


def _material(spec: MaterialSpec, textures: tuple[np.ndarray, ...]) -> MaterialRange:
    hue = (spec.hue_deg[0] / 360, spec.hue_deg[1] / 360)
    return MaterialRange(hue, spec.saturation, spec.value, spec.roughness, spec.metallic, textures)


def _joint(name: str, joint: JointSpec, spec: ObjectSpec) -> Joint:
    names = list(spec.keypoints)
    return Joint(
        name=name,
        parts=tuple(joint.parts),
        keypoints=tuple(names.index(k) for k in joint.keypoints),
        axis=unit_axis(joint.axis),
        origin_m=_scaled(joint.origin, spec.unit_m),
        range=_radians(joint.range_deg),
    )


def _scaled(v: Vec3, factor: float) -> Vec3:
    return v[0] * factor, v[1] * factor, v[2] * factor


def _radians(degrees: tuple[float, float]) -> tuple[float, float]:
    return math.radians(degrees[0]), math.radians(degrees[1])

"""Where target objects stand: on the ground in stable poses, upright, or free before the camera."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from synth.asset import MaterialRange, ObjectAsset, Part
from synth.config import SynthConfig
from synth.geometry import axis_angle, random_rotation, rays, rigid, rotation_between, unit
from synth.scene.instances import hull_of, hull_world, middle, projected_box
from synth.scene.polygons import convex_overlap, footprint, spot_beside
from synth.scene.streams import log_uniform
from synth.types import Array, Camera, Look, ObjectInstance, Rng

PLACEMENT_TRIES = 30
"""Places that are tried for an object before there are fewer of them in the image."""
MAX_BOX_OVERLAP = 0.3
"""Boxes of two free objects share at most this much of the smaller one's area."""
SINK = 0.01
"""Parts on joints may reach this share of the diameter below the plane that the object stands on at rest."""
SMALLEST = 0.8
"""The longer side of an object's box is at least this share of the least apparent size, which is that of the
side where it looks largest."""
FILL = 0.97
"""A free object is moved away until it fills at most this share of the image's width and height."""


@dataclass(frozen=True)
class _Placed:
    """An object and what it takes up: its footprint (M, 2) on the ground; of a free one its box (4,) in the
    image."""

    instance: ObjectInstance
    room: Array


def sample_count(config: SynthConfig, rng: Rng) -> int:
    """How many objects an image shows: none with probability `negatives`."""
    low, high = config.objects.count
    return 0 if rng.random() < config.objects.negatives else int(rng.integers(low, high + 1))


def sample_objects(
    config: SynthConfig, asset: ObjectAsset, camera: Camera, size: float, count: int, rng: Rng
) -> tuple[ObjectInstance, ...]:
    """`count` target objects, or fewer where there is no room. size: see sample_camera.

    Objects on the ground keep their footprints apart, free ones their spheres and most of their boxes; all
    are in view as in_view says, of which the share objects.truncation may be cut by the image's border.
    """
    place = _place_free if asset.placement.mode == "free" else _place_on_plane
    placed: list[_Placed] = []
    for _ in range(count):
        cut = rng.random() < config.objects.truncation
        for _ in range(PLACEMENT_TRIES):
            candidate = place(config, asset, camera, size, cut, placed, rng)
            if candidate is not None:
                placed.append(candidate)
                break
    return tuple(p.instance for p in placed)


def _draw_shape(
    config: SynthConfig, asset: ObjectAsset, rng: Rng
) -> tuple[int, tuple[float, float, float], dict[str, float], dict[str, Look]]:
    mesh = int(rng.integers(len(asset.meshes)))
    x, y, z = (float(rng.uniform(*r)) for r in asset.scale_range)
    joints = {j.name: float(rng.uniform(*j.range)) for j in asset.joints}
    c, looks = config.materials, {}
    usual = MaterialRange(c.hue, c.saturation, c.value, None, None, ())
    for part in asset.meshes[mesh]:
        material = asset.materials.get(part.name, asset.materials.get("*", usual))
        roughness, metallic = surface_ranges(part, material, c.roughness)
        looks[part.name] = Look(
            hue=float(rng.uniform(*material.hue)),
            saturation=float(rng.uniform(*material.saturation)),
            value=float(rng.uniform(*material.value)),
            roughness=float(rng.uniform(*roughness)),
            metallic=float(rng.uniform(*metallic)),
            texture=int(rng.integers(len(material.textures))) if material.textures else None,
        )
    return mesh, (x, y, z), joints, looks


def surface_ranges(
    part: Part, material: MaterialRange, usual_roughness: tuple[float, float]
) -> tuple[tuple[float, float], tuple[float, float]]:
    """The ranges of roughness and metallic.

    Where the object leaves them open, metallic is the mesh's own, and so is roughness where a texture tells
    it, else `usual_roughness`: few mesh files say it with care.
    """
    own = (part.roughness, part.roughness) if part.surface_texture is not None else usual_roughness
    return material.roughness or own, material.metallic or (part.metallic, part.metallic)


def _draw_pixel(camera: Camera, radius_px: float, cut: bool, rng: Rng) -> Array:
    """A place for an object's centre: wholly in the image, or anywhere in it where it may be cut."""
    size = np.array([camera.width_px, camera.height_px], dtype=np.float64)
    margin = np.minimum(radius_px, 0.45 * size) * (0.1 if cut else 1.0)
    return np.asarray(rng.uniform(margin, size - margin))


def _place_on_plane(
    config: SynthConfig,
    asset: ObjectAsset,
    camera: Camera,
    size: float,
    cut: bool,
    others: Sequence[_Placed],
    rng: Rng,
) -> _Placed | None:
    mesh, scale, joints, looks = _draw_shape(config, asset, rng)
    R = axis_angle((0.0, 0.0, 1.0), rng.uniform(-math.pi, math.pi)) @ sample_ground_rotation(
        asset, mesh, scale, rng
    )
    joints = _above_ground(asset, mesh, scale, joints, R, rng)
    corners = hull_of(asset, mesh, joints) * np.array(scale) @ R.T
    placement = asset.placement
    height = -corners[:, 2].min()
    if placement.plane_at_m is not None:
        height = -placement.plane_at_m * float(np.square(placement.up) @ scale)
    corners[:, 2] += height
    shape = footprint(corners)
    if others and rng.random() < config.objects.touching:
        beside = others[int(rng.integers(len(others)))].room
        spot: Array | None = spot_beside(shape, beside, asset.diameter_m, config.objects.gap, rng)
    else:
        longer = max(camera.width_px, camera.height_px)
        spot = _spot(camera, corners, _draw_pixel(camera, 0.5 * size * longer, cut, rng))
    if spot is None:
        return None
    instance = ObjectInstance(
        asset.name, mesh, rigid(R, np.array([spot[0], spot[1], height])), scale, joints, looks
    )
    foot = shape + spot
    if any(convex_overlap(foot, other.room) for other in others):
        return None
    if not in_view(asset, camera, instance, cut):
        return None
    return _Placed(instance, foot)


def _above_ground(
    asset: ObjectAsset,
    mesh: int,
    scale: tuple[float, float, float],
    joints: dict[str, float],
    R: Array,
    rng: Rng,
) -> dict[str, float]:
    """Joint angles (radians) that keep moved parts above the plane: `joints`, drawn again while a part
    reaches more than SINK below the object's lowest point at rest, and after PLACEMENT_TRIES those nearest to
    rest.

    R: (3, 3), object to world. scale: factors along the object's axes. An object with a waterline
    (plane_at_m) may reach below the plane and keeps its angles.
    """
    if not joints or asset.placement.plane_at_m is not None:
        return joints
    down = -R[2] * scale
    lowest = (asset.hulls[mesh] @ down).max() + SINK * asset.diameter_m
    for _ in range(PLACEMENT_TRIES):
        if (hull_of(asset, mesh, joints) @ down).max() <= lowest:
            return joints
        joints = {j.name: float(rng.uniform(*j.range)) for j in asset.joints}
    return {j.name: min(max(0.0, j.range[0]), j.range[1]) for j in asset.joints}


def _spot(camera: Camera, corners: Array, pixel: Array) -> Array | None:
    """The shift (2,) in metres along the ground that brings an object's image to `pixel` (2,); None where the
    pixel shows no ground, or ground more than three times as far from the origin as the camera.

    corners: (N, 3) of the object's hull as it stands over the origin. The point of the ground that the pixel
    shows would put the object's foot there and not its middle, so a second step aims lower by what the first
    one missed.
    """
    eye, foot = camera.T_world_from_camera[:3, 3], pixel
    for step in range(2):
        ground = ground_points(camera, foot[None])[0]
        if ground is None or np.linalg.norm(ground) > 3 * np.linalg.norm(eye):
            return None
        spot = ground[:2] - middle(corners)[:2]
        if step == 0:
            box = projected_box(camera, corners + np.array([*spot, 0.0]))
            if box is None:
                return None
            foot = 2 * pixel - (box[:2] + box[2:]) / 2
    return np.asarray(spot)


def in_view(asset: ObjectAsset, camera: Camera, instance: ObjectInstance, cut: bool) -> bool:
    """Whether the object's projected box is large enough (SMALLEST) and wholly in the image, or, where it may
    be cut, with more than half of its area."""
    box = projected_box(camera, hull_world(asset, instance))
    if box is None:
        return False
    size = np.array([camera.width_px, camera.height_px])
    inside = np.prod(np.clip(np.minimum(box[2:], size) - np.maximum(box[:2], 0), 0, None))
    share = inside / np.prod(box[2:] - box[:2])
    large = (box[2:] - box[:2]).max() > SMALLEST * asset.apparent_size[0] * size.max()
    return bool(large and share > (0.5 if cut else 0.999))


def usual_hull(asset: ObjectAsset) -> Array:
    """(H, 3) corners in world of the first shape variant's hull as it mostly stands: upright or in its
    likeliest stable pose, its box centred over the world's origin, on the plane z = 0. The camera is aimed at
    this."""
    placement, up = asset.placement, np.array([0.0, 0.0, 1.0])
    if placement.mode == "resting":
        R = max(asset.stable_poses[0], key=lambda pose: pose[1])[0]
    else:
        R = rotation_between(np.array(placement.up), up)
    corners = asset.hulls[0] @ R.T
    at = corners[:, 2].min() if placement.plane_at_m is None else placement.plane_at_m
    return np.asarray(corners - np.append(middle(corners)[:2], at))


def sample_ground_rotation(
    asset: ObjectAsset, mesh: int, scale: tuple[float, float, float], rng: Rng
) -> Array:
    """Rotation (3, 3), object to world, in which the scaled object stands on the plane, before it is turned
    about the vertical: upright with a tilt, or in one of its stable poses, drawn by their probabilities.

    A stable pose is that of the unscaled mesh; scaling tilts the face it stands on, which is turned down
    again.
    """
    placement = asset.placement
    if placement.mode == "upright":
        tilt = axis_angle(placement.tilt_axis, rng.uniform(*placement.tilt_range))
        return rotation_between(np.array(placement.up), np.array([0.0, 0.0, 1.0])) @ tilt
    poses = asset.stable_poses[mesh]
    R = poses[rng.choice(len(poses), p=[p for _, p in poses])][0]
    sole = R @ unit(-R[2] / scale)  # the face it stands on, tilted by the scale
    return rotation_between(sole, np.array([0.0, 0.0, -1.0])) @ R


def _place_free(
    config: SynthConfig,
    asset: ObjectAsset,
    camera: Camera,
    size: float,
    cut: bool,
    others: Sequence[_Placed],
    rng: Rng,
) -> _Placed | None:
    mesh, scale, joints, looks = _draw_shape(config, asset, rng)
    if others:
        size = log_uniform(rng, asset.apparent_size)
    longer = max(camera.width_px, camera.height_px)
    pixel = _draw_pixel(camera, 0.4 * size * longer, cut, rng)
    ray = rays(camera, pixel[None])[0]
    eye = camera.T_world_from_camera[:3, 3]
    placement = asset.placement
    cosine = rng.uniform(math.cos(placement.facing_max_angle), 1.0)
    towards = unit(-ray)
    away = unit(np.cross(towards, random_rotation(rng)[0]))
    side = axis_angle(away, math.acos(cosine)) @ towards
    R = rotation_between(np.array(placement.facing_axis), side)
    R = axis_angle(side, _upright_turn(R @ placement.up, side) + rng.uniform(*placement.roll_range)) @ R
    centre = R @ (hull_of(asset, mesh, joints) * np.array(scale)).mean(0)
    distance = camera.K[0, 0] * asset.diameter_m / (size * longer)
    for _ in range(2):
        instance = ObjectInstance(
            asset.name, mesh, rigid(R, eye + ray * distance - centre), scale, joints, looks
        )
        box = projected_box(camera, hull_world(asset, instance))
        if box is None:
            return None
        extent = box[2:] - box[:2]
        fit = extent / (FILL * np.array([camera.width_px, camera.height_px]))
        distance *= float(max(extent.max() / (size * longer), *fit))
    if box is None or not in_view(asset, camera, instance, cut):
        return None
    for other in others:
        apart = middle(hull_world(asset, instance)) - middle(hull_world(asset, other.instance))
        room = asset.diameter_m * (max(scale) + max(other.instance.scale)) / 2
        if np.linalg.norm(apart) < room or _overlap(box, other.room) > MAX_BOX_OVERLAP:
            return None
    return _Placed(instance, box)


def _upright_turn(up: Array, axis: Array) -> float:
    """Angle in radians about the unit vector `axis` that brings the direction `up` as near to +Z as it
    can."""
    across = np.cross(axis, np.array([0.0, 0.0, 1.0]))
    return math.atan2(-float(up @ across), float(up @ np.cross(across, axis)))


def ground_points(camera: Camera, uv: Array) -> list[Array | None]:
    """For each pixel uv (N, 2) the point (3,) of the ground z = 0 that it shows, metres; None for pixels at
    or above the horizon."""
    eye = camera.T_world_from_camera[:3, 3]
    return [eye - d * eye[2] / d[2] if d[2] < -1e-6 else None for d in rays(camera, uv)]


def _overlap(a: Array, b: Array) -> float:
    """Intersection of two boxes as a share of the smaller."""
    sides = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None)
    return float(np.prod(sides) / min(np.prod(a[2:] - a[:2]), np.prod(b[2:] - b[:2])))

"""Unlabelled things beside, behind and before the objects."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from synth.asset import ObjectAsset
from synth.config import DistractorConfig, SynthConfig
from synth.geometry import axis_angle, random_rotation, rays, rigid
from synth.objects.mesh_pool import pool_mesh
from synth.scene.instances import hull_world
from synth.scene.placement import ground_points
from synth.scene.polygons import convex_overlap, footprint
from synth.scene.streams import log_uniform
from synth.scene.surfaces import SURFACE_SEEDS, SURFACES
from synth.system.pool import Pool
from synth.types import Array, Camera, Distractor, ObjectInstance, Rng

SHAPES = ("box", "cylinder", "sphere", "capsule", "cone")
EYE_ROOM = 1.2
"""Distractors are at least this many of their half diagonals from the camera."""
FARTHEST = 4.0
"""Distractors on the ground are at most this many times as far from the camera as the world's origin is."""
Sides = tuple[float, float, float]
Placed = tuple[Sides, Array]
"""Sides of a distractor's box in metres, and its T_world_from_object (4, 4)."""


def sample_distractors(
    config: SynthConfig, asset: ObjectAsset, camera: Camera, objects: Sequence[ObjectInstance], rng: Rng
) -> tuple[Distractor, ...]:
    """Unlabelled things: occluders before the objects; the others on the ground beside them or, where objects
    float, far behind them. None around the camera or in an object's footprint."""
    c = config.distractors
    eye = camera.T_world_from_camera[:3, 3]
    on_plane = asset.placement.mode != "free"
    hulls = [hull_world(asset, o) for o in objects]
    footprints = [footprint(hull) for hull in hulls] if on_plane else []
    distractors = []
    for _ in range(int(rng.integers(c.count[0], c.count[1] + 1))):
        size = asset.diameter_m * log_uniform(rng, c.size)
        x, y, z = (float(size * s) for s in np.exp(rng.uniform(*c.log_sides, 3)))
        shape = SHAPES[rng.integers(len(SHAPES))]
        R = random_rotation(rng)
        pixel = rng.uniform([0.0, 0.0], [camera.width_px, camera.height_px])
        if objects and rng.random() < c.occluders:
            hull = hulls[int(rng.integers(len(hulls)))]
            placed: Placed | None = _before_object(c, eye, hull, (x, y, z), R, on_plane, rng)
        elif on_plane:
            placed = _on_ground(camera, pixel, (x, y, z), footprints, rng)
        else:
            placed = _far_behind(c, camera, pixel, (x, y, z), R, rng)
        if placed is None or _around(eye, *placed):
            continue
        distractors.append(
            Distractor(
                shape=shape,
                size_m=placed[0],
                T_world_from_object=placed[1],
                surface=SURFACES[rng.integers(len(SURFACES))],
                surface_seed=int(rng.integers(SURFACE_SEEDS)),
                roughness=float(rng.uniform(*c.roughness)),
                metallic=float(rng.random() < c.metallic),
            )
        )
    return tuple(distractors)


def _before_object(
    c: DistractorConfig, eye: Array, hull: Array, sides: Sides, R: Array, on_plane: bool, rng: Rng
) -> Placed:
    """An occluder: on the line from the camera at `eye` (3,) to a corner of the object's hull (H, 3), so that
    it hides a part of the object. It shrinks as it comes nearer, and looks equally large."""
    edge = hull[rng.integers(len(hull))]
    nearer = rng.uniform(*c.occluder_distance)
    x, y, z = _scaled(sides, c.occluder_size * nearer)
    centre = eye + (edge - eye) * nearer
    if on_plane:
        centre[2] = max(centre[2], c.occluder_height * max(x, y, z))
    return (x, y, z), rigid(R, centre)


def _on_ground(
    camera: Camera, pixel: Array, sides: Sides, footprints: Sequence[Array], rng: Rng
) -> Placed | None:
    """Standing on the ground where `pixel` (2,) shows it. None where it does not, or where an object stands:
    the circle around the box is kept clear of the footprints (M, 2)."""
    eye = camera.T_world_from_camera[:3, 3]
    ground = ground_points(camera, pixel[None])[0]
    if ground is None or np.linalg.norm(ground - eye) > FARTHEST * float(np.linalg.norm(eye)):
        return None
    R = axis_angle((0.0, 0.0, 1.0), rng.uniform(-math.pi, math.pi))
    radius = math.hypot(sides[0], sides[1]) / 2
    ring = [(math.cos(a) * radius, math.sin(a) * radius) for a in np.linspace(0, 2 * math.pi, 9)[:-1]]
    if any(convex_overlap(np.array(ring) + ground[:2], f) for f in footprints):
        return None
    return sides, rigid(R, ground + np.array([0.0, 0.0, sides[2] / 2]))


def _far_behind(
    c: DistractorConfig, camera: Camera, pixel: Array, sides: Sides, R: Array, rng: Rng
) -> Placed:
    """In the air behind the objects, where `pixel` (2,) shows it; larger, as it is farther away."""
    eye = camera.T_world_from_camera[:3, 3]
    behind = float(np.linalg.norm(eye)) * rng.uniform(*c.behind_distance)
    return _scaled(sides, c.behind_size), rigid(R, eye + rays(camera, pixel[None])[0] * behind)


def _around(eye: Array, sides: Sides, T: Array) -> bool:
    """Whether the camera at `eye` (3,) is in a distractor or too near it."""
    return bool(np.linalg.norm(T[:3, 3] - eye) < EYE_ROOM * math.hypot(*sides) / 2)


def _scaled(sides: Sides, factor: float) -> Sides:
    return sides[0] * factor, sides[1] * factor, sides[2] * factor


def mesh_distractors(
    config: SynthConfig, pool: Pool | None, on_plane: bool, distractors: Sequence[Distractor], rng: Rng
) -> tuple[Distractor, ...]:
    """`distractors`, the share `mesh_share` of them replaced by meshes of the pool that are no larger.

    What stands on the ground rests there in a stable pose; the share `mesh_surface` shows a random surface,
    the others their own.
    """
    return tuple(
        _as_mesh(config, pool, on_plane, d, rng)
        if pool and rng.random() < config.distractors.mesh_share
        else d
        for d in distractors
    )


def _as_mesh(config: SynthConfig, pool: Pool, on_plane: bool, distractor: Distractor, rng: Rng) -> Distractor:
    name = pool.names[int(rng.integers(len(pool.names)))]
    mesh = pool_mesh(pool, name)
    size, T = max(distractor.size_m), distractor.T_world_from_object.copy()
    if on_plane and math.isclose(T[2, 2], 1.0):
        T[:3, :3] = T[:3, :3] @ mesh.poses[rng.choice(len(mesh.poses), p=[p for _, p in mesh.poses])][0]
        corners = mesh.corners @ T[:3, :3].T
        room = math.hypot(*distractor.size_m[:2]) / 2
        size = min(size, room / float(np.linalg.norm(corners[:, :2], axis=1).max()))
        T[2, 3] = -size * corners[:, 2].min()
    x, y, z = (size * side for side in mesh.size)
    surface = distractor.surface if rng.random() < config.distractors.mesh_surface else ""
    return replace(distractor, shape=name, size_m=(x, y, z), T_world_from_object=T, surface=surface)

"""Unlabelled things beside, behind and before the objects."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from synth.config import SynthConfig
from synth.geometry import axis_angle, random_rotation, rays, rigid
from synth.objects.mesh_pool import pool_mesh
from synth.scene.instances import hull_world
from synth.scene.placement import ground_points
from synth.scene.polygons import convex_overlap, footprint
from synth.scene.streams import log_uniform
from synth.scene.surfaces import SURFACE_SEEDS, SURFACES
from synth.system.pool import Pool
from synth.types import (
    Camera,
    Distractor,
    ObjectAsset,
    ObjectInstance,
    Rng,
)

SHAPES = ("box", "cylinder", "sphere", "capsule", "cone")
EYE_ROOM = 1.2
"""Distractors are at least this many of their half diagonals from the camera."""


def sample_distractors(
    config: SynthConfig, asset: ObjectAsset, camera: Camera, objects: Sequence[ObjectInstance], rng: Rng
) -> tuple[Distractor, ...]:
    """Unlabelled things beside, behind and (occluders) in front of the objects, none around the camera."""
    low, high = config.distractors.count
    eye = camera.T_world_from_camera[:3, 3]
    reach = float(np.linalg.norm(eye))
    on_plane = asset.placement.mode != "free"
    footprints = [footprint(hull_world(asset, o)) for o in objects] if on_plane else []
    distractors = []
    for _ in range(int(rng.integers(low, high + 1))):
        size = asset.diameter_m * log_uniform(rng, config.distractors.size)
        x, y, z = (float(size * s) for s in np.exp(rng.uniform(-1.6, 0.0, 3)))
        shape = SHAPES[rng.integers(len(SHAPES))]
        R = random_rotation(rng)
        pixel = rng.uniform([0.0, 0.0], [camera.width_px, camera.height_px])
        if objects and rng.random() < config.distractors.occluders:
            target = hull_world(asset, objects[int(rng.integers(len(objects)))])
            edge = target[rng.integers(len(target))]
            nearer = rng.uniform(0.45, 0.85)
            shrink = 0.7 * nearer
            x, y, z = x * shrink, y * shrink, z * shrink
            centre = eye + (edge - eye) * nearer
            if on_plane:
                centre[2] = max(centre[2], 0.6 * max(x, y, z))
        elif on_plane:
            ground = ground_points(camera, pixel[None])[0]
            if ground is None or np.linalg.norm(ground - eye) > 4 * reach:
                continue
            R = axis_angle((0.0, 0.0, 1.0), rng.uniform(-math.pi, math.pi))
            radius = math.hypot(x, y) / 2
            ring = [(math.cos(a) * radius, math.sin(a) * radius) for a in np.linspace(0, 2 * math.pi, 9)[:-1]]
            if any(convex_overlap(np.array(ring) + ground[:2], f) for f in footprints):
                continue
            centre = ground + np.array([0.0, 0.0, z / 2])
        else:
            behind = reach * rng.uniform(1.3, 2.5)
            x, y, z = x * 1.5, y * 1.5, z * 1.5
            centre = eye + rays(camera, pixel[None])[0] * behind
        if np.linalg.norm(centre - eye) < EYE_ROOM * math.hypot(x, y, z) / 2:
            continue
        distractors.append(
            Distractor(
                shape=shape,
                size_m=(x, y, z),
                T_world_from_object=rigid(R, centre),
                surface=SURFACES[rng.integers(len(SURFACES))],
                surface_seed=int(rng.integers(SURFACE_SEEDS)),
                roughness=float(rng.uniform(0.15, 1.0)),
                metallic=float(rng.random() < 0.15),
            )
        )
    return tuple(distractors)


def mesh_distractors(
    config: SynthConfig, pool: Pool | None, on_plane: bool, distractors: Sequence[Distractor], rng: Rng
) -> tuple[Distractor, ...]:
    """`distractors`, the share `mesh_share` of them replaced by meshes of the pool that are no larger.

    What stands on the ground rests there in a stable pose; half show a random surface, half their own.
    """
    return tuple(
        _as_mesh(pool, on_plane, d, rng) if pool and rng.random() < config.distractors.mesh_share else d
        for d in distractors
    )


def _as_mesh(pool: Pool, on_plane: bool, distractor: Distractor, rng: Rng) -> Distractor:
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
    surface = distractor.surface if rng.random() < 0.5 else ""
    return replace(distractor, shape=name, size_m=(x, y, z), T_world_from_object=T, surface=surface)

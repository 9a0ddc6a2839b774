"""Objects on and against each other.

Convex hulls are set at rest by a few conditions of statics instead of a physics simulation: the centre of
mass lies over what carries it, and a leaning object touches its support without entering it. Metres, world
frame.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.spatial import ConvexHull, QhullError

from synth.asset import ObjectAsset
from synth.config import SynthConfig
from synth.geometry import axis_angle, rigid
from synth.scene.contact import gap
from synth.scene.instances import hull_of, hull_world
from synth.scene.placement import in_view, sample_ground_rotation
from synth.scene.polygons import convex_overlap, footprint
from synth.types import Array, Camera, ObjectInstance, Rng

TRIES = 8
"""Places that are tried for an object before it stays where it stands."""
STEEPEST = math.radians(55)
"""Leaning objects are turned by at most this angle away from how they stand."""
LEAST_LIFT = 0.4
"""Least upward component of the unit vector along which the support pushes a leaning object: on steeper
contacts it would slide down."""
LEVEL = 0.004
"""Points within this share of the object's diameter of its lowest or highest point count as equally high."""
STEPS = 8
"""Of the search for the angle at which a leaning object touches its support."""


def pile_objects(
    config: SynthConfig, asset: ObjectAsset, camera: Camera, objects: Sequence[ObjectInstance], rng: Rng
) -> tuple[ObjectInstance, ...]:
    """The objects, of which each after the first is, with probability objects.piled, moved onto or against an
    earlier one that stands on the ground.

    Only resting objects are piled. An object for which no place is found in TRIES stays where it is.
    """
    placed = list(objects)
    if asset.placement.mode != "resting":
        return tuple(placed)
    grounded = list(placed[:1])
    for n in range(1, len(placed)):
        if rng.random() < config.objects.piled:
            others = [*placed[:n], *placed[n + 1 :]]
            moved = _piled(config, asset, camera, placed[n], grounded, others, rng)
            if moved is not None:
                placed[n] = moved
                continue
        grounded.append(placed[n])
    return tuple(placed)


def _piled(
    config: SynthConfig,
    asset: ObjectAsset,
    camera: Camera,
    instance: ObjectInstance,
    supports: Sequence[ObjectInstance],
    others: Sequence[ObjectInstance],
    rng: Rng,
) -> ObjectInstance | None:
    """The instance on or against one of `supports`, in view and with its footprint clear of all `others` but
    that one; None when no try succeeds."""
    shaped = hull_of(asset, instance.mesh, instance.joints) * np.array(instance.scale)
    heavy = centre_of_mass(shaped)
    level = LEVEL * asset.diameter_m
    cut = rng.random() < config.objects.truncation
    feet = [(other, footprint(hull_world(asset, other))) for other in others]
    for _ in range(TRIES):
        support = supports[int(rng.integers(len(supports)))]
        turn = axis_angle((0.0, 0.0, 1.0), rng.uniform(-math.pi, math.pi))
        R = turn @ sample_ground_rotation(asset, instance.mesh, instance.scale, rng)
        body, weight = shaped @ R.T, R @ heavy
        below = hull_world(asset, support)
        T = _on_top(body, weight, below, level, rng) if rng.random() < config.objects.on_top else None
        if T is None:
            T = _leaning(body, weight, below, level, rng)
        if T is None:
            continue
        moved = replace(instance, T_world_from_object=T @ rigid(R, np.zeros(3)))
        foot = footprint(hull_world(asset, moved))
        free = not any(convex_overlap(foot, f) for other, f in feet if other is not support)
        if free and in_view(asset, camera, moved, cut):
            return moved
    return None


def centre_of_mass(corners: Array) -> Array:
    """(3,) centre of mass of the convex hull of corners (H, 3), if it is filled evenly; of a flat one the
    mean of its corners."""
    middle = corners.mean(0)
    try:
        triangles = corners[ConvexHull(corners).simplices] - middle
    except QhullError:  # flat
        return np.asarray(middle)
    volumes = np.abs(np.linalg.det(triangles))
    return np.asarray(middle + (volumes @ triangles.sum(1)) / (4 * volumes.sum()))


def _on_top(body: Array, weight: Array, below: Array, level: float, rng: Rng) -> Array | None:
    """The motion (4, 4) that lifts a standing body onto the flat top of its support; None if that has no flat
    top: its highest points, equal within `level` metres, are fewer than three or nearly on a line.

    body, below: (H, 3) hulls in world, the body's as it stands on the ground. weight: (3,) the body's centre
    of mass, which comes to lie over a random place within the top.
    """
    top = below[below[:, 2] > below[:, 2].max() - level, :2]
    if len(top) < 3 or np.linalg.eigvalsh(np.cov(top.T))[0] < (5 * level) ** 2:
        return None
    place = 0.7 * rng.dirichlet(np.ones(len(top))) @ top + 0.3 * (top.max(0) + top.min(0)) / 2
    shift = [*(place - weight[:2]), below[:, 2].max() - body[:, 2].min()]
    return rigid(np.eye(3), np.array(shift))


def _leaning(body: Array, weight: Array, below: Array, level: float, rng: Rng) -> Array | None:
    """The motion (4, 4) that leans a standing body against its support; None where it would not stay there.

    body, below: (H, 3) hulls in world, the body's as it stands on the ground. weight: (3,) its centre of
    mass. level: metres. The body is tilted about one edge of its foot, which stays on the ground, drawn by
    its length and by how far the weight lies within. Beginning at STEEPEST it is lowered until the two hulls
    are less than `level` apart: Newton's method on the gap, whose derivative is the speed of the nearest
    points, and bisection where that oversteps. It stays if the support pushes it up (LEAST_LIFT) and, seen
    from above, the centre of mass lies in the triangle of the edge's ends and the contact.
    """
    foot = footprint(body[body[:, 2] < body[:, 2].min() + level])
    ends = np.roll(foot, -1, axis=0) - foot
    lengths = np.linalg.norm(ends, axis=1)
    levers = (ends[:, 0] * (weight[1] - foot[:, 1]) - ends[:, 1] * (weight[0] - foot[:, 0])) / lengths
    chances = lengths * np.maximum(levers, 0.0) ** 2
    edge = rng.choice(len(foot), p=chances / chances.sum())
    along = np.array([*ends[edge] / lengths[edge], 0.0])
    inwards = np.array([-along[1], along[0], 0.0])
    pivot = np.array([*foot[edge], body[:, 2].min()])
    body, weight = body - pivot, weight - pivot  # the edge starts at the origin
    lever = rng.uniform(weight @ inwards, (body @ inwards).max())
    highest = below[below[:, 2] > below[:, 2].max() - level].mean(0)
    over = highest + rng.uniform(0.0, 1.0) * (below.mean(0) - highest)
    spot = over - lever * inwards - (weight @ along) * along
    spot[2] = 0.0
    low, high = 0.0, STEEPEST
    contact = gap(below, _turned(body, along, high) + spot)
    if contact is None:
        return None
    for _ in range(STEPS):
        point, normal, distance = contact
        if distance < level:
            break
        speed = float(np.cross(along, point + distance * normal - spot) @ normal)
        angle = high - (distance - level / 2) / speed if speed > 0 else low
        angle = angle if angle > low else (low + high) / 2
        clear = gap(below, _turned(body, along, angle) + spot)
        if clear:
            high, contact = angle, clear
        else:
            low = angle
    else:
        return None
    if (_turned(body, along, high) + spot)[:, 2].min() < -level:
        return None
    start, end = spot[:2], spot[:2] + lengths[edge] * along[:2]
    centre = (_turned(weight, along, high) + spot)[:2]
    if normal[2] < LEAST_LIFT or not _in_triangle(centre, start, end, point[:2]):
        return None
    R = axis_angle(along, high)
    return rigid(R, spot - R @ pivot)


def _turned(points: Array, along: Array, angle: float) -> Array:
    """Points (N, 3) turned by `angle` radians about the horizontal unit vector `along` through the origin;
    what lies to its left goes up."""
    return np.asarray(points @ axis_angle(along, angle).T)


def _in_triangle(p: Array, a: Array, b: Array, c: Array) -> bool:
    """Whether the point (2,) lies in the triangle of three others, on its edge included."""
    sides = [
        (q[0] - r[0]) * (p[1] - r[1]) - (q[1] - r[1]) * (p[0] - r[0]) for r, q in ((a, b), (b, c), (c, a))
    ]
    return bool(min(sides) >= 0 or max(sides) <= 0)

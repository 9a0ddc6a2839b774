"""Transforms and projection.

Metres and radians. World right-handed, +Z up; camera x right, y down, z forward (OpenCV).
`T_a_from_b` is a (4, 4) matrix that maps points of frame b into frame a. Pixels are continuous: (0, 0) is
the image's top-left corner, a pixel's centre lies at index + 0.5. OpenCV's functions count from the centre
of the first pixel: `to_opencv` and `from_opencv` hold the only shift between the two.
"""

import math
from functools import lru_cache
from typing import TypeVar

import cv2
import numpy as np

from synth.types import Array, Camera, Distortion

Points = TypeVar("Points", float, Array)

FAR_AWAY = 1e6
"""Pixels from the first one to points that a lens cannot image."""
MAX_TANGENT = 10.0
"""Of the angle from the axis at which a lens still sees: 84 degrees."""
UNDISTORT_TOLERANCE_PX = 1e-3
BROWN_CONRADY_COUNTS = (4, 5, 8, 12, 14)
FISHEYE_COUNT = 4


def unit(v: Array) -> Array:
    return v / np.linalg.norm(v)


def rigid(R: Array, t: Array) -> Array:
    """(4, 4) transform from rotation (3, 3) and translation (3,)."""
    T = np.eye(4)
    T[:3, :3] = R
    T[:3, 3] = t
    return T


def inverse(T: Array) -> Array:
    """Inverse of a rigid transform (4, 4)."""
    return rigid(T[:3, :3].T, -T[:3, :3].T @ T[:3, 3])


def transform_points(T: Array, points: Array) -> Array:
    """points: (N, 3) in b. Returns (N, 3) in a for T = T_a_from_b."""
    return np.asarray(points @ T[:3, :3].T + T[:3, 3])


def axis_angle(axis: Array | tuple[float, float, float], angle: float) -> Array:
    """(3, 3) rotation by `angle` about the unit vector `axis` (Rodrigues' formula)."""
    x, y, z = axis
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.asarray(np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross)


def circle(centre: Array, axis: tuple[float, float, float], radius: float, count: int = 12) -> Array:
    """(count, 3) points of a circle about the unit vector `axis`, evenly spread."""
    across = unit(np.cross(axis, np.eye(3)[np.abs(axis).argmin()]))
    turns = [axis_angle(axis, 2 * math.pi * i / count) for i in range(count)]
    return np.array([centre + radius * turn @ across for turn in turns])


def random_rotation(rng: np.random.Generator) -> Array:
    """Uniform over all rotations: a normalised Gaussian quaternion (Shoemake 1992)."""
    w, x, y, z = unit(rng.normal(size=4))
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def rotation_between(a: Array, b: Array) -> Array:
    """The smallest rotation (3, 3) that turns unit vector a onto unit vector b."""
    axis = np.cross(a, b)
    sine = float(np.linalg.norm(axis))
    if sine < 1e-9:
        if a @ b > 0:
            return np.eye(3)
        other = np.eye(3)[int(np.argmin(np.abs(a)))]
        return axis_angle(unit(np.cross(a, other)), math.pi)
    return axis_angle(axis / sine, math.atan2(sine, float(a @ b)))


def look_at(eye: Array, target: Array, roll: float = 0.0) -> Array:
    """T_world_from_camera of a camera at `eye` that sees `target` in its centre, world up in the image.

    roll: radians, turns the camera about its viewing axis. Looking straight down, +Y is up.
    """
    z = unit(target - eye)
    up = np.array([0.0, 0.0, 1.0]) if abs(z[2]) < 0.9999 else np.array([0.0, 1.0, 0.0])
    x = unit(np.cross(z, up))
    R = np.column_stack([x, np.cross(z, x), z]) @ axis_angle((0.0, 0.0, 1.0), roll)
    return rigid(R, eye)


def intrinsics(width_px: int, height_px: int, focal_px: float) -> Array:
    """(3, 3) pinhole matrix with the principal point in the image's centre."""
    return np.array([[focal_px, 0.0, width_px / 2], [0.0, focal_px, height_px / 2], [0.0, 0.0, 1.0]])


def project(camera: Camera, points_world: Array) -> tuple[Array, Array]:
    """points_world: (N, 3) metres. Returns uv (N, 2) continuous pixels and depth (N,) metres, > 0 in front.

    Points with depth <= 0 have no image; their uv are not meaningful. Points beyond what the lens can image
    lie FAR_AWAY.
    """
    pose = camera.T_world_from_camera
    points = (points_world - pose[:3, 3]) @ pose[:3, :3]
    depth = points[:, 2]
    safe = np.where(np.abs(depth) < 1e-12, 1e-12, depth)
    if camera.distortion is None:
        uv = points @ camera.K.T
        return uv[:, :2] / safe[:, None], depth
    return _through_lens(camera, camera.distortion, points[:, :2] / safe[:, None]), depth


def rays(camera: Camera, uv: Array) -> Array:
    """uv: (N, 2) continuous pixels. Returns (N, 3) directions in world, scaled to depth 1."""
    if camera.distortion is None:
        directions = np.column_stack([uv, np.ones(len(uv))]) @ np.linalg.inv(camera.K).T
    else:
        directions = np.column_stack([undistorted(camera, uv), np.ones(len(uv))])
    in_world: Array = directions @ camera.T_world_from_camera[:3, :3].T
    return in_world


def undistorted(camera: Camera, uv: Array) -> Array:
    """uv: (N, 2) continuous pixels. Returns (N, 2) x / z, y / z; nan for pixels that no ray reaches."""
    normalized = np.column_stack([uv, np.ones(len(uv))]) @ np.linalg.inv(camera.K).T
    lens = camera.distortion
    if lens is None:
        return np.asarray(normalized[:, :2])
    points = np.ascontiguousarray(normalized[:, None, :2])
    if lens.model == "fisheye":
        straight = cv2.fisheye.undistortPoints(points, np.eye(3), np.array(lens.coefficients))
    else:
        steps = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 60, 1e-12)
        straight = cv2.undistortPoints(points, np.eye(3), np.array(lens.coefficients), criteria=steps)
    found = np.asarray(straight, dtype=np.float64).reshape(-1, 2)
    again = _through_lens(camera, lens, found)
    found[~(np.abs(again - uv).max(axis=1) < UNDISTORT_TOLERANCE_PX)] = np.nan
    return np.asarray(found, dtype=np.float64)


def _through_lens(camera: Camera, lens: Distortion, normalized: Array) -> Array:
    """normalized: (N, 2) x / z, y / z. Returns (N, 2) continuous pixels."""
    points = np.column_stack([normalized, np.ones(len(normalized))])[:, None]
    zero, coefficients = np.zeros(3), np.array(lens.coefficients)
    if lens.model == "fisheye":
        uv = cv2.fisheye.projectPoints(points, zero, zero, camera.K, coefficients)[0].reshape(-1, 2)
    else:
        uv = cv2.projectPoints(points, zero, zero, camera.K, coefficients)[0].reshape(-1, 2)
    beyond = np.linalg.norm(normalized, axis=1) >= lens_reach(lens)
    uv[beyond] = normalized[beyond] / np.linalg.norm(normalized[beyond], axis=1)[:, None] * FAR_AWAY
    return np.asarray(uv, dtype=np.float64)


@lru_cache(maxsize=64)
def lens_reach(lens: Distortion) -> float:
    """The distance from the axis, sqrt(x^2 + y^2) / z, beyond which the lens would fold the picture back.

    The radial parts of OpenCV's models (camera calibration, fisheye) stop growing there.
    """
    r = np.linspace(0.0, MAX_TANGENT, 4096)
    if lens.model == "fisheye":
        angle = np.arctan(r)
        k1, k2, k3, k4 = lens.coefficients
        image = angle * (1 + k1 * angle**2 + k2 * angle**4 + k3 * angle**6 + k4 * angle**8)
    else:
        k1, k2, _, _, k3, k4, k5, k6 = (*lens.coefficients, *[0.0] * 8)[:8]
        above = 1 + k1 * r**2 + k2 * r**4 + k3 * r**6
        image = r * above / (1 + k4 * r**2 + k5 * r**4 + k6 * r**6)
    falls = np.flatnonzero(np.diff(image) <= 0)
    return float(r[falls[0]]) if len(falls) else float(r[-1])


def from_opencv(points: Points) -> Points:
    """Pixels as OpenCV counts them (first pixel's centre = 0) to continuous pixels."""
    return points + 0.5


def to_opencv(points: Points) -> Points:
    """Continuous pixels to pixels as OpenCV counts them."""
    return points - 0.5

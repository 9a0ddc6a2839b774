"""Where an object is: T_camera_from_object from its keypoints in a picture (perspective-n-point)."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from synth.asset import ObjectAsset, Symmetry
from synth.geometry import axis_angle, project, rigid, transform_points, undistorted
from synth.types import Array, Camera

MIN_POINTS = 4
FLAT = 1e-3
"""Points whose spread in one direction is below this share of the largest lie on a plane or a line."""
OUTLIER_SHARE = 0.05
"""Keypoints farther than this share of the object's extent in the picture from where the pose puts them do
not count."""
RANSAC_ROUNDS = 300
HIDDEN_WEIGHT = 0.25
"""Of a hidden keypoint beside an equally sure visible one: its errors are about twice as large."""


@dataclass(frozen=True)
class Pose:
    """T_camera_from_object: (4, 4). rms_px: of the inliers' reprojection. inliers: (K,) bool.

    covariance: (6, 6) of (rotation vector in the camera's frame, translation in metres), from the residuals.
    other: for points on a plane, the second pose that explains them (reflected tilt), else None;
    other_ratio: its rms over this pose's, near 1 = ambiguous.
    """

    T_camera_from_object: Array
    rms_px: float
    inliers: NDArray[np.bool_]
    covariance: Array
    other: Array | None = None
    other_ratio: float = float("inf")


@dataclass(frozen=True)
class NoPose:
    """Why there is none: the kind of reason, and what it was here."""

    reason: str
    detail: str

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


def pose_weights(scores: Array, visibility: Array) -> Array:
    """(K,) weights for solve_pose: a keypoint's score, times its expected weight, which is 1 if it is visible
    and HIDDEN_WEIGHT if it is hidden. scores, visibility: (K,) in [0, 1]."""
    return scores * (HIDDEN_WEIGHT + (1 - HIDDEN_WEIGHT) * visibility)


def solve_pose(points_m: Array, keypoints: Array, scores: Array, camera: Camera) -> Pose | NoPose:
    """points_m: (K, 3) object frame. keypoints: (K, 2) px. scores: (K,) weights >= 0, 0 = not to be used.

    camera: intrinsics and distortion; its pose does not matter. RANSAC, then least squares of the
    reprojection weighted by score, for points on a plane from both of their solutions.
    """
    usable = np.isfinite(keypoints).all(axis=1) & (scores > 0)
    if usable.sum() < MIN_POINTS:
        return NoPose(
            "too few keypoints", f"{int(usable.sum())} of {len(points_m)} to go by, expected {MIN_POINTS}"
        )
    spread = _spread(points_m[usable])
    if spread[1] < FLAT * spread[0]:
        return NoPose("keypoints on one line", "those to go by")
    camera = replace(camera, T_world_from_camera=np.eye(4))
    rays = undistorted(camera, keypoints)
    usable &= np.isfinite(rays).all(axis=1)
    if usable.sum() < MIN_POINTS:
        return NoPose(
            "too few keypoints", f"{int(usable.sum())} lie where the lens sees, expected {MIN_POINTS}"
        )
    extent = np.linalg.norm(np.ptp(keypoints[usable], axis=0))
    limit_px = max(OUTLIER_SHARE * float(extent), 1.0)
    chosen = np.flatnonzero(usable)
    agreed = _consensus(points_m, keypoints, rays, chosen, camera, limit_px)
    if agreed is None:
        return NoPose("keypoints disagree", f"no pose puts {MIN_POINTS} to within {limit_px:.1f} px")
    start, inliers = agreed
    starts = [start]
    spread = _spread(points_m[inliers])
    if spread[1] < FLAT * spread[0]:
        return NoPose("keypoints on one line", "those that agree")
    if spread[2] < FLAT * spread[0]:
        starts += _solutions(points_m[inliers], rays[inliers])
    fits = [_refined(points_m, keypoints, scores, inliers, camera, start) for start in starts]
    best = min(fits, key=lambda fit: fit.rms_px)
    others = [f for f in fits if rotation_angle(f.T_camera_from_object, best.T_camera_from_object) > 0.02]
    if not others:
        return best
    second = min(others, key=lambda fit: fit.rms_px)
    ratio = second.rms_px / max(best.rms_px, 1e-9)
    return replace(best, other=second.T_camera_from_object, other_ratio=ratio)


def _spread(points: Array) -> Array:
    """(3,) falling singular values of the points about their mean."""
    return np.asarray(np.linalg.svd(points - points.mean(0), compute_uv=False).tolist() + [0.0] * 3)[:3]


def _consensus(
    points_m: Array, keypoints: Array, rays: Array, chosen: NDArray[np.int64], camera: Camera, limit_px: float
) -> tuple[Array, NDArray[np.bool_]] | None:
    """RANSAC (Fischler, Bolles 1981): the pose (4, 4) from four keypoints that most others agree with, and
    which those are (K,); all choices of four are tried if there are few."""
    if math.comb(len(chosen), MIN_POINTS) <= RANSAC_ROUNDS:
        subsets = [list(four) for four in itertools.combinations(chosen.tolist(), MIN_POINTS)]
    else:
        rng = np.random.default_rng(0)
        subsets = [rng.choice(chosen, MIN_POINTS, replace=False).tolist() for _ in range(RANSAC_ROUNDS)]
    best: tuple[tuple[int, float], Array, NDArray[np.bool_]] | None = None
    for four in subsets:
        for T in _solutions(points_m[four], rays[four]):
            uv, depth = project(camera, transform_points(T, points_m[chosen]))
            error = np.linalg.norm(uv - keypoints[chosen], axis=1)
            agree = (error <= limit_px) & (depth > 0)
            key = int(agree.sum()), -float(error[agree].sum())
            if agree.sum() >= MIN_POINTS and (best is None or key > best[0]):
                inliers = np.zeros(len(points_m), dtype=bool)
                inliers[chosen[agree]] = True
                best = key, T, inliers
    return None if best is None else best[1:]


def _solutions(points_m: Array, rays: Array) -> list[Array]:
    """T_camera_from_object (4, 4) of each solution: IPPE for points on a plane, which is turned onto z = 0
    for it, else SQPnP; none where the points do not determine a pose."""
    spread = _spread(points_m)
    if spread[1] < FLAT * spread[0]:
        return []
    frame, method = np.eye(4), cv2.SOLVEPNP_SQPNP
    if spread[2] < FLAT * spread[0]:
        centre, axes = points_m.mean(0), np.linalg.svd(points_m - points_m.mean(0))[2]
        axes[2] = np.cross(axes[0], axes[1])
        frame, method = rigid(axes, -axes @ centre), cv2.SOLVEPNP_IPPE
        points_m = transform_points(frame, points_m) * [1.0, 1.0, 0.0]
    try:
        count, turns, shifts, _ = cv2.solvePnPGeneric(points_m, rays, np.eye(3), None, flags=method)
    except cv2.error:
        return []
    solved = [_transform(*pair) @ frame for pair in list(zip(turns, shifts, strict=True))[:count]]
    return [T for T in solved if np.isfinite(T).all()]


def _transform(turn: Any, shift: Any) -> Array:
    rotation = np.asarray(cv2.Rodrigues(np.asarray(turn, dtype=np.float64))[0], dtype=np.float64)
    return rigid(rotation, np.asarray(shift, dtype=np.float64).ravel())


def _refined(
    points_m: Array,
    keypoints: Array,
    scores: Array,
    inliers: NDArray[np.bool_],
    camera: Camera,
    start: Array,
) -> Pose:
    """Weighted least squares from a start; the rotation is updated from the left, in the camera's frame."""
    root = np.sqrt(scores[inliers] / scores[inliers].mean())[:, None]
    size = np.linalg.norm(start[:3, 3])

    def moved(change: Array) -> Array:
        turn = _transform(change[:3], np.zeros(3))[:3, :3]
        return rigid(turn @ start[:3, :3], start[:3, 3] + change[3:] * size)

    def residuals(change: Array) -> Array:
        uv, _ = project(camera, transform_points(moved(change), points_m[inliers]))
        return np.asarray(((uv - keypoints[inliers]) * root).ravel())

    fit = least_squares(residuals, np.zeros(6), method="lm", xtol=1e-14, ftol=1e-14, gtol=1e-14)
    count = 2 * int(inliers.sum())
    variance = float((fit.fun**2).sum()) / max(count - 6, 1)
    scale = np.diag([1.0, 1.0, 1.0, size, size, size])
    covariance = scale @ np.linalg.pinv(fit.jac.T @ fit.jac) @ scale * variance
    T = moved(fit.x)
    uv, _ = project(camera, transform_points(T, points_m[inliers]))
    rms = float(np.sqrt(((uv - keypoints[inliers]) ** 2).sum(axis=1).mean()))
    return Pose(T, rms, inliers, covariance)


def rotation_angle(a: Array, b: Array) -> float:
    """Radians between the rotations of two transforms."""
    R = a[:3, :3].T @ b[:3, :3]
    return float(np.linalg.norm(cv2.Rodrigues(R)[0]))


def nearest_symmetric(T: Array, reference: Array, symmetries: Sequence[Symmetry]) -> Array:
    """Of all poses that look like T (4, 4), the one whose rotation is nearest to the reference's."""
    poses = [T]
    for symmetry in sorted(symmetries, key=lambda s: s.order == 0):
        origin = np.array(symmetry.origin_m)
        poses = [
            pose @ rigid(turn, origin - turn @ origin)
            for pose in poses
            for turn in _turns(symmetry, reference[:3, :3].T @ pose[:3, :3])
        ]
    return min(poses, key=lambda pose: rotation_angle(pose, reference))


def _turns(symmetry: Symmetry, R: Array) -> list[Array]:
    """Rotations (3, 3) that change nothing to see; of any angle, the one with R turn nearest to the identity.

    The trace of R turn is cosine * (tr R - a^T R a) + sine * tr(R [a]x) and a constant (Rodrigues' formula).
    """
    if symmetry.order:
        return [axis_angle(symmetry.axis, 2 * math.pi * i / symmetry.order) for i in range(symmetry.order)]
    axis = np.array(symmetry.axis)
    sine, cosine = np.trace(R @ np.cross(np.eye(3), axis)), np.trace(R) - axis @ R @ axis
    return [axis_angle(symmetry.axis, math.atan2(sine, cosine))]


def heading_and_heel(T_camera_from_object: Array, up_camera: Array, forward: Array, up: Array) -> Array:
    """(2,) radians: heading of the object's `forward`, seen from above, to the right of the camera's line of
    sight, in (-pi, pi]; heel of the object's `up` away from the vertical, in [0, pi].

    up_camera: (3,) the vertical in the camera's frame. forward, up: (3,) unit vectors, object frame.
    """
    R, vertical = T_camera_from_object[:3, :3], up_camera / np.linalg.norm(up_camera)
    sight = np.array([0.0, 0.0, 1.0])
    ahead = sight - vertical * (sight @ vertical)
    right = np.cross(ahead, vertical)
    along = R @ forward
    heel = np.arccos(np.clip((R @ up) @ vertical, -1.0, 1.0))
    return np.array([np.arctan2(along @ right, along @ ahead), heel])


def add_error(T: Array, truth: Array, points_m: Array) -> float:
    """ADD (Hinterstoisser 2012): mean distance of the model's points (P, 3) between the two poses, metres."""
    return float(
        np.linalg.norm(transform_points(T, points_m) - transform_points(truth, points_m), axis=1).mean()
    )


def add_s_error(T: Array, truth: Array, points_m: Array) -> float:
    """ADD-S: as ADD, each point to the nearest of the other pose's, for objects that look alike turned."""
    a, b = transform_points(T, points_m), transform_points(truth, points_m)
    return float(np.linalg.norm(a[:, None] - b[None], axis=2).min(axis=1).mean())


def axes_in_picture(T_camera_from_object: Array, length_m: float, camera: Camera) -> Array:
    """(4, 2) px of the object's origin and the ends of its x, y and z axes."""
    at_camera = replace(camera, T_world_from_camera=np.eye(4))
    ends = np.vstack([np.zeros(3), np.eye(3) * length_m])
    return project(at_camera, transform_points(T_camera_from_object, ends))[0]


def rigid_keypoints(asset: ObjectAsset) -> Array:
    """(K,) bool: keypoints that no joint moves and that lie at the same place from every side."""
    fixed = np.ones(len(asset.schema), dtype=bool)
    fixed[[ring.keypoint for ring in asset.rings]] = False
    for joint in asset.joints:
        fixed[list(joint.keypoints)] = False
    return fixed

"""The pose of an object that was found, or why there is none: what is solved must fit what was seen."""

from dataclasses import replace

import numpy as np

from synth.asset import ObjectAsset
from synth.geometry import project, transform_points
from synth.types import Array, Camera
from train.detect.pose import MIN_POINTS, NoPose, Pose, pose_weights, rigid_keypoints, solve_pose
from train.runtime import SAME_IOU, Detection, in_its_place

SAME_PLACE = 0.02
"""Keypoints nearer to each other than this share of the box's longer side stand at one place."""
MIN_SPREAD = 0.2
"""Least extent of the keypoints, as a share of what it is where they fill as much of box as of object."""

MIN_SUPPORT = 0.5
"""Least share of all weights that the keypoints hold which agree with a pose: four of nine do by chance."""


def object_pose(asset: ObjectAsset, found: Detection, camera: Camera) -> Pose | NoPose:
    """solve_pose of a detection's keypoints with their pose_weights. There is none where the keypoints
    coincide, where few agree, or where the object, so placed, would lie elsewhere than its box or be much
    larger or smaller.
    """
    weights = pose_weights(found.keypoint_scores, found.keypoint_visibility) * rigid_keypoints(asset)
    side = float((found.box_xyxy[2:] - found.box_xyxy[:2]).max())
    used = weights > 0
    if used.any():
        seen = float(np.ptp(found.keypoints[used], axis=0).max())
        filled = float(np.linalg.norm(np.ptp(asset.keypoints_m[used], axis=0))) / asset.diameter_m
        if seen < MIN_SPREAD * filled * side:
            return NoPose("keypoints coincide", f"they lie within {seen:.0f} px, their box is {side:.0f} px")
    solved = solve_pose(asset.keypoints_m, found.keypoints, weights, camera)
    if isinstance(solved, NoPose):
        return solved
    agreed = int(solved.inliers.sum())
    support = float(weights[solved.inliers].sum() / weights.sum())
    if support < MIN_SUPPORT:
        text = f"the {agreed} of {int(used.sum())} that agree hold {support:.0%} of the weights"
        return NoPose("keypoints disagree", text)
    count = _places(found.keypoints[solved.inliers], SAME_PLACE * side)
    if count < MIN_POINTS:
        return NoPose("keypoints coincide", f"the {agreed} that agree stand at {count} places")
    boxes = reprojected_boxes(asset, solved.T_camera_from_object, camera)
    if in_its_place(found.box_xyxy, boxes, np.ones(len(boxes))) is None:
        text = ", ".join(f"{c:.0f}" for c in boxes[0])
        there = ", ".join(f"{c:.0f}" for c in found.box_xyxy)
        return NoPose(
            "the object would not fill its box",
            f"so placed it fills [{text}], found was [{there}]: they overlap by less than {SAME_IOU:g}",
        )
    return solved


def reprojected_boxes(asset: ObjectAsset, T_camera_from_object: Array, camera: Camera) -> Array:
    """(2, 4) px, xyxy, clipped to the picture: what mesh and keypoints fill; empty where nothing is in front
    of the camera. Joints are at rest."""
    at_camera = replace(camera, T_world_from_camera=np.eye(4))
    boxes = np.zeros((2, 4))
    for box, points in zip(boxes, (asset.hulls[0], asset.keypoints_m), strict=True):
        uv, depth = project(at_camera, transform_points(T_camera_from_object, points))
        if (depth > 0).any():
            uv = np.clip(uv[depth > 0], 0, (camera.width_px, camera.height_px))
            box[:] = *uv.min(axis=0), *uv.max(axis=0)
    return boxes


def _places(points: Array, near_px: float) -> int:
    """How many of the points (N, 2) are farther than near_px from all counted before them."""
    counted: list[Array] = []
    for point in points:
        if all(np.linalg.norm(point - other) > near_px for other in counted):
            counted.append(point)
    return len(counted)

"""A pose drawn on its picture: the mesh's outline, the keypoints and the axes where the pose puts them."""

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from synth.asset import ObjectAsset, Part
from synth.geometry import project, to_opencv, transform_points
from synth.objects.hulls import merged
from synth.types import Array, Camera, Rgb
from train.detect.pose import axes_in_picture, rigid_keypoints

AXIS_COLORS = ((220, 40, 40), (40, 180, 60), (50, 90, 230))
AXIS_SHARE = 0.5
POSE_COLOR = (0, 230, 230)
_SHIFT = 4


def draw_pose(rgb: Rgb, asset: ObjectAsset, T_camera_from_object: Array, camera: Camera) -> Rgb:
    """A copy of `rgb` with the outline of the object's first mesh, joints at rest, and a cross at each of its
    rigid keypoints, both in POSE_COLOR; its axes x red, y green and z blue."""
    canvas = np.ascontiguousarray(rgb).copy()
    thickness = max(1, round(max(canvas.shape[:2]) / 640))
    mask = silhouette(asset.meshes[0], T_camera_from_object, camera)
    outline, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    for color, width in (((0, 0, 0), 3 * thickness), (POSE_COLOR, thickness)):
        cv2.drawContours(canvas, outline, -1, color, width, cv2.LINE_AA)
    points = transform_points(T_camera_from_object, asset.keypoints_m[rigid_keypoints(asset)])
    uv, depth = project(replace(camera, T_world_from_camera=np.eye(4)), points)
    for x, y in np.round(np.clip(to_opencv(uv[depth > 0]), -1e4, 1e4)).astype(int).tolist():
        for color, width in (((0, 0, 0), 3 * thickness), (POSE_COLOR, thickness)):
            cv2.drawMarker(canvas, (x, y), color, cv2.MARKER_TILTED_CROSS, 10 * thickness, width, cv2.LINE_AA)
    axes = axes_in_picture(T_camera_from_object, AXIS_SHARE * asset.diameter_m, camera)
    return draw_axes(canvas, axes)


def silhouette(parts: tuple[Part, ...], T_camera_from_object: Array, camera: Camera) -> NDArray[np.uint8]:
    """(H, W) 1 where the mesh, so placed, covers the camera's picture, else 0. Triangles that reach behind
    the camera are left out, and edges stay straight between corners that a lens has bent."""
    vertices, faces = merged(parts)
    at_camera = replace(camera, T_world_from_camera=np.eye(4))
    uv, depth = project(at_camera, transform_points(T_camera_from_object, vertices))
    corners = np.round(np.clip(to_opencv(uv), -1e4, 1e4) * (1 << _SHIFT)).astype(np.int32)
    mask = np.zeros((camera.height_px, camera.width_px), dtype=np.uint8)
    for triangle in corners[faces[(depth[faces] > 0).all(axis=1)]]:
        cv2.fillConvexPoly(mask, triangle, 1, cv2.LINE_8, _SHIFT)
    return mask


def draw_axes(rgb: Rgb, axes: NDArray[np.float64]) -> Rgb:
    """A copy of `rgb` with x red, y green and z blue. axes: (4, 2) px of the origin and the ends."""
    canvas = np.ascontiguousarray(rgb).copy()
    thickness = max(2, round(max(canvas.shape[:2]) / 320))
    ends = np.round(np.clip(to_opencv(axes), -1e4, 1e4) * 16).astype(int)
    for end, color in zip(ends[1:], AXIS_COLORS, strict=True):
        cv2.arrowedLine(canvas, tuple(ends[0]), tuple(end), color, thickness, cv2.LINE_AA, 4, 0.08)
    return canvas

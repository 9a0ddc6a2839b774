"""Poses on photos: JSON lines, and overlays that show the object's axes."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from synth.calibration import calibrated_camera, read_calibration
from synth.dataset.coco import object_category
from synth.errors import ConfigError, DataError
from synth.geometry import intrinsics, to_opencv
from synth.inspect.drawing import write_image
from synth.objects.load import load_object
from synth.system.files import write_text
from synth.system.pictures import read_image
from synth.system.progress import track
from synth.types import Camera, Rgb
from train.detect.pose import NoPose, Pose, axes_in_picture, rigid_keypoints, solve_pose
from train.detect.predict import Detector
from train.detect.predict_files import OVERLAYS, overlay, overlay_names

POSES = "poses.jsonl"
AXIS_COLORS = ((220, 40, 40), (40, 180, 60), (50, 90, 230))
AXIS_SHARE = 0.5


def camera_for(
    width: int, height: int, calibration: Path | None, fov_deg: float | None, picture: str
) -> Camera:
    """The camera of a picture of that size. fov_deg: along its longer side.

    Raises ConfigError when neither or both are given, DataError for a picture of another shape than the
    calibration's.
    """
    if (calibration is None) == (fov_deg is None):
        raise ConfigError("expected either --camera (a calibration file) or --fov-deg")
    longer = max(width, height)
    if calibration is None:
        focal = longer / 2 / math.tan(math.radians(fov_deg or 0.0) / 2)
        return Camera(width, height, intrinsics(width, height, focal), np.eye(4))
    known = read_calibration(calibration)
    if abs(known.width_px * height - known.height_px * width) > 0.01 * known.width_px * height:
        raise DataError(
            f"{picture}: {width}x{height} px, {calibration} is of {known.width_px}x{known.height_px}"
        )
    return replace(calibrated_camera(known, longer, np.eye(4)), width_px=width, height_px=height)


def pose_files(
    detector: Detector,
    object_: str,
    photos: Sequence[Path],
    out: Path,
    calibration: Path | None,
    fov_deg: float | None,
) -> tuple[int, dict[str, str]]:
    """Writes poses.jsonl and overlays/ to `out`; returns the number of poses and what could not be read."""
    asset = load_object(object_)
    detector.narrow([object_category(object_)[0]], object_)
    fixed, names = rigid_keypoints(asset), overlay_names(photos)
    lines: list[str] = []
    failed: dict[str, str] = {}
    count = 0
    for path in track(photos, len(photos), "pose"):
        try:
            rgb = read_image(path)
            camera = camera_for(rgb.shape[1], rgb.shape[0], calibration, fov_deg, str(path))
        except DataError as error:
            failed[str(path)] = str(error)
            continue
        found = detector(rgb)
        drawn, rows = overlay(rgb, found, detector.categories, 0.0), []
        for detection in found:
            solved = solve_pose(
                asset.keypoints_m, detection.keypoints, detection.keypoint_scores * fixed, camera
            )
            rows.append({"name": detection.name, "score": detection.score, **pose_to_json(solved)})
            if isinstance(solved, Pose):
                count += 1
                axes = axes_in_picture(solved.T_camera_from_object, AXIS_SHARE * asset.diameter_m, camera)
                drawn = draw_axes(drawn, axes)
        lines.append(json.dumps({"image": str(path), "K": camera.K.tolist(), "objects": rows}))
        write_image(out / OVERLAYS / names[path], drawn)
    write_text(out / POSES, "".join(f"{line}\n" for line in lines))
    return count, failed


def pose_to_json(solved: Pose | NoPose) -> dict[str, Any]:
    """Metres and px; a pose that could not be found gives its reason."""
    if isinstance(solved, NoPose):
        return {"T_camera_from_object": None, "reason": solved.reason}
    return {
        "T_camera_from_object": solved.T_camera_from_object.tolist(),
        "rms_px": solved.rms_px,
        "inliers": solved.inliers.tolist(),
        "covariance": solved.covariance.tolist(),
        "other_T_camera_from_object": None if solved.other is None else solved.other.tolist(),
        "other_ratio": None if solved.other is None else solved.other_ratio,
    }


def draw_axes(rgb: Rgb, axes: NDArray[np.float64]) -> Rgb:
    """A copy of `rgb` with x red, y green and z blue. axes: (4, 2) px of the origin and the ends."""
    canvas = np.ascontiguousarray(rgb).copy()
    thickness = max(2, round(max(canvas.shape[:2]) / 320))
    ends = np.round(np.clip(to_opencv(axes), -1e4, 1e4) * 16).astype(int)
    for end, color in zip(ends[1:], AXIS_COLORS, strict=True):
        cv2.arrowedLine(canvas, tuple(ends[0]), tuple(end), color, thickness, cv2.LINE_AA, 4, 0.08)
    return canvas

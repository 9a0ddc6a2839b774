"""Poses on photos: JSON lines, and overlays that show where each pose puts its object."""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from synth.cameras.calibration import QUARTERS, Calibration, calibrated_camera, turned
from synth.cameras.files import read_calibration
from synth.dataset.coco import object_category
from synth.errors import ConfigError, DataError
from synth.geometry import intrinsics
from synth.inspect.drawing import write_image
from synth.objects.load import load_object
from synth.system.files import write_text
from synth.system.pictures import file_orientation, read_image
from synth.system.progress import track
from synth.types import Camera
from train.detect.object_pose import object_pose
from train.detect.pose import NoPose, Pose
from train.detect.pose_drawing import draw_pose
from train.detect.predict import Detector
from train.detect.predict_files import OVERLAYS, overlay, overlay_names

POSES = "poses.jsonl"


@dataclass(frozen=True)
class PoseSummary:
    """How many poses were found in how many pictures. without: how many objects were found but have no pose,
    by reason. failed: file -> why it could not be read. tiles: in how many each picture was read."""

    pictures: int
    poses: int
    without: dict[str, int]
    failed: dict[str, str]
    tiles: tuple[int, ...]


def camera_for(
    width: int,
    height: int,
    calibration: Path | None,
    fov_deg: float | None,
    picture: str,
    orientation: int = 1,
) -> Camera:
    """The camera of an upright picture of that size. fov_deg: along its longer side. orientation: EXIF's, by
    which the picture was turned, and its camera with it.

    Raises ConfigError when neither or both are given, DataError for a picture of another shape than the
    calibration's, or that was mirrored.
    """
    if (calibration is None) == (fov_deg is None):
        raise ConfigError("expected either --camera (a calibration file) or --fov-deg")
    longer = max(width, height)
    if calibration is None:
        focal = longer / 2 / math.tan(math.radians(fov_deg or 0.0) / 2)
        return Camera(width, height, intrinsics(width, height, focal), np.eye(4))
    known = _turned(read_calibration(calibration), width, height, orientation, picture)
    if abs(known.width_px * height - known.height_px * width) > 0.01 * known.width_px * height:
        raise DataError(
            f"{picture}: {width}x{height} px, {calibration} is of {known.width_px}x{known.height_px}"
        )
    return replace(calibrated_camera(known, longer, np.eye(4)), width_px=width, height_px=height)


def _turned(known: Calibration, width: int, height: int, orientation: int, picture: str) -> Calibration:
    """A calibration made on photos that were turned upright already is left as it is: its longer side is that
    of the picture of that size."""
    if orientation not in QUARTERS:
        raise DataError(
            f"{picture}: EXIF orientation {orientation} mirrors it, expected a photo as it was taken"
        )
    quarters = QUARTERS[orientation]
    if quarters % 2 and width != height and (known.width_px > known.height_px) == (width > height):
        return known
    try:
        return turned(known, quarters)
    except ValueError as error:
        raise DataError(f"{picture}: EXIF orientation {orientation}: {error}") from error


def pose_files(
    detector: Detector,
    object_: str,
    photos: Sequence[Path],
    out: Path,
    calibration: Path | None,
    fov_deg: float | None,
) -> PoseSummary:
    """Writes poses.jsonl and overlays/ to `out`."""
    asset = load_object(object_)
    detector.narrow([object_category(object_)[0]], object_)
    names = overlay_names(photos)
    lines: list[str] = []
    failed: dict[str, str] = {}
    count, without = 0, Counter[str]()
    tiles: list[int] = []
    for path in track(photos, len(photos), "pose"):
        try:
            rgb = read_image(path)
            height, width = rgb.shape[:2]
            camera = camera_for(width, height, calibration, fov_deg, str(path), file_orientation(path))
        except DataError as error:
            failed[str(path)] = str(error)
            continue
        tiles.append(detector.n_tiles(camera.width_px, camera.height_px))
        found = detector(rgb)
        drawn, rows = overlay(rgb, found, detector.categories, 0.0), []
        for detection in found:
            solved = object_pose(asset, detection, camera)
            rows.append({"name": detection.name, "score": detection.score, **pose_to_json(solved)})
            if isinstance(solved, Pose):
                count += 1
                drawn = draw_pose(drawn, asset, solved.T_camera_from_object, camera)
            else:
                without[solved.reason] += 1
        lines.append(json.dumps({"image": str(path), "K": camera.K.tolist(), "objects": rows}))
        write_image(out / OVERLAYS / names[path], drawn)
    write_text(out / POSES, "".join(f"{line}\n" for line in lines))
    return PoseSummary(len(lines), count, dict(without.most_common()), failed, tuple(tiles))


def without_pose(reasons: Mapping[str, int]) -> str:
    """How many objects were found but have no pose, and why."""
    why = ", ".join(f"{count} × {reason}" for reason, count in reasons.items())
    return f"{sum(reasons.values())} objects found without a pose: {why}"


def pose_to_json(solved: Pose | NoPose) -> dict[str, Any]:
    """Metres and px; a pose that could not be found gives its reason."""
    if isinstance(solved, NoPose):
        return {"T_camera_from_object": None, "reason": str(solved)}
    return {
        "T_camera_from_object": solved.T_camera_from_object.tolist(),
        "rms_px": solved.rms_px,
        "inliers": solved.inliers.tolist(),
        "covariance": solved.covariance.tolist(),
        "other_T_camera_from_object": None if solved.other is None else solved.other.tolist(),
        "other_ratio": None if solved.other is None else solved.other_ratio,
    }

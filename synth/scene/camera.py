"""Cameras that see an object with the size it should have."""

import math
from dataclasses import replace

import numpy as np

from synth.asset import ObjectAsset
from synth.cameras.calibration import calibrated_camera
from synth.config import SynthConfig
from synth.geometry import axis_angle, intrinsics, look_at
from synth.scene.instances import projected_box
from synth.scene.placement import FILL, usual_hull
from synth.types import Array, Camera, Distortion, Rng

TURNS = 4
"""About the vertical within a half turn: so often an object is looked at to see how large it may look."""


def sample_camera(config: SynthConfig, asset: ObjectAsset, size: float, rng: Rng) -> Camera:
    """A camera that sees an object over the world's origin with about `size`, and looks at the middle of what
    that shows above the ground.

    size: the object's longest extent as a share of the image's longer side.
    """
    c = config.camera
    longer = max(c.width_px, c.height_px)
    focal = longer / 2 / math.tan(math.radians(rng.uniform(*c.fov_deg)) / 2)
    if c.calibration:
        focal = c.calibration.matrix[0] * longer / max(c.calibration.width_px, c.calibration.height_px)
    distance = focal * asset.diameter_m / (size * longer)
    elevation = rng.uniform(*asset.placement.elevation)
    if rng.random() < c.top_view and asset.placement.mode == "resting":
        elevation = math.pi / 2
    azimuth = rng.uniform(-math.pi, math.pi)
    free, usual = asset.placement.mode == "free", usual_hull(asset)
    target = np.array([0.0, 0.0, 0.0 if free else max(0.0, usual[:, 2].max() / 2)])
    eye = target + distance * np.array(
        [
            math.cos(elevation) * math.cos(azimuth),
            math.cos(elevation) * math.sin(azimuth),
            math.sin(elevation),
        ]
    )
    roll = math.radians(rng.uniform(*c.roll_deg))
    if elevation > math.radians(89):
        roll = rng.uniform(-math.pi, math.pi)
    T = look_at(eye, target, roll)
    camera = (
        calibrated_camera(c.calibration, longer, T)
        if c.calibration
        else Camera(c.width_px, c.height_px, intrinsics(c.width_px, c.height_px, focal), T)
    )
    return camera if free else at_size(camera, usual, target, size)


def at_size(camera: Camera, corners: Array, target: Array, size: float) -> Camera:
    """The camera so far from `target` (3,) that the hull `corners` (N, 3) has `size` where it looks largest,
    turned about the vertical, or less where the image would cut it."""
    turned = [corners @ axis_angle((0.0, 0.0, 1.0), n * math.pi / TURNS).T for n in range(TURNS)]
    image = np.array([camera.width_px, camera.height_px])
    for _ in range(2):
        boxes = [projected_box(camera, points) for points in turned]
        if any(box is None for box in boxes):
            return camera
        extent = np.max([box[2:] - box[:2] for box in boxes if box is not None], axis=0)
        factor = max(extent.max() / (size * image.max()), *extent / (FILL * image))
        camera = farther(camera, float(factor), target)
    return camera


def farther(camera: Camera, factor: float, target: Array | None = None) -> Camera:
    """The camera so many times as far from `target` (3,), by default the world's origin."""
    T = camera.T_world_from_camera.copy()
    origin = np.zeros(3) if target is None else target
    T[:3, 3] = origin + factor * (T[:3, 3] - origin)
    return replace(camera, T_world_from_camera=T)


def sample_distortion(config: SynthConfig, camera: Camera, rng: Rng) -> Camera:
    """`camera`, for the distorted share with a Brown-Conrady lens of one radial term."""
    c = config.camera
    share, moved = rng.random(), rng.uniform(*c.distortion)
    if c.calibration or share >= c.distorted or not moved:
        return camera
    corner = math.hypot(camera.width_px, camera.height_px) / 2 / camera.K[0, 0]
    return replace(camera, distortion=Distortion("brown-conrady", (moved / corner**2, 0.0, 0.0, 0.0)))

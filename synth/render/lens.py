"""Lens distortion: a pinhole picture that sees enough, then bent as the lens bends it."""

import math
from dataclasses import replace
from functools import lru_cache

import cv2
import numpy as np
from numpy.polynomial import chebyshev

from synth.errors import ConfigError
from synth.geometry import to_opencv, undistorted
from synth.render.protocol import Renderer
from synth.types import Camera, Distortion, RenderResult, SceneSpec

NODES = 24
"""Chebyshev nodes a side at which the lens is inverted; between them it is interpolated."""
SIZE_STEP_PX = 64
MAX_GROWTH = 3.0
"""A pinhole picture at most this much larger than the image, a side, can stand behind it."""


def render_through_lens(renderer: Renderer, scene: SceneSpec) -> RenderResult:
    """What renderer.render(scene) is for a camera with distortion.

    Colours are interpolated, depth and instance ids are those of the nearest pixel. unoccluded_px is scaled
    as the visible area is. Raises ConfigError when the lens sees more than a pinhole picture can hold.
    """
    if scene.camera.distortion is None:
        return renderer.render(scene)
    straight, x, y = _sight(*_key(scene.camera))
    wide = replace(straight, T_world_from_camera=scene.camera.T_world_from_camera)
    seen = renderer.render(replace(scene, camera=wide))
    ids = cv2.remap(seen.instance_id.astype(np.float32), x, y, cv2.INTER_NEAREST).astype(np.int32)
    n = len(scene.objects)
    before, after = (np.bincount(i.ravel(), minlength=n + 1)[1:] for i in (seen.instance_id, ids))
    return RenderResult(
        rgb=np.asarray(cv2.remap(seen.rgb, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE), np.uint8),
        depth_m=np.asarray(cv2.remap(seen.depth_m, x, y, cv2.INTER_NEAREST), np.float32),
        instance_id=ids,
        unoccluded_px=np.round(seen.unoccluded_px * after / np.maximum(before, 1)).astype(np.int64),
    )


def _key(camera: Camera) -> tuple[int, int, tuple[float, ...], str, tuple[float, ...]]:
    assert camera.distortion is not None
    K = tuple(float(value) for value in camera.K.ravel())
    return camera.width_px, camera.height_px, K, camera.distortion.model, camera.distortion.coefficients


@lru_cache(maxsize=2)
def _sight(
    width_px: int, height_px: int, K: tuple[float, ...], model: str, coefficients: tuple[float, ...]
) -> tuple[Camera, np.ndarray, np.ndarray]:
    """The pinhole camera behind the image, and for each of the image's pixels the place (x, y) in the
    pinhole's picture, as OpenCV counts pixels, float32 (H, W)."""
    lens = Distortion(model, coefficients)
    camera = Camera(width_px, height_px, np.array(K).reshape(3, 3), np.eye(4), lens)
    nodes = chebyshev.chebpts1(NODES)
    u, v = np.meshgrid((nodes + 1) / 2 * width_px, (nodes + 1) / 2 * height_px)
    at_nodes = undistorted(camera, np.column_stack([u.ravel(), v.ravel()])).reshape(NODES, NODES, 2)
    if not np.isfinite(at_nodes).all():
        raise ConfigError(
            f"camera: a {model} lens with coefficients {list(coefficients)} folds the picture within "
            f"{width_px}x{height_px} px"
        )
    from_nodes = np.linalg.inv(chebyshev.chebvander(nodes, NODES - 1))
    across, down = (
        chebyshev.chebvander((np.arange(n) + 0.5) / n * 2 - 1, NODES - 1) @ from_nodes
        for n in (width_px, height_px)
    )
    places = [down @ at_nodes[:, :, i] @ across.T for i in (0, 1)]
    focal = camera.K[0, 0], camera.K[1, 1]
    low = [math.floor(f * float(p.min())) - 2 for f, p in zip(focal, places, strict=True)]
    size = [
        -(-(math.ceil(f * float(p.max())) + 2 - start) // SIZE_STEP_PX) * SIZE_STEP_PX
        for f, p, start in zip(focal, places, low, strict=True)
    ]
    if max(size[0] / width_px, size[1] / height_px) > MAX_GROWTH:
        raise ConfigError(
            f"camera: the {model} lens sees more than a pinhole picture {MAX_GROWTH:g} times as large as its "
            f"{width_px}x{height_px} px can hold"
        )
    pinhole = np.array([[focal[0], 0.0, -low[0]], [0.0, focal[1], -low[1]], [0.0, 0.0, 1.0]])
    x, y = (
        to_opencv(np.asarray(f * p - start)).astype(np.float32)
        for f, p, start in zip(focal, places, low, strict=True)
    )
    return Camera(size[0], size[1], pinhole, np.eye(4)), x, y

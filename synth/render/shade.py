"""What darkens the ground, as small pictures: soft shadows of the key light, occlusion of all other light."""

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from synth.geometry import transform_points
from synth.objects.library import Library
from synth.objects.mesh_pool import pool_mesh
from synth.render.contents import unit_shape
from synth.scene.instances import moved
from synth.types import Array, Distractor, SceneSpec

SHADE_LEVELS = 6
PENUMBRA_PX = 64
THIN_PX = 2
"""Texels of the shadow map: a wider penumbra wipes out what is thin; narrower where that touches down."""
OCCLUSION_PX = 128
LOWEST = 0.15, 0.5, 1.0
"""Shares of the tallest thing's height: what hangs lower than that darkens the ground as far around."""
WEIGHTS = 0.3, 0.3, 0.3
Shades = NDArray[np.uint8]


def soft_shadow(depth: NDArray[np.float32], ground: Array, radius: float) -> tuple[list[Shades], Shades]:
    """Shadow on a plane from a shadow map, percentage-closer soft shadows (Fernando, 2005) by mip levels.

    depth: (n, n) of a parallel projection whose three axes are scaled alike, 1 = nothing there. ground: (3,),
    the plane's depth there is ground @ (x, y, 1), x and y in [0, 1]. radius: of the light, radians.
    Returns the share of light that is kept away, 255 = all of it, n, n / 2 … texels wide; and (PENUMBRA_PX,
    PENUMBRA_PX) which of these levels to look at, 255 = the last.
    """
    n = depth.shape[0]
    at = (np.arange(n, dtype=np.float32) + np.float32(0.5)) / n
    across, down = np.float32(ground[0]) * at, np.float32(ground[1]) * at + np.float32(ground[2] - 1e-3)
    reached = np.minimum(np.add.outer(down, across), np.float32(1))
    shade = (depth < reached).view(np.uint8) * np.uint8(255)
    levels = [np.asarray(cv2.GaussianBlur(shade, (3, 3), 0), np.uint8)]
    while len(levels) < SHADE_LEVELS:
        half = cv2.resize(levels[-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        levels.append(np.asarray(cv2.GaussianBlur(half, (3, 3), 0), np.uint8))
    every = np.s_[n // PENUMBRA_PX // 2 :: n // PENUMBRA_PX]
    above = np.maximum(reached[every, every] - depth[every, every], 0)
    height, share = (cv2.blur(a, (7, 7)) for a in (above, (above > 0).astype(np.float32)))
    lowest = reached[::2, ::2] - depth[::2, ::2]
    lowest = np.where(lowest > 0, lowest, np.float32(1)).reshape(PENUMBRA_PX, -1, n // 2).min(1)
    lowest = np.ascontiguousarray(lowest.T.reshape(PENUMBRA_PX, -1, PENUMBRA_PX).min(1).T)
    mean, scale = height / np.maximum(share, 1e-4), n * np.tan(radius)
    wide = mean * scale > THIN_PX
    width = np.where(wide, np.minimum(mean, lowest), mean) * scale
    level = np.log2(np.maximum(width, 1)) * (255 / (SHADE_LEVELS - 1))
    return levels, np.minimum(level, 255).astype(np.uint8)


def shaded_places(levels: list[Shades], penumbra: Shades) -> NDArray[np.bool_]:
    """(PENUMBRA_PX, PENUMBRA_PX) of what soft_shadow gives, where any light is kept away."""
    softest = -(-int(penumbra.max()) * (SHADE_LEVELS - 1) // 255)
    sharp = next(n for n, level in enumerate(levels) if len(level) == PENUMBRA_PX)
    soft = cv2.resize(levels[max(sharp, softest)], (PENUMBRA_PX, PENUMBRA_PX), interpolation=cv2.INTER_LINEAR)
    return (levels[sharp] > 0) | (np.asarray(soft) > 0)


def plane_depth(texture_from_world: Array) -> Array:
    """(3,) coefficients of the depth of the ground z = 0 by place (x, y, 1) in a parallel projection."""
    T = texture_from_world[:3, [0, 1, 3]]
    return np.asarray(T[2] @ np.linalg.inv(np.vstack([T[:2], [0.0, 0.0, 1.0]])))


def occlusion(hulls_world: Sequence[Array], centre: Array, half: float) -> tuple[Shades, float]:
    """Share of the light from all sides that hulls (N, 3) keep from the ground, 255 = all; and their height.

    The picture is a square of 2 * half metres around `centre`, its rows along y.
    """
    height = max(1e-6, *(float(hull[:, 2].max()) for hull in hulls_world))
    dark = np.zeros((OCCLUSION_PX, OCCLUSION_PX), np.float32)
    scale = OCCLUSION_PX / (2 * half)
    for share, weight in zip(LOWEST, WEIGHTS, strict=True):
        covered = np.zeros((OCCLUSION_PX, OCCLUSION_PX), np.uint8)
        for hull in hulls_world:
            low = hull[hull[:, 2] < share * height, :2]
            if len(low):
                places = np.clip(np.round((low - centre[:2] + half) * scale * 16 - 8), -(2**20), 2**20)
                outline = cv2.convexHull(places.astype(np.int32))
                cv2.fillConvexPoly(covered, outline, 255, cv2.LINE_AA, shift=4)
        sigma = max(0.6, 0.5 * share * height * scale)
        dark += np.float32(weight) * _blurred(covered, sigma)
    return dark.astype(np.uint8), height


def _blurred(image: Shades, sigma: float) -> Shades:
    """A Gaussian blur; wide ones by three box filters."""
    if sigma < 2:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)
    width = min(2 * round(sigma) + 1, OCCLUSION_PX // 2 + 1)
    for _ in range(3):
        image = np.asarray(cv2.blur(image, (width, width)), np.uint8)
    return image


def pieces(scene: SceneSpec, library: Library) -> list[Array]:
    """Corners in world of the convex bodies that the scene's things are about made of."""
    of_objects = [
        transform_points(o.T_world_from_object, corners * np.array(o.scale))
        for o in scene.objects
        for asset in [library[o.asset]]
        for corners in moved(asset, asset.pieces[o.mesh], o.joints)
    ]
    return of_objects + [
        transform_points(d.T_world_from_object, _hull(d, library)) for d in scene.distractors
    ]


def _hull(distractor: Distractor, library: Library) -> Array:
    """(H, 3) corners in the distractor's own frame."""
    if library.meshes is not None and distractor.shape in library.meshes.names:
        return np.asarray(pool_mesh(library.meshes, distractor.shape).corners * max(distractor.size_m))
    return np.asarray(unit_hull(distractor.shape) * np.array(distractor.size_m))


@lru_cache(maxsize=8)
def unit_hull(shape: str) -> Array:
    corners, _, _ = unit_shape(shape)
    return np.asarray(corners[ConvexHull(corners).vertices])

"""What darkens the ground z = 0, as small pictures of it: soft shadows of the key light, and occlusion, that
is how much of the light from all other sides the things on it keep away. No OpenGL.
"""

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
"""Shadows from sharp to soft, each half the size of the one before."""
PENUMBRA_PX = 64
"""Texels a side of the map that says how soft the shadow is where."""
THIN_PX = 2
"""Where a penumbra is wider than so many texels of the shadow map, its width follows the lowest thing above
instead of the mean: a thin thing near the ground, a wire or a foot, keeps its sharp shadow."""
OCCLUSION_PX = 128
"""Texels a side of the map of occlusion."""
LOWEST = 0.15, 0.5, 1.0
"""Occlusion has three layers: things lower than this share of the tallest one's height darken the ground
under them and about as far around them as they are high."""
WEIGHTS = 0.3, 0.3, 0.3
"""Share of the light that each layer takes away; 0.9 right below a thing that stands on the ground."""
Shades = NDArray[np.uint8]


def soft_shadow(depth: NDArray[np.float32], ground: Array, radius: float) -> tuple[list[Shades], Shades]:
    """The key light's shadow on the ground, from its shadow map: percentage-closer soft shadows (Fernando,
    2005), but with ready-made blurred levels to look at instead of many comparisons a pixel.

    depth: (n, n) shadow map, 0 = near the light, 1 = nothing there; a parallel projection whose three axes
    are scaled alike, so that depths and widths compare. ground: (3,), the ground's depth at (x, y) in [0, 1]
    is ground @ (x, y, 1), see plane_depth. radius: of the light as seen from the scene, radians.
    Returns SHADE_LEVELS pictures uint8, (n, n), (n / 2, n / 2), …: the share of the light kept away, 255 =
    all of it; and (PENUMBRA_PX, PENUMBRA_PX) uint8, which level to look at in each place, 0 = sharp, 255 =
    the last.
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
    """(PENUMBRA_PX, PENUMBRA_PX): where soft_shadow's pictures keep any light away. Elsewhere the ground need
    not be drawn with shadows."""
    softest = -(-int(penumbra.max()) * (SHADE_LEVELS - 1) // 255)
    sharp = next(n for n, level in enumerate(levels) if len(level) == PENUMBRA_PX)
    soft = cv2.resize(levels[max(sharp, softest)], (PENUMBRA_PX, PENUMBRA_PX), interpolation=cv2.INTER_LINEAR)
    return (levels[sharp] > 0) | (np.asarray(soft) > 0)


def plane_depth(texture_from_world: Array) -> Array:
    """(3,) coefficients c with which a parallel projection (4, 4) from world to texture places and depth
    shows the ground z = 0 at depth c @ (x, y, 1)."""
    T = texture_from_world[:3, [0, 1, 3]]
    return np.asarray(T[2] @ np.linalg.inv(np.vstack([T[:2], [0.0, 0.0, 1.0]])))


def occlusion(hulls_world: Sequence[Array], centre: Array, half: float) -> tuple[Shades, float]:
    """The share of the light from all sides that things keep from the ground, (OCCLUSION_PX, OCCLUSION_PX)
    uint8, 255 = all; and the height of the tallest thing, metres.

    hulls_world: (N, 3) corners of convex bodies. The picture is a square of 2 * half metres around `centre`
    (3,), its columns along x, its rows along y. No integral over directions: for each of LOWEST the outlines
    of what is lower, blurred by half that height, which is close to it and costs little.
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
    """Gaussian blur of `sigma` px; a wide one by three box filters, whose cost does not grow with it."""
    if sigma < 2:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)
    width = min(2 * round(sigma) + 1, OCCLUSION_PX // 2 + 1)
    for _ in range(3):
        image = np.asarray(cv2.blur(image, (width, width)), np.uint8)
    return image


def pieces(scene: SceneSpec, library: Library) -> list[Array]:
    """(N, 3) corners in world of convex bodies that together fill about what objects and distractors fill."""
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
    """(H, 3) corners of the convex hull of a distractor's shape in the unit cube."""
    corners, _, _ = unit_shape(shape)
    return np.asarray(corners[ConvexHull(corners).vertices])

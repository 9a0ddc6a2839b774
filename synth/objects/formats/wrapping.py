"""Textures that do not repeat, as textures that do: the renderers draw no others."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from synth.types import Array

MOST_TILES = 16
"""Of a clamped picture along one side, the drawn-out edges included."""
LONGEST_PX = 4096
"""Side of what becomes of a picture; it is made smaller before."""
EDGE = 1e-4


def repeating(
    uv: Array, pictures: list[NDArray[Any] | None], wrap: tuple[str, str]
) -> tuple[Array, list[NDArray[Any] | None]]:
    """Texture coordinates (V, 2) and pictures (h, w, 3) that look, repeated, as the given ones look with
    `wrap`: 'repeat', 'mirror' or 'clamp' along u and v.

    Mirrored pictures become four; the edges of clamped ones are drawn out as far as the coordinates reach.
    What stays within the picture is left as it is. Raises ValueError where they reach beyond MOST_TILES.
    """
    for axis, how in enumerate(wrap):
        low, high = float(uv[:, axis].min()), float(uv[:, axis].max())
        if how == "repeat" or (low >= -EDGE and high <= 1 + EDGE):
            continue
        side = 1 - axis
        if how == "mirror":
            first, last, make = 0, 2, _mirrored
        else:
            first, last, make = min(0, int(np.floor(low))), max(1, int(np.ceil(high))), _drawn_out
        if last - first > MOST_TILES:
            raise ValueError(f"texture coordinates reach {last - first} pictures beyond a clamped texture")
        uv = uv.copy()
        uv[:, axis] = (uv[:, axis] - first) / (last - first)
        most = LONGEST_PX // (last - first)
        pictures = [
            None if p is None else make(_shortened(p, side, most), side, first, last) for p in pictures
        ]
    return uv, pictures


def _shortened(picture: NDArray[Any], side: int, most: int) -> NDArray[Any]:
    size = list(picture.shape[:2])
    if size[side] <= most:
        return picture
    size[side] = most
    return np.asarray(cv2.resize(picture, (size[1], size[0]), interpolation=cv2.INTER_AREA))


def _mirrored(picture: NDArray[Any], side: int, first: int, last: int) -> NDArray[Any]:
    """v grows upwards, rows downwards: the picture itself is the lower or left half."""
    flipped = np.flip(picture, side)
    return np.concatenate([flipped, picture] if side == 0 else [picture, flipped], side)


def _drawn_out(picture: NDArray[Any], side: int, first: int, last: int) -> NDArray[Any]:
    length = picture.shape[side]
    before, behind = -first * length, (last - 1) * length
    pads = [(0, 0)] * picture.ndim
    pads[side] = (behind, before) if side == 0 else (before, behind)
    return np.pad(picture, pads, mode="edge")

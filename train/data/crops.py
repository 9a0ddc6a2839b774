"""Squares cut from pictures about objects, turned and brought to one size; parts of large pictures."""

from dataclasses import dataclass

import cv2
import numpy as np

from synth.types import Array, Rgb
from train.config import CropConfig
from train.data.objects import Objects, affine, resize


@dataclass(frozen=True)
class Window:
    """A square of a picture, in px of that: centre (x, y) and side.

    turn_degrees: by how much what it shows is turned clockwise in a cut.
    """

    x: float
    y: float
    side: float
    turn_degrees: float = 0.0

    def matrix(self, side_px: int) -> Array:
        """(2, 3): from the picture's px to those of the cut of that side."""
        angle, scale = np.deg2rad(self.turn_degrees), side_px / self.side
        cos, sin = scale * np.cos(angle), scale * np.sin(angle)
        linear = np.array([[cos, -sin], [sin, cos]])
        return np.column_stack((linear, side_px / 2 - linear @ (self.x, self.y)))


def cut_window(rgb: Rgb, window: Window, side_px: int) -> Rgb:
    """What the window shows, (side_px, side_px, 3); beyond the picture's edge its rim goes on.

    What has to shrink is shrunk over areas first, so that fine print does not alias.
    """
    height, width = rgb.shape[:2]
    half = window.side * (np.sqrt(0.5) if window.turn_degrees else 0.5) + 2 * max(1.0, window.side / side_px)
    left, right = (int(v) for v in np.clip((window.x - half, window.x + half + 1), 0, width))
    top, bottom = (int(v) for v in np.clip((window.y - half, window.y + half + 1), 0, height))
    left, top = min(left, width - 1), min(top, height - 1)
    part = rgb[top : max(bottom, top + 1), left : max(right, left + 1)]
    shrink = min(1.0, side_px / window.side)
    columns, rows = (max(1, round(n * shrink)) for n in part.shape[1::-1])
    small = resize(part, columns, rows)
    back = np.diag((part.shape[1] / columns, part.shape[0] / rows))
    matrix = window.matrix(side_px)
    offset = matrix[:, :2] @ (back @ (0.5, 0.5) + (left, top)) + matrix[:, 2] - 0.5
    forward, size = np.column_stack((matrix[:, :2] @ back, offset)), (side_px, side_px)
    return np.asarray(cv2.warpAffine(small, forward, size, borderMode=cv2.BORDER_REPLICATE), dtype=np.uint8)


def drawn_part(rgb: Rgb, objects: Objects, largest_px: int, seed: int) -> tuple[Rgb, Objects]:
    """A part of the picture with sides of at most largest_px, which shows a piece of one of the objects if
    there is one; the whole picture where it is no larger."""
    rng = np.random.default_rng(seed)
    size = np.array(rgb.shape[1::-1])
    part = np.minimum(size, largest_px)
    centre = rng.uniform(0, size)
    if objects.extents:
        points = objects.extents[rng.integers(len(objects.extents))]
        centre = points[rng.integers(len(points))] + rng.uniform(-0.5, 0.5, 2) * part
    left, top = np.clip(np.round(centre - part / 2), 0, size - part).astype(int)
    shift = np.array([[1.0, 0.0, -left], [0.0, 1.0, -top]])
    return rgb[top : top + part[1], left : left + part[0]], affine(objects, shift)


def drawn_window(objects: Objects, width: int, height: int, config: CropConfig, seed: int) -> Window:
    """A window about one of the objects, which it holds whole but for corners when it is turned; anywhere if
    there is none.

    width, height: of the picture in px.
    """
    rng = np.random.default_rng(seed)
    turn = rng.uniform(-config.rotate_degrees, config.rotate_degrees)
    if not objects.extents:
        side = max(width, height) * rng.uniform(0.25, 1.0)
        return Window(rng.uniform(0, width), rng.uniform(0, height), side, turn)
    points = objects.extents[rng.integers(len(objects.extents))]
    low, high = points.min(axis=0), points.max(axis=0)
    longer = max(1.0, float((high - low).max()))
    side = longer * np.exp(rng.uniform(*np.log(config.reach)))
    x, y = (low + high) / 2 + rng.uniform(-0.5, 0.5, 2) * (side - longer)
    return Window(x, y, side, turn)

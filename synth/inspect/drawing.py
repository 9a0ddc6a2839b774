"""Labels on pictures and pictures on sheets: OpenCV and numpy only."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import ArrayLike

from synth.errors import UserError
from synth.geometry import to_opencv
from synth.system.files import write_bytes
from synth.types import OCCLUDED, VISIBLE, KeypointSchema, Rgb

Color = tuple[int, int, int]
# Okabe and Ito's colour-blind-safe colours, white for black
PALETTE: tuple[Color, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
    (255, 255, 255),
)
_SHIFT = 4
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_CAPTION_PX = 22


def draw_objects(
    rgb: Rgb,
    schema: KeypointSchema,
    boxes: ArrayLike,
    keypoints: ArrayLike,
    color: Color | None = None,
    names: bool = False,
    captions: Sequence[str] = (),
) -> Rgb:
    """A copy of `rgb` with boxes, skeletons and keypoints: filled = visible, hollow = occluded.

    rgb: (H, W, 3) uint8. boxes: (N, 4) x0, y0, x1, y1. keypoints: (N, K, 3) x, y, v. Pixels are
    continuous, (0, 0) = top-left corner of the image. color: of boxes and skeletons, by default one per
    object; keypoints keep one colour per name. names: write each keypoint's name beside it. captions: one a
    box, written above it.
    Raises ValueError when the shapes do not fit the schema.
    """
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    keypoints = np.asarray(keypoints, dtype=np.float64)
    if keypoints.size != len(boxes) * len(schema) * 3:
        raise ValueError(f"keypoints: shape {keypoints.shape}, expected {(len(boxes), len(schema), 3)}")
    keypoints = keypoints.reshape(len(boxes), len(schema), 3)
    canvas = np.ascontiguousarray(rgb).copy()
    thickness = max(1, round(max(canvas.shape[:2]) / 640))
    for n, (box, points) in enumerate(zip(boxes, keypoints, strict=True)):
        line = color or PALETTE[n % len(PALETTE)]
        cv2.rectangle(canvas, _fixed(box[:2]), _fixed(box[2:]), line, thickness, cv2.LINE_AA, _SHIFT)
        if captions:
            _write(canvas, captions[n], (box[0], box[1] - 4 * thickness), thickness)
        for a, b in schema.skeleton:
            if points[a, 2] >= OCCLUDED and points[b, 2] >= OCCLUDED:
                ends = _fixed(points[a, :2]), _fixed(points[b, :2])
                cv2.line(canvas, *ends, line, thickness, cv2.LINE_AA, _SHIFT)
        for k, (x, y, v) in enumerate(points):
            if v >= OCCLUDED:
                _draw_keypoint(canvas, (x, y), PALETTE[k % len(PALETTE)], v >= VISIBLE, thickness)
                if names:
                    _write(canvas, schema.names[k], (x + 5 * thickness, y - 4 * thickness), thickness)
    return canvas


def contact_sheet(
    images: Sequence[Rgb], columns: int = 4, tile_px: int = 320, captions: Sequence[str] | None = None
) -> Rgb:
    """The images, their longer side scaled to tile_px, in rows as high as their highest image."""
    if not images:
        raise ValueError("contact_sheet: no images")
    columns = min(columns, len(images))
    rows = []
    for start in range(0, len(images), columns):
        tiles = [_fitted(image, tile_px) for image in images[start : start + columns]]
        height = max(tile.shape[0] for tile in tiles)
        row = np.full((height + (_CAPTION_PX if captions else 0), columns * tile_px, 3), 24, dtype=np.uint8)
        for i, tile in enumerate(tiles):
            top, left = (height - tile.shape[0]) // 2, i * tile_px + (tile_px - tile.shape[1]) // 2
            row[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
            if captions:
                _write(row, captions[start + i], (i * tile_px + 4.0, height + 16.0), 1)
        rows.append(row)
    return np.concatenate(rows)


def _fitted(image: Rgb, tile_px: int) -> Rgb:
    height, width = image.shape[:2]
    scale = tile_px / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    shrinks = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, size, interpolation=shrinks), dtype=np.uint8)


def write_image(path: Path, rgb: Rgb, quality: int = 92) -> None:
    """Writes PNG or JPEG, as the suffix says, atomically. rgb: (H, W, 3) uint8 sRGB."""
    suffix = path.suffix.lower()
    if suffix not in (".png", ".jpg", ".jpeg"):
        raise UserError(f"{path}: pictures are written as .png or .jpg, not {suffix or 'without a suffix'}")
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if suffix != ".png" else []
    done, data = cv2.imencode(suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), options)
    if not done:
        raise RuntimeError(f"{path}: OpenCV could not encode the picture")
    write_bytes(path, data.tobytes())


def _fixed(point: ArrayLike) -> tuple[int, int]:
    """Continuous pixels -> OpenCV's fixed point, whose 0 is the centre of the first pixel."""
    x, y = np.round(to_opencv(np.clip(np.asarray(point), -1e4, 1e5)) * (1 << _SHIFT)).astype(int)
    return int(x), int(y)


def _draw_keypoint(
    canvas: Rgb, point: tuple[float, float], color: Color, filled: bool, thickness: int
) -> None:
    center, radius = _fixed(point), 4 * thickness << _SHIFT
    if filled:
        cv2.circle(canvas, center, radius + (thickness << _SHIFT), (0, 0, 0), -1, cv2.LINE_AA, _SHIFT)
        cv2.circle(canvas, center, radius, color, -1, cv2.LINE_AA, _SHIFT)
    else:
        cv2.circle(canvas, center, radius, (0, 0, 0), 3 * thickness, cv2.LINE_AA, _SHIFT)
        cv2.circle(canvas, center, radius, color, thickness, cv2.LINE_AA, _SHIFT)


def _write(canvas: Rgb, text: str, at: tuple[float, float], thickness: int) -> None:
    """Light text with a dark rim; at: left end of its baseline, moved to keep it in the picture."""
    scale = 0.42 * thickness
    (width, height), _ = cv2.getTextSize(text, _FONT, scale, thickness)
    x = round(float(np.clip(at[0], 2, max(2, canvas.shape[1] - width - 2))))
    y = round(float(np.clip(at[1], height + 2, canvas.shape[0] - 2)))
    for dx in (-1, 0, 1):
        for dy in (-1, 0, 1):
            beside = x + dx * thickness, y + dy * thickness
            cv2.putText(canvas, text, beside, _FONT, scale, (0, 0, 0), thickness, cv2.LINE_AA)
    cv2.putText(canvas, text, (x, y), _FONT, scale, (255, 255, 255), thickness, cv2.LINE_AA)

"""The calibration chessboard in a photo: its inner corners, which way up it is, its keypoints.

The board has 10 × 7 squares and so 9 × 6 inner corners. Its left column starts and ends with a black
square, its right column with a white one: turned by 180° it looks different, so every corner has a name.
Its outermost columns are printed only half a square wide.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from synth.geometry import from_opencv
from synth.types import Array

COLUMNS, ROWS = 9, 6
KEYPOINT_AT = {
    "tl": (0, 0),
    "tm": (0, 4),
    "tr": (0, 8),
    "br": (5, 8),
    "bm": (5, 4),
    "bl": (5, 0),
}
"""Keypoint name -> (row, column) of the inner corner; tl is the one next to the top-left black square."""
PLATE_XYXY, PLATE_RADIUS = (-1.15, -1.25, 9.15, 6.2), 0.6
"""The backing plate with its rounded corners, in squares from corner tl; measured on rectified photos."""


def find_corners(gray: NDArray[np.uint8]) -> Array | None:
    """The inner corners of the board in gray (H, W) uint8, or None where none is found.

    Returns (6, 9, 2) float64, continuous pixels, [row, column] counted from the corner next to the
    top-left black square along the board's own rows.
    """
    found = _find_by_sectors(gray)
    if found is None:
        found = _find_by_quads(gray)
    if found is None:
        return None
    return _name_order(gray, from_opencv(found.reshape(ROWS, COLUMNS, 2).astype(np.float64)))


def keypoints(corners: Array, names: tuple[str, ...]) -> Array:
    """corners: (6, 9, 2). Returns (len(names), 2), the corners of these names, see KEYPOINT_AT."""
    return np.array([corners[KEYPOINT_AT[name]] for name in names])


def plate_box(corners: Array, width_px: int, height_px: int) -> Array:
    """corners: (6, 9, 2). Returns (4,) xyxy px around the backing plate, within the image."""
    outline = _project(_homography(corners), _plate_outline())
    limits = np.array([width_px, height_px], dtype=np.float64)
    return np.concatenate([outline.min(0).clip(0, limits), outline.max(0).clip(0, limits)])


def _plate_outline() -> Array:
    left, top, right, bottom = PLATE_XYXY
    turns = np.linspace(0, np.pi / 2, 9)
    arc = PLATE_RADIUS * np.stack([1 - np.cos(turns), 1 - np.sin(turns)], axis=1)
    corners = ((left, top, 1, 1), (right, top, -1, 1), (right, bottom, -1, -1), (left, bottom, 1, -1))
    return np.concatenate([[x, y] + arc * [x_inwards, y_inwards] for x, y, x_inwards, y_inwards in corners])


def _find_by_sectors(gray: NDArray[np.uint8]) -> Array | None:
    flags = cv2.CALIB_CB_EXHAUSTIVE | cv2.CALIB_CB_ACCURACY
    done, corners = cv2.findChessboardCornersSB(gray, (COLUMNS, ROWS), flags=flags)
    return np.asarray(corners, dtype=np.float64) if done else None


def _find_by_quads(gray: NDArray[np.uint8]) -> Array | None:
    flags = cv2.CALIB_CB_ADAPTIVE_THRESH | cv2.CALIB_CB_NORMALIZE_IMAGE
    done, corners = cv2.findChessboardCorners(gray, (COLUMNS, ROWS), flags=flags)
    if not done:
        return None
    until = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 50, 1e-3)
    return np.asarray(cv2.cornerSubPix(gray, corners, (5, 5), (-1, -1), until), dtype=np.float64)


def _name_order(gray: NDArray[np.uint8], corners: Array) -> Array:
    """The finder starts at any end of the board and may run along a row either way: undo both."""
    along_row, along_column = corners[0, -1] - corners[0, 0], corners[-1, 0] - corners[0, 0]
    if along_row[0] * along_column[1] - along_row[1] * along_column[0] < 0:
        corners = corners[:, ::-1]
    return corners if _black_minus_white(gray, corners) < 0 else corners[::-1, ::-1]


def _black_minus_white(gray: NDArray[np.uint8], corners: Array) -> float:
    """Mean grey of the squares that should be black, less that of those that should be white."""
    rows, columns = np.mgrid[: ROWS - 1, : COLUMNS - 1]
    centers = (corners[:-1, :-1] + corners[1:, :-1] + corners[:-1, 1:] + corners[1:, 1:]) / 4
    index = np.floor(centers).astype(int)
    values = gray[index[..., 1].clip(0, gray.shape[0] - 1), index[..., 0].clip(0, gray.shape[1] - 1)]
    black = (rows + columns) % 2 == 0
    return float(values[black].mean() - values[~black].mean())


def _homography(corners: Array) -> Array:
    """From (column, row) of the board to pixels."""
    rows, columns = np.mgrid[:ROWS, :COLUMNS]
    board = np.stack([columns, rows], axis=-1).reshape(-1, 2).astype(np.float64)
    matrix, _ = cv2.findHomography(board, corners.reshape(-1, 2))
    return np.asarray(matrix, dtype=np.float64)


def _project(homography: Array, points: Array) -> Array:
    projected = np.column_stack([points, np.ones(len(points))]) @ homography.T
    return np.asarray(projected[:, :2] / projected[:, 2:], dtype=np.float64)

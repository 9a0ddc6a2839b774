"""The corner finder: names and half-pixel convention, on boards drawn in known places."""

import cv2
import numpy as np
import pytest

from synth.fetch.corners import KEYPOINT_AT, find_corners, keypoints, plate_box
from synth.types import Array

NAMES = tuple(KEYPOINT_AT)
SQUARE, SCALE = 24, 4
SIZE = (480, 420)


def drawn_board(turn_deg: float) -> tuple[np.ndarray, Array]:
    """A board turned in the picture: (gray (H, W) uint8, its inner corners (6, 9, 2), continuous px)."""
    width, height = SIZE
    turn = np.deg2rad(turn_deg)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) * SQUARE
    shift = np.array([width / 2, height / 2]) - rotation @ [4.0, 2.5]
    ys, xs = np.mgrid[: height * SCALE, : width * SCALE]
    pixels = (np.stack([xs, ys], axis=-1) + 0.5) / SCALE
    board = (pixels - shift) @ np.linalg.inv(rotation).T
    column, row = np.floor(board[..., 0]).astype(int) + 1, np.floor(board[..., 1]).astype(int) + 1
    on_board = (column >= 0) & (column < 10) & (row >= 0) & (row < 7)
    gray = np.where(on_board & ((column + row) % 2 == 0), 20.0, 235.0)
    gray = gray.reshape(height, SCALE, width, SCALE).mean(axis=(1, 3))
    rows, columns = np.mgrid[:6, :9]
    return gray.round().astype(np.uint8), np.stack([columns, rows], axis=-1) @ rotation.T + shift


@pytest.mark.parametrize("turn_deg", [0, 33, 90, 180, 215, 270])
def test_corners_carry_their_names_however_the_board_is_turned(turn_deg: float) -> None:
    gray, truth = drawn_board(turn_deg)
    found = find_corners(gray)
    assert found is not None
    errors = np.linalg.norm(found - truth, axis=-1)
    assert np.median(errors) < 0.05
    assert errors.max() < 0.3


def test_picture_without_a_board_has_no_corners() -> None:
    assert find_corners(np.full((240, 320), 128, dtype=np.uint8)) is None


def test_keypoints_follow_the_names_asked_for() -> None:
    _, corners = drawn_board(0)
    tm, bl = keypoints(corners, ("tm", "bl"))
    np.testing.assert_allclose(tm, corners[0, 4])
    np.testing.assert_allclose(bl, corners[5, 0])


def test_plate_box_holds_the_board_and_stays_in_the_picture() -> None:
    _, corners = drawn_board(0)
    x0, y0, x1, y1 = plate_box(corners, *SIZE)
    origin = corners[0, 0]
    np.testing.assert_allclose([x0, y0], origin + SQUARE * np.array([-1.15, -1.25]), atol=1e-6)
    np.testing.assert_allclose([x1, y1], origin + SQUARE * np.array([9.15, 6.2]), atol=1e-6)
    clipped = plate_box(corners - [100, 0], 200, 100)
    assert clipped.min() >= 0
    assert (clipped[2:] <= [200, 100]).all()


def test_quads_finder_steps_in_when_the_sector_finder_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "findChessboardCornersSB", lambda *args, **kwargs: (False, None))
    gray, truth = drawn_board(33)
    found = find_corners(gray)
    assert found is not None
    assert np.median(np.linalg.norm(found - truth, axis=-1)) < 0.1

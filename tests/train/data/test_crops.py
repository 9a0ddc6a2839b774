"""Cuts of pictures: what they show lies where its keypoint says."""

import numpy as np
import pytest

from tests.train.data.test_transforms import DOTS, ONE, H, W, centroid, one_keypoint, painted
from train.config import CropConfig
from train.data.crops import Window, cut_window, drawn_part, drawn_window
from train.data.objects import Objects, affine


@pytest.mark.parametrize(
    "window",
    [
        Window(100, 60, 60),
        Window(97.3, 61.8, 110, 30),
        Window(100, 60, 330, -170),
        Window(20, 110, 300, 45),
    ],
)
def test_a_cut_keeps_the_dot_under_its_keypoint(window: Window) -> None:
    inside = 0
    for x, y in DOTS:
        moved = affine(one_keypoint(x, y), window.matrix(160)).keypoints[0, 0, :2]
        shown = cut_window(painted(x, y), window, 160)
        assert shown.shape == (160, 160, 3)
        if (moved > 12).all() and (moved < 148).all():
            assert centroid(shown) == pytest.approx(moved, abs=0.1)
            inside += 1
    assert inside


def test_a_window_far_outside_the_picture_shows_its_edge() -> None:
    rgb = np.full((H, W, 3), 7, dtype=np.uint8)
    assert (cut_window(rgb, Window(-500, 900, 50), 32) == 7).all()


def test_a_drawn_window_holds_its_object() -> None:
    objects, config = one_keypoint(50.5, 40.5), CropConfig(reach=(1.2, 3.0), rotate_degrees=0)
    for seed in range(50):
        window = drawn_window(objects, W, H, config, seed)
        assert 1.2 * 18 <= window.side <= 3.0 * 18
        ends = affine(objects, window.matrix(100)).extents[0]
        assert ends.min() >= -1e-6
        assert ends.max() <= 100 + 1e-6
        assert drawn_window(objects, W, H, config, seed) == window
    nothing = Objects(np.zeros((0, 1, 3)), (), np.zeros(0), ONE[:0])
    assert drawn_window(nothing, W, H, config, 0).side <= W


def test_a_part_of_a_large_picture_shows_a_piece_of_an_object_where_its_label_says() -> None:
    for seed in range(20):
        rgb, objects = drawn_part(painted(100.5, 60.5), one_keypoint(100.5, 60.5), 64, seed)
        assert rgb.shape == (64, 64, 3)
        ends = objects.extents[0]
        assert ends.max() > 0
        assert ends.min() < 64
        moved = objects.keypoints[0, 0, :2]
        if (moved > 12).all() and (moved < 52).all():
            assert centroid(rgb) == pytest.approx(moved, abs=0.1)
    nothing = Objects(np.zeros((0, 1, 3)), (), np.zeros(0), ONE[:0])
    assert drawn_part(painted(9, 9), nothing, 64, 0)[0].shape == (64, 64, 3)


def test_a_picture_that_is_small_enough_stays_whole() -> None:
    rgb, objects = drawn_part(painted(100.5, 60.5), one_keypoint(100.5, 60.5), max(W, H), 0)
    assert rgb.shape == (H, W, 3)
    assert objects.keypoints[0, 0, :2].tolist() == [100.5, 60.5]

"""Labels and detections side by side on a picture."""

from collections.abc import Sequence

import numpy as np

from synth.dataset.coco import Category
from synth.types import VISIBLE, Array, Rgb
from train.detect.drawing import draw_categories
from train.types import Found, Sample, told_v

TRUE_COLOR, FOUND_COLOR = (255, 255, 255), (230, 60, 230)
SHOWN_SCORE = 0.5
"""Least score of a detection that is drawn; where none reaches it, the best one is."""
LEGEND = "white: labels; magenta: found, with score; rings: hidden"


def draw_answers(
    rgb: Rgb, sample: Sample, found: Found, categories: Sequence[Category], shift: Array, scale: float
) -> Rgb:
    """A copy of `rgb` with the sample's labels in white and what was found in magenta, with its scores.

    rgb: a part of the sample's photo, whose place (x, y) px is that of (x, y) / scale + shift in the photo.
    shift: (2,) px. categories: in the order of the labels.
    """
    shown = found.scores >= min(SHOWN_SCORE, found.scores.max(initial=0.0))
    scores = [f"{score:.2f}" for score in found.scores[shown]]
    visibility = found.keypoint_visibility
    v = np.full(found.keypoints.shape[:2], VISIBLE) if visibility is None else told_v(visibility)
    points = np.concatenate((found.keypoints, v[..., None]), axis=2)
    for labels, boxes, keypoints, captions, color in (
        (sample.labels, sample.boxes, sample.keypoints, (), TRUE_COLOR),
        (found.labels[shown], found.boxes[shown], points[shown], scores, FOUND_COLOR),
    ):
        placed = keypoints.copy()
        placed[..., :2] = (placed[..., :2] - shift) * scale
        boxes_there = (boxes - np.tile(shift, 2)) * scale
        rgb = draw_categories(rgb, categories, labels, boxes_there, placed, captions, color=color)
    return rgb

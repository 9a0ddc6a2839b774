"""Types that cross packages: a field of another shape, type or value is named where it comes from."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synth.errors import DataError
from train.types import Found, Sample, truth_of

SAMPLE = Sample(
    image_path=Path("a.jpg"),
    width=40,
    height=30,
    boxes=np.array([[0.0, 0, 10, 10], [5, 5, 20, 20]]),
    labels=np.array([1, 2]),
    keypoints=np.zeros((2, 3, 3)),
    area=np.array([100.0, 225.0]),
    iscrowd=np.array([False, True]),
    visible_fraction=np.ones(2),
    segmentations=(None, None),
)
FOUND = Found(SAMPLE.boxes, np.array([0.9, 0.5]), SAMPLE.labels, np.zeros((2, 3, 2)), np.ones((2, 3)))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("boxes", np.zeros((2, 5)), r"Sample\.boxes: shape \(2, 5\), expected \(2, 4\)"),
        (
            "boxes",
            np.array([[0.0, 0, 1, np.nan]] * 2),
            r"Sample\.boxes: holds nan or infinity, expected finite",
        ),
        ("boxes", np.zeros((2, 4), int), r"Sample\.boxes: int64, expected an array of floats"),
        ("boxes", [[0.0, 0.0, 1.0, 1.0]] * 2, r"Sample\.boxes: list, expected an array of floats"),
        ("labels", np.array([1]), r"Sample\.labels: shape \(1,\), expected \(2\)"),
        ("labels", np.array([0, 1]), r"Sample\.labels: 0, expected 1 or more"),
        ("labels", np.ones(2), r"Sample\.labels: float64, expected an array of integers"),
        ("keypoints", np.zeros((2, 3, 2)), r"Sample\.keypoints: shape \(2, 3, 2\), expected \(2, any, 3\)"),
        ("keypoints", np.full((2, 3, 3), np.inf), r"Sample\.keypoints: holds nan or infinity"),
        ("area", np.zeros((2, 1)), r"Sample\.area: shape \(2, 1\), expected \(2\)"),
        ("iscrowd", np.zeros(2), r"Sample\.iscrowd: float64, expected an array of booleans"),
        ("visible_fraction", np.ones(3), r"Sample\.visible_fraction: shape \(3,\), expected \(2\)"),
        ("segmentations", (None,), r"Sample\.segmentations: 1 masks, expected 2"),
        ("width", 0, r"a\.jpg: width and height 0x30, expected at least 1x1 px"),
    ],
)
def test_a_samples_field_that_does_not_fit_is_named(field: str, value: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        replace(SAMPLE, **{field: value})


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("scores", np.ones(1), r"Found\.scores: shape \(1,\), expected \(2\)"),
        ("labels", np.ones(2), r"Found\.labels: float64, expected an array of integers"),
        ("keypoints", np.zeros((2, 3, 3)), r"Found\.keypoints: shape \(2, 3, 3\), expected \(2, any, 2\)"),
        ("keypoint_scores", np.ones((2, 4)), r"Found\.keypoint_scores: shape \(2, 4\), expected \(2, 3\)"),
        ("keypoint_scores", np.full((2, 3), np.nan), r"Found\.keypoint_scores: holds nan or infinity"),
        ("keypoint_visibility", np.ones((2, 4)), r"keypoint_visibility: shape \(2, 4\), expected \(2, 3\)"),
    ],
)
def test_a_detections_field_that_does_not_fit_is_named(field: str, value: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        replace(FOUND, **{field: value})


def test_truth_is_checked_as_samples_are() -> None:
    assert len(truth_of(SAMPLE).boxes) == 2
    with pytest.raises(DataError, match=r"Truth\.area: shape \(3,\), expected \(2\)"):
        replace(truth_of(SAMPLE), area=np.ones(3))


def test_images_without_objects_are_fine() -> None:
    none = np.zeros((0, 4))
    assert len(Found(none, none[:, 0], np.zeros(0, int), np.zeros((0, 3, 2))).boxes) == 0

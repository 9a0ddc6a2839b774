"""What flows between the packages: labelled images, their truth, what was found in them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synth.types import Array


@dataclass(frozen=True)
class Sample:
    """One photo and its N objects; N = 0 is a negative.

    boxes: (N, 4) xyxy px. labels: (N,) place of each object's category among those asked for, from 1.
    keypoints: (N, K, 3) x, y px, v; K of the category with most, v = 0 beyond an object's own.
    area: (N,) px^2. iscrowd: (N,) bool. visible_fraction: (N,). segmentations: N COCO masks (run lengths or
    polygons) or None.
    """

    image_path: Path
    width: int
    height: int
    boxes: Array
    labels: NDArray[np.int64]
    keypoints: Array
    area: Array
    iscrowd: NDArray[np.bool_]
    visible_fraction: Array
    segmentations: tuple[Any, ...]


@dataclass(frozen=True)
class Truth:
    """Objects of one image. boxes: (N, 4) xyxy. labels, area, iscrowd: (N,). keypoints: (N, K, 3)."""

    boxes: Array
    labels: NDArray[np.int64]
    keypoints: Array
    area: Array
    iscrowd: NDArray[np.bool_]


@dataclass(frozen=True)
class Found:
    """Detections in one image. boxes: (M, 4) xyxy. scores, labels: (M,). keypoints: (M, K, 2), (M, K)."""

    boxes: Array
    scores: Array
    labels: NDArray[np.int64]
    keypoints: Array
    keypoint_scores: Array | None = None


def truth_of(sample: Sample) -> Truth:
    return Truth(sample.boxes, sample.labels, sample.keypoints, sample.area, sample.iscrowd)

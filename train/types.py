"""What flows between the packages: labelled images, their truth, what was found in them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synth.dataset.plausible import likely_areas
from synth.errors import DataError
from synth.types import OCCLUDED, VISIBLE, Array

VISIBLE_FROM = 0.5
"""A keypoint's visibility from which it is taken for visible; below, for hidden."""
KINDS = {"f": "floats", "i": "integers", "b": "booleans"}


@dataclass(frozen=True)
class Truth:
    """The N labelled objects of one image; N = 0 is a negative. DataError for a field of another shape.

    boxes: (N, 4) xyxy px. labels: (N,) int, place of each object's category among those asked for, from 1.
    keypoints: (N, K, 3) x, y px, v; K of the category with most, v = 0 beyond an object's own.
    area: (N,) px^2. iscrowd: (N,) bool.
    """

    boxes: Array
    labels: NDArray[np.int64]
    keypoints: Array
    area: Array
    iscrowd: NDArray[np.bool_]

    def __post_init__(self) -> None:
        _check_objects(self)


@dataclass(frozen=True)
class Sample:
    """One photo and its N labelled objects. Raises DataError for a field of another shape.

    width, height: px. boxes, labels, keypoints, area, iscrowd: as in Truth. visible_fraction: (N,) in [0, 1].
    segmentations: N COCO masks (run lengths or polygons) or None.
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

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise DataError(
                f"{self.image_path}: width and height {self.width}x{self.height}, expected at least 1x1 px"
            )
        _check_objects(self)
        n = len(self.boxes)
        check_array(self, "visible_fraction", "f", n)
        if len(self.segmentations) != n:
            raise DataError(f"Sample.segmentations: {len(self.segmentations)} masks, expected {n}")


@dataclass(frozen=True)
class Found:
    """The M detections in one image, best first. Raises DataError for a field of another shape.

    boxes: (M, 4) xyxy px. scores: (M,) in [0, 1]. labels: (M,) int, as in Truth.
    keypoints: (M, K, 2) x, y px. keypoint_scores, keypoint_visibility: (M, K) in [0, 1], how likely each is
    right, and is visible; None where nothing tells them.
    """

    boxes: Array
    scores: Array
    labels: NDArray[np.int64]
    keypoints: Array
    keypoint_scores: Array | None = None
    keypoint_visibility: Array | None = None

    def __post_init__(self) -> None:
        m = len(self.boxes)
        check_array(self, "boxes", "f", m, 4)
        check_array(self, "scores", "f", m)
        check_array(self, "labels", "i", m)
        check_array(self, "keypoints", "f", m, None, 2)
        for name in ("keypoint_scores", "keypoint_visibility"):
            if getattr(self, name) is not None:
                check_array(self, name, "f", m, self.keypoints.shape[1])


def told_v(visibility: Array) -> NDArray[np.int64]:
    """COCO's v of keypoints, by how likely they are visible: VISIBLE or OCCLUDED, in the same shape."""
    return np.where(visibility >= VISIBLE_FROM, VISIBLE, OCCLUDED)


def truth_of(sample: Sample) -> Truth:
    """An area that cannot be the object's (plausible.likely_areas) is replaced by its box's."""
    of_box = np.prod(sample.boxes[:, 2:] - sample.boxes[:, :2], axis=1)
    area = np.where(likely_areas(sample.area, sample.boxes), sample.area, of_box)
    return Truth(sample.boxes, sample.labels, sample.keypoints, area, sample.iscrowd)


def _check_objects(objects: Truth | Sample) -> None:
    n = len(objects.boxes)
    check_array(objects, "boxes", "f", n, 4)
    check_array(objects, "labels", "i", n)
    check_array(objects, "keypoints", "f", n, None, 3)
    check_array(objects, "area", "f", n)
    check_array(objects, "iscrowd", "b", n)
    if n and objects.labels.min() < 1:
        raise DataError(f"{type(objects).__name__}.labels: {objects.labels.min()}, expected 1 or more")


def check_array(owner: object, name: str, kind: str, *shape: int | None) -> None:
    """Raises DataError unless the field is an array of that kind and shape, without nan and infinity.

    kind: numpy's letter of the type, one of KINDS. shape: None stands for any length.
    """
    value = getattr(owner, name)
    field = f"{type(owner).__name__}.{name}"
    if not isinstance(value, np.ndarray) or value.dtype.kind != kind:
        came = value.dtype if isinstance(value, np.ndarray) else type(value).__name__
        raise DataError(f"{field}: {came}, expected an array of {KINDS[kind]}")
    fits = len(value.shape) == len(shape) and all(
        wanted in (None, have) for have, wanted in zip(value.shape, shape, strict=True)
    )
    if not fits:
        wanted_shape = ", ".join("any" if length is None else str(length) for length in shape)
        raise DataError(f"{field}: shape {value.shape}, expected ({wanted_shape})")
    if kind == "f" and not np.isfinite(value).all():
        raise DataError(f"{field}: holds nan or infinity, expected finite numbers")

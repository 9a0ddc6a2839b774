"""Which detection found which object, and how far off its keypoints are."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synth.dataset.coco import Category
from synth.types import NOT_LABELLED, Array
from train.types import Found, Truth

MIN_MATCH_OKS = 0.5
"""From this similarity on keypoints say which object a detection found: COCO's lowest threshold."""
MIN_MATCH_IOU = 0.3
"""From this overlap on boxes say it, where keypoints do not."""
OWN_PLACE = 0.10
"""Share of the box's longer side within which a keypoint stands at its own place."""


@dataclass(frozen=True)
class Errors:
    """The errors of the R labelled keypoints of all images, a row each.

    image, label, keypoint: (R,) which image it is in, its object's label and its place in the schema.
    v: (R,) 1 occluded or 2 visible. error_px: (R,) distance to the detected keypoint in px, inf where the
    object was not found. side_px: (R,) longer side of the object's box.
    vector: (R, 2) px from the label to the detected keypoint along the object's axes (see object_axes), nan
    where not found. in_picture: (R, 2) the same to the right and down.
    """

    image: NDArray[np.int64]
    label: NDArray[np.int64]
    keypoint: NDArray[np.int64]
    v: NDArray[np.int64]
    error_px: Array
    side_px: Array
    vector: Array
    in_picture: Array


def box_iou(a: Array, b: Array) -> Array:
    """Intersection over union, (N, M) in [0, 1], of boxes a (N, 4) and b (M, 4), xyxy."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=2)
    area_a = np.prod(a[:, 2:] - a[:, :2], axis=1)
    area_b = np.prod(b[:, 2:] - b[:, :2], axis=1)
    return np.asarray(shared / np.maximum(area_a[:, None] + area_b[None, :] - shared, 1e-12))


def oks(truth: Array, found: Array, area: float, sigmas: Sequence[float]) -> Array:
    """Object keypoint similarity in [0, 1]: mean over labelled keypoints of exp(-d^2 / (8 area sigma^2)).

    truth: (K, 3) x, y px, v. found: (M, K, 2) px. area: of the object, px^2. sigmas: (K,) share of the root
    of the area by which annotators differ. Returns (M,), nan when nothing is labelled. Source: COCO's
    keypoint evaluation.
    """
    labelled = truth[:, 2] > NOT_LABELLED
    if not labelled.any():
        return np.full(len(found), np.nan)
    squared = ((truth[labelled, :2] - found[:, labelled]) ** 2).sum(axis=2)
    tolerated = 8 * max(area, 1e-9) * np.square(np.asarray(sigmas)[labelled])
    return np.asarray(np.exp(-squared / tolerated).mean(axis=1))


def extents(points: Array) -> Array:
    """(M, 4) boxes, xyxy, that just hold each one's points (M, K, 2), K at least 1."""
    return np.concatenate((points.min(axis=1), points.max(axis=1)), axis=1)


def agreement(truth: Truth, found: Found, categories: Sequence[Category]) -> Array:
    """How well each detection fits each labelled object, (N, M) in [0, 2]: 1 + OKS where the keypoints agree
    (MIN_MATCH_OKS), else the overlap (MIN_MATCH_IOU), 0 where neither does.

    The overlap is that of the boxes or that of the keypoints (see keypoint_overlap), whichever is larger: so
    it does not hang on what a label's box was drawn about. categories: in the order of the labels.
    """
    fits = np.zeros((len(truth.boxes), len(found.boxes)))
    overlap = box_iou(truth.boxes, found.boxes)
    for i, points in enumerate(truth.keypoints):
        schema = categories[truth.labels[i] - 1].schema
        there = found.keypoints[:, : len(schema)]
        points = points[: len(schema)]
        side = float((truth.boxes[i, 2:] - truth.boxes[i, :2]).max())
        either = np.maximum(overlap[i], keypoint_overlap(points, there, side))
        similar = oks(points, there, float(truth.area[i]), schema.oks_sigmas)
        near = np.where(either >= MIN_MATCH_IOU, either, 0.0)
        fits[i] = np.where(similar >= MIN_MATCH_OKS, 1 + similar, near)
    return np.where(truth.labels[:, None] == found.labels, fits, 0.0)


def keypoint_overlap(truth: Array, found: Array, side_px: float) -> Array:
    """Whether keypoints lie where the object's do, whatever their names, (M,) in [0, 1]: the IoU of the
    extents of those that are labelled or, if it is more than half and larger, the share of the object's on
    which any stands (OWN_PLACE).

    truth: (K, 3) x, y px, v. found: (M, K, 2) px. side_px: of the object's box, the longer.
    """
    labelled = truth[:, 2] > NOT_LABELLED
    if not labelled.any():
        return np.zeros(len(found))
    points = truth[labelled, :2]
    shared = box_iou(extents(points[None]), extents(found[:, labelled]))[0]
    gaps = np.linalg.norm(found[:, None] - points[:, None], axis=3).min(axis=2)
    stood_on = (gaps <= OWN_PLACE * side_px).mean(axis=1)
    return np.asarray(np.maximum(shared, np.where(stood_on > 0.5, stood_on, 0.0)))


def match_detections(truth: Truth, found: Found, categories: Sequence[Category]) -> list[int | None]:
    """For each of the N labelled objects the index of the detection that found it, or None.

    Detections choose in order of falling score, as COCO's do; each takes the free object that it agrees with
    best, if it agrees with one.
    """
    chosen: list[int | None] = [None] * len(truth.boxes)
    fits = agreement(truth, found, categories)
    for detection in np.argsort(-found.scores, kind="stable"):
        free = [i for i, taken in enumerate(chosen) if taken is None and not truth.iscrowd[i]]
        best = max(free, key=lambda i: float(fits[i, detection]), default=None)
        if best is not None and fits[best, detection] > 0:
            chosen[best] = int(detection)
    return chosen


def object_axes(keypoints: Array) -> Array:
    """(2, 2): rows are the object's x and y axis in the picture.

    x points from the first labelled keypoint to the last, y is x turned by 90 degrees (clockwise on screen).
    The picture's own axes when fewer than two are labelled or they coincide. keypoints: (K, 3).
    """
    labelled = keypoints[keypoints[:, 2] > NOT_LABELLED, :2]
    if len(labelled) >= 2:
        along = labelled[-1] - labelled[0]
        length = float(np.hypot(*along))
        if length > 0:
            x, y = along / length
            return np.array([[x, y], [-y, x]])
    return np.eye(2)


def keypoint_errors(
    truths: Sequence[Truth], founds: Sequence[Found], categories: Sequence[Category]
) -> Errors:
    """Matches every image and lists the error of each labelled keypoint; crowds do not count."""
    rows: list[tuple[int, int, int, int, float, float]] = []
    vectors: list[tuple[Array, Array]] = []
    for image, (truth, found) in enumerate(zip(truths, founds, strict=True)):
        for i, detection in enumerate(match_detections(truth, found, categories)):
            if truth.iscrowd[i]:
                continue
            points = truth.keypoints[i]
            axes = object_axes(points)
            side = float((truth.boxes[i, 2:] - truth.boxes[i, :2]).max())
            for k in np.flatnonzero(points[:, 2] > NOT_LABELLED):
                if detection is None:
                    error, distance = np.full(2, np.nan), float("inf")
                else:
                    error = found.keypoints[detection, k] - points[k, :2]
                    distance = float(np.hypot(*error))
                rows.append((image, int(truth.labels[i]), int(k), int(points[k, 2]), distance, side))
                vectors.append((axes @ error, error))
    table = np.array(rows, dtype=np.float64).reshape(-1, 6)
    image_, label, keypoint, v = table[:, :4].T.astype(np.int64)
    vector, in_picture = np.array(vectors).reshape(-1, 2, 2).swapaxes(0, 1)
    return Errors(image_, label, keypoint, v, table[:, 4], table[:, 5], vector, in_picture)

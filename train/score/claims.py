"""What is said of keypoints, that they are right, that they are visible, and whether it is so."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synth.dataset.coco import Category
from synth.types import NOT_LABELLED, OCCLUDED, VISIBLE, Array
from train.score.matching import match_detections
from train.types import Found, Truth

RIGHT_WITHIN = 0.05
"""Share of the box's longer side within which a keypoint is right."""


@dataclass(frozen=True)
class Claims:
    """What was said of R labelled keypoints of found objects.

    probability: (R,) in [0, 1]. holds: (R,) whether it is so. label: (R,) of the keypoint's object.
    """

    probability: Array
    holds: NDArray[np.bool_]
    label: NDArray[np.int64]

    def of(self, label: int) -> "Claims":
        """Those about objects of that label."""
        rows = self.label == label
        return Claims(self.probability[rows], self.holds[rows], self.label[rows])


def confidence_claims(
    truths: Sequence[Truth], founds: Sequence[Found], categories: Sequence[Category]
) -> Claims:
    """That keypoints are right, as their confidence says."""
    rows: list[tuple[float, bool, int]] = []
    for truth, found, i, j, k in _labelled_keypoints(truths, founds, categories):
        if found.keypoint_scores is not None:
            side = float((truth.boxes[i, 2:] - truth.boxes[i, :2]).max())
            away = float(np.hypot(*(truth.keypoints[i, k, :2] - found.keypoints[j, k])))
            right = away <= RIGHT_WITHIN * side
            rows.append((float(found.keypoint_scores[j, k]), right, int(truth.labels[i])))
    return _claims(rows)


def visibility_claims(
    truths: Sequence[Truth], founds: Sequence[Found], categories: Sequence[Category]
) -> Claims:
    """That keypoints are visible; of objects whose labels tell it alone."""
    telling = labels_that_tell_visibility(truths)
    rows: list[tuple[float, bool, int]] = []
    for truth, found, i, j, k in _labelled_keypoints(truths, founds, categories):
        if found.keypoint_visibility is not None and truth.labels[i] in telling:
            visible = bool(truth.keypoints[i, k, 2] == VISIBLE)
            rows.append((float(found.keypoint_visibility[j, k]), visible, int(truth.labels[i])))
    return _claims(rows)


def labels_that_tell_visibility(truths: Sequence[Truth]) -> set[int]:
    """The labels of objects some of whose keypoints are labelled visible and some hidden: who labels all of
    them alike may not have looked."""
    visible, hidden = (
        {int(label) for truth in truths for label in truth.labels[(truth.keypoints[..., 2] == v).any(axis=1)]}
        for v in (VISIBLE, OCCLUDED)
    )
    return visible & hidden


def _labelled_keypoints(
    truths: Sequence[Truth], founds: Sequence[Found], categories: Sequence[Category]
) -> Iterator[tuple[Truth, Found, int, int, int]]:
    """Truth and detections of an image, and the indices of an object in it, of the detection that found it,
    and of one of its labelled keypoints."""
    for truth, found in zip(truths, founds, strict=True):
        for i, detection in enumerate(match_detections(truth, found, categories)):
            if detection is not None:
                for k in np.flatnonzero(truth.keypoints[i, :, 2] > NOT_LABELLED):
                    yield truth, found, i, detection, int(k)


def _claims(rows: Sequence[tuple[float, bool, int]]) -> Claims:
    probability, holds, label = np.array(rows, dtype=np.float64).reshape(-1, 3).T
    return Claims(probability, holds.astype(bool), label.astype(np.int64))

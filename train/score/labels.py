"""What labels mean: boxes of the objects or only of their keypoints, and areas that no object has."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from synth.dataset.coco import Category
from synth.types import NOT_LABELLED
from train.score.matching import agreement, extents
from train.types import Found, Sample, Truth, truth_of

EXTENT_PX = 2.0
"""A box is its keypoints' own extent if none of its sides lies farther from it."""
NEARLY_ALL = 0.8
"""Share of the objects whose boxes must be so for the set to be said to be so."""


def extent_boxes(samples: Sequence[Sample]) -> tuple[int, int]:
    """How many objects' boxes are their labelled keypoints' own extent, and of how many that can be said:
    those with two such keypoints or more and no mask, which a box would be of."""
    own = of = 0
    for sample in samples:
        for box, points, mask in zip(sample.boxes, sample.keypoints, sample.segmentations, strict=True):
            labelled = points[:, 2] > NOT_LABELLED
            if mask or labelled.sum() < 2:
                continue
            of += 1
            own += bool(np.abs(extents(points[None, labelled, :2])[0] - box).max() <= EXTENT_PX)
    return own, of


def boxes_are_extents(samples: Sequence[Sample]) -> bool:
    """Whether nearly all boxes are no more than the extent of their labelled keypoints."""
    own, of = extent_boxes(samples)
    return of > 0 and own >= NEARLY_ALL * of


def boxes_as_labelled(
    samples: Sequence[Sample], founds: Sequence[Found], categories: Sequence[Category]
) -> list[Found]:
    """The detections with boxes that can be compared with the labels'. Where those are the extent of the
    keypoints, a detection's is that of the keypoints labelled in the object it agrees with best."""
    if not boxes_are_extents(samples):
        return list(founds)
    return [
        _about_keypoints(truth_of(sample), found, categories)
        for sample, found in zip(samples, founds, strict=True)
    ]


def _about_keypoints(truth: Truth, found: Found, categories: Sequence[Category]) -> Found:
    """Detections that agree with no object once their box is of their keypoints keep their own."""
    fits = agreement(truth, found, categories)
    boxes = found.boxes.copy()
    for detection in np.flatnonzero(fits.max(axis=0, initial=0.0) > 0):
        labelled = truth.keypoints[fits[:, detection].argmax(), :, 2] > NOT_LABELLED
        if labelled.any():
            boxes[detection] = extents(found.keypoints[[detection]][:, labelled])[0]
    still = agreement(truth, replace(found, boxes=boxes), categories).max(axis=0, initial=0.0) > 0
    return replace(found, boxes=np.where(still[:, None], boxes, found.boxes))


def labels_in_words(samples: Sequence[Sample]) -> list[str]:
    """What is odd about the labels and changes the scores, a sentence each."""
    said = []
    if boxes_are_extents(samples):
        own, of = extent_boxes(samples)
        said.append(
            f"the labels' boxes are the extent of their keypoints ({own} of {of}), which may be less than "
            "the object: they are compared with the extent of the same keypoints as found; judge by "
            "keypoints, not by bbox AP"
        )
    truths = [truth_of(sample) for sample in samples]
    odd = [int((t.area != s.area).sum()) for t, s in zip(truths, samples, strict=True)]
    if sum(odd):
        first = next(i for i, count in enumerate(odd) if count)
        area = samples[first].area[truths[first].area != samples[first].area][0]
        said.append(
            f"{sum(odd)} of {sum(len(s.area) for s in samples)} labels have an `area` that no object in "
            f"their box has, such as {area:g} in {samples[first].image_path.name}: OKS and keypoint AP, "
            "which hang on it, take their box's"
        )
    return said

"""What became of each labelled object, and of each sure detection that found none."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from synth.dataset.coco import Category
from synth.types import NOT_LABELLED, Array
from train.score.matching import OWN_PLACE, agreement, match_detections
from train.types import Found, Truth

LARGE_BOX = 1.5
"""A detection's box is too large from this multiple of the labelled box's area on, too small from its
inverse."""
SHOWN_SCORE = 0.5
"""Detections at least as sure as this count as false finds, or as finding an object twice."""
OVERLAPPED = 0.1
"""Share of a box from which on another object's box overlaps it."""
BORDER_PX = 2.0
"""A box that comes nearer to the picture's border is cut off by it."""
SIZE_EDGES = (0.0, 0.04, 0.08, 0.16, 0.32, float("inf"))
"""Longer side of a box as a share of the picture's longer side."""
SURROUNDINGS = ("free", "overlapped", "at the border")
GROUP_COUNTS = ("objects", "missed", "false_finds", "twice", "large_boxes", "keypoints", "wrong_name")


@dataclass(frozen=True)
class Outcome:
    """A labelled object, or a sure detection that is not the one that found an object.

    size: longer side of its box as a share of the picture's. surroundings: one of SURROUNDINGS; a box that is
    overlapped and cut off counts as overlapped. counts: of the kinds of mistakes.Mistakes. names: keypoints
    with a wrong name, as (name, name of the keypoint it stands on).
    """

    size: float
    surroundings: str
    counts: Counter[str]
    names: Counter[tuple[str, str]] = field(default_factory=Counter)


def list_outcomes(
    truths: Sequence[Truth],
    founds: Sequence[Found],
    categories: Sequence[Category],
    sizes_px: Sequence[tuple[int, int]],
) -> list[Outcome]:
    """Of all images; crowds are left out. sizes_px: width and height of each picture."""
    outcomes = []
    for truth, found, size_px in zip(truths, founds, sizes_px, strict=True):
        matched = match_detections(truth, found, categories)
        for i in np.flatnonzero(~truth.iscrowd):
            counts, names = _of_object(truth, int(i), found, matched[i], categories)
            others = np.delete(truth.boxes, i, axis=0)
            where = _surroundings(truth.boxes[i], others, size_px)
            outcomes.append(Outcome(_size(truth.boxes[i], size_px), where, counts, names))
        fits = agreement(truth, found, categories)
        for detection in np.flatnonzero(found.scores >= SHOWN_SCORE):
            on = fits[:, detection] > 0
            if detection in matched or (on & truth.iscrowd).any():
                continue
            box = found.boxes[detection]
            where = _surroundings(box, truth.boxes[~on], size_px)
            kind = "twice" if on.any() else "false_finds"
            outcomes.append(Outcome(_size(box, size_px), where, Counter({kind: 1})))
    return outcomes


def _of_object(
    truth: Truth, i: int, found: Found, detection: int | None, categories: Sequence[Category]
) -> tuple[Counter[str], Counter[tuple[str, str]]]:
    """What counts of a labelled object, and its keypoints with a wrong name."""
    labelled = truth.keypoints[i, :, 2] > NOT_LABELLED
    counts = Counter({"objects": 1, "keypoints": int(labelled.sum())})
    names: Counter[tuple[str, str]] = Counter()
    if detection is None:
        counts.update(missed=1, not_found=int(labelled.sum()))
        return counts, names
    size = truth.boxes[i, 2:] - truth.boxes[i, :2]
    ratio = np.prod(found.boxes[detection, 2:] - found.boxes[detection, :2]) / np.prod(size)
    counts.update(large_boxes=int(ratio >= LARGE_BOX), small_boxes=int(ratio <= 1 / LARGE_BOX))
    schema = categories[truth.labels[i] - 1].schema
    stands_on = nearest_keypoints(truth.keypoints[i], found.keypoints[detection], float(size.max()))
    for k in np.flatnonzero(labelled):
        other = int(stands_on[k])
        counts["right" if other == k else "elsewhere" if other < 0 else "wrong_name"] += 1
        if other >= 0 and other != k:
            names[schema.names[k], schema.names[other]] += 1
    return counts, names


def nearest_keypoints(truth: Array, found: Array, side_px: float) -> Array:
    """(K,) which labelled keypoint each found one stands on: its own where that is near enough, else the
    nearest, -1 where none is near enough. truth: (K, 3). found: (K, 2). side_px: of the box, the longer."""
    distance = np.linalg.norm(found[:, None] - truth[None, :, :2], axis=2)
    distance[:, truth[:, 2] <= NOT_LABELLED] = np.inf
    within = OWN_PLACE * side_px
    nearest = np.where(distance.min(axis=1) <= within, distance.argmin(axis=1), -1)
    return np.where(np.diagonal(distance) <= within, np.arange(len(truth)), nearest)


def _size(box: Array, size_px: tuple[int, int]) -> float:
    return float((box[2:] - box[:2]).max()) / max(size_px)


def _surroundings(box: Array, others: Array, size_px: tuple[int, int]) -> str:
    """One of SURROUNDINGS. others: (N, 4) boxes of other objects."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    shared = np.prod((high - low).clip(0), axis=1)
    if (shared >= OVERLAPPED * max(float(np.prod(box[2:] - box[:2])), 1e-9)).any():
        return "overlapped"
    cut_off = (box[:2] < BORDER_PX).any() or (box[2:] > np.array(size_px) - BORDER_PX).any()
    return "at the border" if cut_off else "free"


def grouped(outcomes: Sequence[Outcome]) -> dict[str, list[dict[str, Any]]]:
    """GROUP_COUNTS by size of the box and by what surrounds it, ready for JSON; sizes without any are left
    out."""
    sizes = [
        {"from": low, "to": None if high == float("inf") else high, **_sum(chosen)}
        for low, high in pairwise(SIZE_EDGES)
        if (chosen := [o for o in outcomes if low <= o.size < high])
    ]
    surroundings = [
        {"surroundings": name, **_sum([o for o in outcomes if o.surroundings == name])}
        for name in SURROUNDINGS
    ]
    return {"by_size": sizes, "by_surroundings": surroundings}


def _sum(outcomes: Sequence[Outcome]) -> dict[str, int]:
    return {kind: sum(o.counts[kind] for o in outcomes) for kind in GROUP_COUNTS}

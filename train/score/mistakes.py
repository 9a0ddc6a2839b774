"""What goes wrong, by name: a wrong name in the right place, not found, found twice, too large a box …"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from synth.dataset.coco import Category
from synth.types import NOT_LABELLED, Array
from train.score.matching import MIN_MATCH_IOU, box_iou, match_detections
from train.types import Found, Truth

RIGHT_WITHIN = 0.10
"""Share of the box's longer side within which a keypoint is right, as PCK@0.10 counts."""
LARGE_BOX = 1.5
"""A detection's box is too large from this multiple of the labelled box's area on."""
SHOWN_SCORE = 0.5
"""Detections at least as sure as this count as false finds, or as finding an object twice."""
WORTH_SAYING = 0.1
"""Share of keypoints or objects above which a kind of mistake is put into words."""
SMALL_PX = 24
"""Objects whose longer side is smaller at the network's input are hard to find."""


@dataclass(frozen=True)
class Mistakes:
    """Counts over a set of images; crowds are left out.

    keypoints: labelled ones, each of which is right, wrong_name (nearer than RIGHT_WITHIN to another keypoint
    of its object), elsewhere, or not_found (its object was missed).
    wrong_names: ((name, name of the keypoint it stands on), times), the most frequent first.
    objects: labelled ones, of which `missed` were not found and `large_boxes` found with too large a box.
    twice, false_finds: sure detections on an object that a better one found, and on none.
    missed_size: median longer side of the missed objects' boxes as a share of the picture's, None without.
    """

    keypoints: int
    right: int
    wrong_name: int
    elsewhere: int
    not_found: int
    wrong_names: tuple[tuple[tuple[str, str], int], ...]
    objects: int
    missed: int
    large_boxes: int
    twice: int
    false_finds: int
    missed_size: float | None

    def as_json(self) -> dict[str, Any]:
        rows = [{"keypoint": a, "stands_on": b, "times": n} for (a, b), n in self.wrong_names]
        return {**vars(self), "wrong_names": rows}


def count_mistakes(
    truths: Sequence[Truth],
    founds: Sequence[Found],
    categories: Sequence[Category],
    longer_px: Sequence[int],
) -> Mistakes:
    """longer_px: of each picture, its longer side."""
    kinds: Counter[str] = Counter()
    names: Counter[tuple[str, str]] = Counter()
    missed_sizes: list[float] = []
    for truth, found, longer in zip(truths, founds, longer_px, strict=True):
        matched = match_detections(truth, found)
        for i in np.flatnonzero(~truth.iscrowd):
            detection = matched[i]
            labelled = truth.keypoints[i, :, 2] > NOT_LABELLED
            size = truth.boxes[i, 2:] - truth.boxes[i, :2]
            kinds["objects"] += 1
            kinds["keypoints"] += int(labelled.sum())
            if detection is None:
                kinds["missed"] += 1
                kinds["not_found"] += int(labelled.sum())
                missed_sizes.append(float(size.max()) / longer)
                continue
            found_size = found.boxes[detection, 2:] - found.boxes[detection, :2]
            kinds["large_boxes"] += bool(np.prod(found_size) >= LARGE_BOX * np.prod(size))
            schema = categories[truth.labels[i] - 1].schema
            stands_on = nearest_keypoints(truth.keypoints[i], found.keypoints[detection], float(size.max()))
            for k in np.flatnonzero(labelled):
                other = int(stands_on[k])
                kinds["right" if other == k else "elsewhere" if other < 0 else "wrong_name"] += 1
                if other >= 0 and other != k:
                    names[schema.names[k], schema.names[other]] += 1
        kinds.update(_surplus(truth, found, matched))
    return Mistakes(
        **{kind: kinds[kind] for kind in ("keypoints", "right", "wrong_name", "elsewhere", "not_found")},
        wrong_names=tuple(names.most_common()),
        **{kind: kinds[kind] for kind in ("objects", "missed", "large_boxes", "twice", "false_finds")},
        missed_size=float(np.median(missed_sizes)) if missed_sizes else None,
    )


def nearest_keypoints(truth: Array, found: Array, side_px: float) -> Array:
    """(K,) which labelled keypoint each found one stands on: its own where that is near enough, else the
    nearest, -1 where none is near enough. truth: (K, 3). found: (K, 2). side_px: of the box, the longer."""
    distance = np.linalg.norm(found[:, None] - truth[None, :, :2], axis=2)
    distance[:, truth[:, 2] <= NOT_LABELLED] = np.inf
    within = RIGHT_WITHIN * side_px
    nearest = np.where(distance.min(axis=1) <= within, distance.argmin(axis=1), -1)
    return np.where(np.diagonal(distance) <= within, np.arange(len(truth)), nearest)


def _surplus(truth: Truth, found: Found, matched: Sequence[int | None]) -> Counter[str]:
    """Sure detections that found no object of their own."""
    kinds: Counter[str] = Counter()
    overlap = box_iou(truth.boxes, found.boxes)
    for detection in np.flatnonzero(found.scores >= SHOWN_SCORE):
        if detection in matched:
            continue
        on = (overlap[:, detection] >= MIN_MATCH_IOU) & (truth.labels == found.labels[detection])
        if not (on & truth.iscrowd).any():
            kinds["twice" if on.any() else "false_finds"] += 1
    return kinds


def in_words(mistakes: Mistakes, long_side_px: int, crops: bool) -> list[str]:
    """A sentence for each kind of mistake that is frequent, with its likely reason and what to do; none where
    all is well.

    long_side_px: of the network's input. crops: whether it was trained on crops.
    """
    said = []
    m = mistakes
    found_keypoints = max(m.keypoints - m.not_found, 1)
    if m.missed > WORTH_SAYING * m.objects:
        size = (m.missed_size or 0.0) * long_side_px
        text = f"{m.missed} of {m.objects} objects were not found"
        if size < SMALL_PX:
            text += (
                f": at the network's input the missed ones are {size:.0f} px long; raise model.long_side_px "
                "or come nearer"
            )
        else:
            text += ": not learned yet, train longer"
        said.append(text)
    if m.wrong_name > WORTH_SAYING * found_keypoints:
        (one, other), times = m.wrong_names[0]
        longer = "train longer" if crops else "train longer, or on crops (PRESET=crops)"
        said.append(
            f"{m.wrong_name} of {found_keypoints} keypoints stand on another keypoint of their object, most "
            f"often {one} on {other} ({times} times): places are learned, names are not yet, {longer}; if it "
            "stays so, the object looks alike from several sides, see `meshmark asset check`"
        )
    if m.elsewhere > WORTH_SAYING * found_keypoints:
        said.append(
            f"{m.elsewhere} of {found_keypoints} keypoints are off by more than {RIGHT_WITHIN:.0%} of their "
            "object's size: not learned yet, train longer"
        )
    if m.large_boxes > WORTH_SAYING * m.objects:
        said.append(f"{m.large_boxes} boxes are larger than their object by half or more")
    if m.twice + m.false_finds > WORTH_SAYING * m.objects:
        said.append(f"{m.twice} objects were found twice, {m.false_finds} finds are on no object")
    return said

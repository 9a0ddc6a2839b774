"""What goes wrong, by name: a wrong name in the right place, not found, found twice, too large a box …"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from train.detect.predict import SMALL_PX
from train.score.matching import OWN_PLACE
from train.score.outcomes import Outcome

WORTH_SAYING = 0.1
"""Share of keypoints or objects above which a kind of mistake is put into words."""


@dataclass(frozen=True)
class Mistakes:
    """Counts over a set of images; crowds are left out.

    keypoints: labelled ones, each of which is right, wrong_name (nearer than OWN_PLACE to another keypoint
    of its object), elsewhere, or not_found (its object was missed).
    wrong_names: ((name, name of the keypoint it stands on), times), the most frequent first.
    objects: labelled ones, of which `missed` were not found, and `large_boxes` and `small_boxes` found with a
    box much larger or smaller than the labelled one.
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
    small_boxes: int
    twice: int
    false_finds: int
    missed_size: float | None

    @property
    def names_are_learned(self) -> bool:
        """Whether few of the found keypoints stand on another's place."""
        return self.wrong_name <= WORTH_SAYING * max(self.keypoints - self.not_found, 1)

    def as_json(self) -> dict[str, Any]:
        rows = [{"keypoint": a, "stands_on": b, "times": n} for (a, b), n in self.wrong_names]
        return {**vars(self), "wrong_names": rows}


COUNTED = [f.name for f in fields(Mistakes) if f.name not in ("wrong_names", "missed_size")]


def count_mistakes(outcomes: Sequence[Outcome]) -> Mistakes:
    """The sum over a set of images."""
    counts: Counter[str] = Counter()
    names: Counter[tuple[str, str]] = Counter()
    for outcome in outcomes:
        counts.update(outcome.counts)
        names.update(outcome.names)
    missed_sizes = [outcome.size for outcome in outcomes if outcome.counts["missed"]]
    return Mistakes(
        **{kind: counts[kind] for kind in COUNTED},
        wrong_names=tuple(names.most_common()),
        missed_size=float(np.median(missed_sizes)) if missed_sizes else None,
    )


def in_words(mistakes: Mistakes, input_px: float) -> list[str]:
    """A sentence for each kind of mistake that is frequent, with its likely reason and what to do; none where
    all is well.

    input_px: length of a photo's longer side in the network's input, see Detector.input_px.
    """
    said = []
    m = mistakes
    found_keypoints = max(m.keypoints - m.not_found, 1)
    if m.missed > WORTH_SAYING * m.objects:
        size = (m.missed_size or 0.0) * input_px
        text = f"{m.missed} of {m.objects} objects were not found"
        if size < SMALL_PX:
            text += (
                f": at the network's input the missed ones are {size:.0f} px long; have photos read in tiles "
                "(--smallest-object, the smallest one's size in px), or come nearer"
            )
        else:
            text += ": not learned yet, train longer"
        said.append(text)
    if not m.names_are_learned:
        (one, other), times = m.wrong_names[0]
        said.append(
            f"{m.wrong_name} of {found_keypoints} keypoints stand on another keypoint of their object, most "
            f"often {one} on {other} ({times} times): places are learned, names are not yet, train longer; "
            "if it stays so, the object looks alike from several sides, see `meshmark asset check`"
        )
    if m.elsewhere > WORTH_SAYING * found_keypoints:
        said.append(
            f"{m.elsewhere} of {found_keypoints} keypoints are off by more than {OWN_PLACE:.0%} of their "
            "object's size: not learned yet, train longer"
        )
    if m.large_boxes > WORTH_SAYING * m.objects:
        said.append(f"{m.large_boxes} boxes are larger than their object's by half or more")
    if m.small_boxes > WORTH_SAYING * m.objects:
        said.append(
            f"{m.small_boxes} boxes are smaller than their object's by a third or more: where its keypoints "
            "are right, the labels' boxes are drawn generously, and bbox AP says little"
        )
    if m.twice + m.false_finds > WORTH_SAYING * m.objects:
        said.append(f"{m.twice} objects were found twice, {m.false_finds} finds are on no object")
    return said


def bias_in_words(mistakes: Mistakes) -> str:
    """What the bias of a keypoint means, given what else goes wrong."""
    meaning = (
        f"Bias: median error of the keypoints that are right within {OWN_PLACE:.0%} of the object's "
        "longer side, in % of it: along and across the object, and to the right and down in the picture. "
    )
    if not mistakes.names_are_learned:
        return meaning + (
            f"{mistakes.wrong_name} keypoints stand in the right place under the wrong name: as long as "
            "names are not learned, the bias says nothing against object.yaml."
        )
    return meaning + (
        "A bias means that the keypoint stands elsewhere in object.yaml than where the photos label it; "
        "scatter is for training. Down in the picture: it lies on an axis where the photos label the "
        "surface; see `radius` in docs/object-yaml.md."
    )

"""The kinds of fault a data set can have, and the log that counts them."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

from synth.text import visible

Level = Literal["error", "warning", "info"]
FAULTS: dict[str, tuple[Level, str]] = {
    "malformed": ("error", "cannot be read as COCO keypoints"),
    "damaged": ("error", "file is not as it was rendered: emptied, cut or changed; render again to mend it"),
    "label_0": ("info", "category id 0 or less: fine here, other trainers take 0 for the background"),
    "schema": ("error", "the category's names, skeleton, flip_pairs or oks_sigmas contradict each other"),
    "other_object": ("error", "keypoint names differ from the object's"),
    "unknown_category": ("error", "category_id is not in `categories`"),
    "unknown_image": ("error", "annotation of an image that is not in `images`"),
    "duplicate_id": ("error", "id is given twice"),
    "duplicate_file": ("error", "file_name is given twice"),
    "path_escape": ("error", "file_name is not a relative path inside the data set's folder"),
    "image_missing": ("error", "image file does not exist"),
    "image_unreadable": ("error", "image file cannot be decoded: truncated or not an image"),
    "image_size": ("error", "width and height differ from the image file's"),
    "keypoint_count": ("error", "number of keypoint values is not 3 × the category's keypoints"),
    "not_finite": ("error", "a coordinate is NaN or infinite"),
    "visibility": ("error", "v is not 0, 1 or 2"),
    "area": ("warning", "area is none of an object in its bbox: scores take the bbox's"),
    "not_a_number": ("error", "area or visible_fraction is no number, or out of range"),
    "boxes": ("error", "boxes or keypoints of the whole set follow another convention"),
    "normalised": ("error", "coordinates look divided by the image size: expected pixels"),
    "empty_box": ("error", "bbox has no area"),
    "xyxy": ("error", "bbox leaves the image but fits read as corners: x1 y1 x2 y2 instead of x y w h?"),
    "swapped": ("error", "keypoints fit their box only with x and y swapped"),
    "no_loss": ("error", "has labelled keypoints, but none inside its box: its keypoint loss is zero"),
    "nothing_to_learn": ("error", "no object can give a keypoint loss"),
    "box_outside": ("warning", "bbox leaves the image"),
    "outside_box": ("warning", "labelled keypoints outside their box: they give no loss"),
    "outside_image": ("warning", "keypoints with v > 0 outside the image"),
    "unlabelled": ("warning", "every v is 0: the object trains its box only"),
    "no_objects": ("info", "images without objects: they train as negatives"),
}
"""Kind of fault -> level and meaning."""
EXAMPLES_KEPT = 3


@dataclass(frozen=True)
class FaultCount:
    """A kind of fault (see FAULTS), how often it occurs, and where first."""

    kind: str
    count: int
    examples: tuple[str, ...]

    @property
    def level(self) -> Level:
        return FAULTS[self.kind][0]


@dataclass
class FaultLog:
    """prefix: what all further examples begin with."""

    prefix: str = ""
    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, where: str) -> None:
        self.counts[kind] += 1
        kept = self.examples.setdefault(kind, [])
        if len(kept) < EXAMPLES_KEPT:
            kept.append(visible(self.prefix + where))

    def faults(self) -> tuple[FaultCount, ...]:
        return tuple(FaultCount(k, self.counts[k], tuple(self.examples[k])) for k in FAULTS if self.counts[k])


def is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)

"""Labels that are well formed and yet cannot be meant: boxes and keypoints that fit neither one another nor
their picture, areas that no object has."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synth.dataset.coco import Annotation, ImageLabels
from synth.dataset.labelled import LabelledImages
from synth.errors import DataError
from synth.system.pictures import header_size
from synth.system.shards import is_file
from synth.types import NOT_LABELLED, Array

MIN_AREA_SHARE, MAX_AREA_SHARE = 0.01, 2.0
"""An area outside these shares of its box's is none of an object in it: some tools write 1, or nothing. A box
cut off at the picture's border may be less than its object."""
NORMALISED_MAX = 1.5
"""Boxes whose corners are all below this are shares of the picture, not px."""
SLACK = 0.05
"""Share of a picture's or a box's side by which labels may miss it."""


@dataclass(frozen=True)
class Placed:
    """A labelled object in its picture. box_xyxy: (4,) px. points: (P, 2) px of its labelled keypoints."""

    box_xyxy: Array
    points: Array
    width: float
    height: float
    where: str


def require_plausible(labelled: LabelledImages) -> LabelledImages:
    """`labelled`, or a DataError naming file, image and box for the first that is empty, in shares of the
    picture or beside it, and for the set whose boxes or keypoints are of another convention."""
    placed = []
    for image, path in zip(labelled.data.images, labelled.paths, strict=True):
        if not image.annotations:
            continue
        width, height = image.width, image.height
        if (not width or not height) and is_file(path):
            width, height = header_size(path)
        where = f"image {image.file_name}"
        placed += [_placed(annotation, width, height, where) for annotation in image.annotations]
    for one in placed:
        _check_box(one, labelled.source)
    fault = set_fault(placed)
    if fault:
        raise DataError(f"{labelled.source}: {fault}")
    return labelled


def set_fault(placed: Sequence[Placed]) -> str | None:
    """What is wrong with the boxes or keypoints of a whole set, whose objects each might be odd alone."""
    sized = [one for one in placed if one.width and one.height]
    beyond = [one for one in sized if _leaves(one)]
    if beyond and len(sized) > 1 and all(map(_fits_as_corners, sized)):
        x, y, width, height = _listed_sides(beyond[0])
        return (
            f"boxes look like corners x1, y1, x2, y2, such as [{x:g}, {y:g}, {width:g}, {height:g}] of "
            f"{beyond[0].where}: COCO's are x, y, width, height"
        )
    if len(beyond) > 1 and 2 * len(beyond) > len(sized):
        return f"{len(beyond)} of {len(sized)} boxes leave their picture, such as one of {beyond[0].where}"
    labelled = [one for one in placed if len(one.points)]
    astray = [one for one in labelled if np.mean(_inside(one)) <= 0.5]
    if len(astray) > 1 and 2 * len(astray) > len(labelled):
        return (
            f"keypoints lie outside their boxes in {len(astray)} of {len(labelled)} objects, such as one of "
            f"{astray[0].where}: COCO's boxes are x, y, width, height, x and y of the top left corner"
        )
    return None


def likely_areas(areas: Array, boxes: Array) -> NDArray[np.bool_]:
    """(N,) whether objects in boxes (N, 4), xyxy, may have these areas (N,), px^2."""
    of_box = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    return np.asarray((areas >= MIN_AREA_SHARE * of_box) & (areas <= MAX_AREA_SHARE * of_box))


def with_likely_areas(labelled: LabelledImages) -> tuple[LabelledImages, int]:
    """The labels with their box's area in place of areas that no object has, and how many those were."""
    count = 0

    def mended(annotations: tuple[Annotation, ...]) -> Iterator[Annotation]:
        nonlocal count
        for a in annotations:
            likely = bool(likely_areas(np.array([a.area]), a.box_xyxy[None])[0])
            count += not likely
            yield a if likely else replace(a, area=float(np.prod(a.box_xyxy[2:] - a.box_xyxy[:2])))

    images: list[ImageLabels] = [
        replace(image, annotations=tuple(mended(image.annotations))) for image in labelled.data.images
    ]
    return replace(labelled, data=replace(labelled.data, images=tuple(images))), count


def _placed(annotation: Annotation, width: float, height: float, where: str) -> Placed:
    points = annotation.keypoints[annotation.keypoints[:, 2] > NOT_LABELLED, :2]
    return Placed(annotation.box_xyxy, points, width, height, where)


def _check_box(one: Placed, source: Path) -> None:
    """Raises DataError for what would silently train on nothing. source: of the label, for the error."""
    box, size = one.box_xyxy, f"{one.width:g}x{one.height:g} image"
    text = f"{source}: {one.where}: box [{', '.join(f'{c:g}' for c in box)}]"
    if not (box[2] > box[0] and box[3] > box[1]):
        raise DataError(f"{text} is empty, expected x1 < x2 and y1 < y2 (corners, not sizes)")
    if box.max() <= NORMALISED_MAX:
        raise DataError(f"{text} looks normalised, expected pixels of a {size}")
    if one.width and (box[0] >= one.width or box[1] >= one.height or box[2] <= 0 or box[3] <= 0):
        raise DataError(f"{text} lies outside the {size}")


def _leaves(one: Placed) -> bool:
    size = np.array([one.width, one.height])
    slack = SLACK * size
    return bool((one.box_xyxy[:2] < -slack).any() or (one.box_xyxy[2:] > size + slack).any())


def _fits_as_corners(one: Placed) -> bool:
    """Whether the numbers read as x, y, width, height are corners, in the picture and about the keypoints."""
    box = _listed_sides(one)
    size = np.array([one.width, one.height])
    inside = (box[2:] > box[:2]).all() and (box[:2] >= -1).all() and (box[2:] <= size + 1).all()
    return bool(inside and np.all(_inside(replace(one, box_xyxy=box))))


def _listed_sides(one: Placed) -> Array:
    """x, y, width, height."""
    return np.concatenate([one.box_xyxy[:2], one.box_xyxy[2:] - one.box_xyxy[:2]])


def _inside(one: Placed) -> NDArray[np.bool_]:
    """(P,): which keypoints lie in the box, give or take SLACK of it and a pixel of rounding."""
    low, high = one.box_xyxy[:2], one.box_xyxy[2:]
    slack = SLACK * (high - low) + 1
    return np.asarray(((one.points >= low - slack) & (one.points <= high + slack)).all(axis=1))

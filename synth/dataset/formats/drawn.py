"""Objects as people draw them in labelling tools: named boxes and named points, some tied together."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from synth.dataset.coco import DEFAULT_SIGMA, Annotation, Category, ImageLabels, KeypointDataset
from synth.dataset.labelled import LabelledImages
from synth.errors import DataError
from synth.system.pictures import find_image, header_size
from synth.types import NOT_LABELLED, Array, KeypointSchema

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Box:
    """xyxy: (4,) px of the upright picture, None = only the object's name was given. tie: what ties points to
    it, None = nothing."""

    name: str
    xyxy: Array | None
    tie: str | None


@dataclass(frozen=True)
class Point:
    """x, y in px, v as in COCO."""

    name: str
    x: float
    y: float
    v: int
    tie: str | None


@dataclass(frozen=True)
class Drawing:
    """What was drawn on a picture. width, height: px that the tool says it has, 0 = not said."""

    picture: Path
    width: int
    height: int
    boxes: tuple[Box, ...]
    points: tuple[Point, ...]
    where: str


@dataclass(frozen=True)
class Drawn:
    """An object: its box's name and corners, None where only points were drawn, and its points by name."""

    name: str | None
    xyxy: Array | None
    points: dict[str, Point]


def objects_of(drawing: Drawing) -> list[Drawn]:
    """The objects: boxes with the points tied to them, and tied points of no box as an object of their own.

    An untied point belongs to the smallest box around it that has no point of its name yet; in a picture
    without boxes all untied points are one object. Raises DataError for a point that is given twice or
    belongs to no box.
    """
    tied: dict[str, dict[str, Point]] = {}
    for point in drawing.points:
        if point.tie is not None:
            _put(tied.setdefault(point.tie, {}), point, drawing.where)
    objects = [
        Drawn(box.name, box.xyxy, tied.pop(box.tie, {}) if box.tie is not None else {})
        for box in drawing.boxes
    ]
    objects += [Drawn(None, None, points) for points in tied.values()]
    free = [point for point in drawing.points if point.tie is None]
    if free and not objects:
        objects.append(Drawn(None, None, {}))
        for point in free:
            _put(objects[0].points, point, drawing.where)
        return objects
    for point in free:
        around = [o for o in objects if _is_around(o.xyxy, point) and point.name not in o.points]
        if not around:
            raise DataError(f"{drawing.where}: point {point.name!r} belongs to no box")
        min(around, key=_area).points[point.name] = point
    return objects


def labelled_images(
    drawings: Sequence[Drawing], asked: Sequence[Category], source: Path, folder: Path
) -> LabelledImages:
    """The drawings as a data set with file names relative to `folder`.

    Names and order of keypoints are those of the categories asked for, else as they first come. Objects
    without a box get the one around their points; those without any point of a category that has none are
    left out. Raises DataError for a point that is none of its category's.
    """
    found = [objects_of(drawing) for drawing in drawings]
    categories = _categories([o for objects in found for o in objects], asked, source)
    alone = next(iter(categories.values())) if len(categories) == 1 else None
    left_out: set[str] = set()
    images: list[ImageLabels] = []
    for drawing, objects in zip(drawings, found, strict=True):
        annotations = []
        for drawn in objects:
            category = categories.get(drawn.name) if drawn.name is not None else alone
            if category is None:
                left_out.add(drawn.name or "no name")
            elif drawn.points or drawn.xyxy is not None:
                annotations.append(_annotation(drawn, category, drawing.where))
        width, height = header_size(drawing.picture)
        if (drawing.width or width, drawing.height or height) != (width, height):
            raise DataError(
                f"{drawing.where}: declared {drawing.width} x {drawing.height} px, "
                f"upright it is {width} x {height} px"
            )
        path = drawing.picture
        name = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name
        images.append(ImageLabels(len(images) + 1, name, width, height, tuple(annotations)))
    if left_out:
        log.warning("%s: objects of %s left out", source, ", ".join(map(repr, sorted(left_out))))
    paths = tuple(drawing.picture for drawing in drawings)
    return LabelledImages(KeypointDataset(tuple(categories.values()), tuple(images)), paths, source)


def picture_of(labels: Path, name: str, where: str) -> Path:
    """The picture that a label file calls `name`, an address or a path on the machine it was made on: below
    the label file's folder by as much of the end of the name as leads somewhere. Raises DataError."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    for start in range(len(parts)):
        found = find_image(labels, "/".join(parts[start:]))
        if found is not None:
            return found
    raise DataError(
        f"{where}: its image {name!r:.120} is absent, expected {parts[-1] if parts else name} "
        f"beside {labels} or in images/ there"
    )


def _categories(objects: Sequence[Drawn], asked: Sequence[Category], source: Path) -> dict[str, Category]:
    """By the name of the boxes."""
    names: dict[str | None, dict[str, None]] = {}
    for drawn in objects:
        names.setdefault(drawn.name, {}).update(dict.fromkeys(drawn.points))
    loose = names.pop(None, {})
    by_name = {category.name: category for category in asked}
    if len(asked) == 1 and len(names) <= 1:
        return {name or asked[0].name: asked[0] for name in names or by_name}
    if asked:
        return {name: by_name[name] for name in names if name in by_name} or dict(by_name)
    if loose and len(names) == 1:
        next(iter(names.values())).update(loose)
    elif loose and not names:
        names = {"object": loose}
    known = {str(name): tuple(points) for name, points in names.items() if points}
    if not known:
        raise DataError(f"{source}: holds no keypoint; name the object with --object")
    return {name: _category(n, name, points) for n, (name, points) in enumerate(known.items(), start=1)}


def _category(id_: int, name: str, points: tuple[str, ...]) -> Category:
    return Category(id_, name, KeypointSchema(points, (), None, (DEFAULT_SIGMA,) * len(points)))


def _annotation(drawn: Drawn, category: Category, where: str) -> Annotation:
    names = category.schema.names
    for name in drawn.points:
        if name not in names:
            raise DataError(f"{where}: point {name!r:.60}, expected one of {', '.join(names)}")
    keypoints = np.zeros((len(names), 3))
    for name, point in drawn.points.items():
        if point.v > NOT_LABELLED:
            keypoints[names.index(name)] = point.x, point.y, point.v
    xyxy = drawn.xyxy
    if xyxy is None:
        own = np.array([(point.x, point.y) for point in drawn.points.values()])
        xyxy = np.concatenate([own.min(0), own.max(0)])
    return Annotation(category.id, xyxy, keypoints, float(np.prod(xyxy[2:] - xyxy[:2])))


def _put(points: dict[str, Point], point: Point, where: str) -> None:
    if point.name in points:
        raise DataError(f"{where}: point {point.name!r:.60} is given twice for one object")
    points[point.name] = point


def _is_around(xyxy: Array | None, point: Point) -> bool:
    return xyxy is not None and bool(xyxy[0] <= point.x <= xyxy[2] and xyxy[1] <= point.y <= xyxy[3])


def _area(drawn: Drawn) -> float:
    assert drawn.xyxy is not None
    return float(np.prod(drawn.xyxy[2:] - drawn.xyxy[:2]))

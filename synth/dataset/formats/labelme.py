"""labelme's JSON files, one a photo: `shapes` of rectangles and points.

Shapes of one object have the same group_id; a point without one belongs to the rectangle around it. Every
point drawn is visible (v = 2). https://github.com/wkentaro/labelme
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from synth.dataset.coco import Category
from synth.dataset.formats.drawn import Box, Drawing, Point, labelled_images, picture_of
from synth.dataset.formats.json_kinds import LABELME, files_of_kind
from synth.dataset.labelled import LabelledImages
from synth.errors import DataError
from synth.system.json_files import read_json
from synth.types import VISIBLE, Array

log = logging.getLogger(__name__)


def finds(path: Path) -> bool:
    return bool(files(path))


def files(path: Path) -> list[Path]:
    return files_of_kind(path, LABELME)


def read(path: Path, asked: Sequence[Category], object_: str | None) -> LabelledImages:
    """Raises DataError naming file and shape."""
    found = files(path)
    folder = path if path.is_dir() else path.parent
    drawings = [_drawing(read_json(file, folder), file) for file in found]
    return labelled_images(drawings, asked, path, folder)


def _drawing(raw: Any, file: Path) -> Drawing:
    if not isinstance(raw, dict) or not isinstance(raw.get("shapes"), list):
        raise DataError(f"{file}: expected labelme's JSON with a list `shapes`")
    if not isinstance(raw.get("imagePath"), str):
        raise DataError(f"{file}: imagePath: {raw.get('imagePath')!r:.60}, expected a file name")
    boxes: list[Box] = []
    points: list[Point] = []
    skipped = set()
    for n, shape in enumerate(raw["shapes"]):
        where = f"{file}: shape {n}"
        if not isinstance(shape, dict) or not isinstance(shape.get("label"), str):
            raise DataError(f"{where}: expected a shape with a label")
        group = shape.get("group_id")
        tie, kind = None if group is None else str(group), shape.get("shape_type", "polygon")
        if kind == "rectangle":
            corners = _coordinates(shape, where, 2, 4)
            boxes.append(Box(shape["label"], np.concatenate([corners.min(0), corners.max(0)]), tie))
        elif kind == "point":
            x, y = _coordinates(shape, where, 1, 1)[0].tolist()
            points.append(Point(shape["label"], x, y, VISIBLE, tie))
        else:
            skipped.add(str(kind))
    ties = [box.tie for box in boxes if box.tie is not None]
    if len(ties) != len(set(ties)):
        raise DataError(f"{file}: two rectangles have the same group_id, expected one an object")
    if skipped:
        log.warning("%s: shapes of type %s left out", file, ", ".join(sorted(skipped)))
    picture = picture_of(file, raw["imagePath"], str(file))
    width, height = (_side(raw.get(key)) for key in ("imageWidth", "imageHeight"))
    return Drawing(picture, width, height, tuple(boxes), tuple(points), str(file))


def _coordinates(shape: dict[str, Any], where: str, least: int, most: int) -> Array:
    """(N, 2) px."""
    try:
        points = np.array(shape.get("points"), dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        points = np.empty(0)
    if points.ndim != 2 or points.shape[1] != 2 or not least <= len(points) <= most:
        raise DataError(f"{where}: points: {shape.get('points')!r:.60}, expected {least} or so of x, y")
    if not np.isfinite(points).all():
        raise DataError(f"{where}: a number is not finite")
    return points


def _side(value: Any) -> int:
    return value if isinstance(value, int) else 0

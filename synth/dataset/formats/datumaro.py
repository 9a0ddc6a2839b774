"""Datumaro's own JSON: annotations/SUBSET.json with `categories` and `items`, images in images/SUBSET/.

Keypoints are `points` or the elements of a `skeleton`, boxes are `bbox`; those of one object share a `group`
other than 0. https://openvinotoolkit.github.io/datumaro (data formats, Datumaro)
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from synth.dataset.coco import Category
from synth.dataset.formats.drawn import Box, Drawing, Point, labelled_images, picture_of
from synth.dataset.formats.json_kinds import DATUMARO, files_of_kind
from synth.dataset.labelled import LabelledImages
from synth.errors import DataError
from synth.system.json_files import read_json
from synth.types import VISIBLE


def finds(path: Path) -> bool:
    return bool(files(path))


def files(path: Path) -> list[Path]:
    return files_of_kind(path, DATUMARO)


def read(path: Path, asked: Sequence[Category], object_: str | None) -> LabelledImages:
    """All subsets as one data set. Raises DataError naming file and item."""
    folder = path if path.is_dir() else path.parent
    drawings: list[Drawing] = []
    for file in files(path):
        raw = read_json(file, folder)
        try:
            labels = [str(row["name"]) for row in raw["categories"]["label"]["labels"]]
            points = {
                int(row["label_id"]): [str(name) for name in row["labels"]]
                for row in raw["categories"].get("points", {}).get("items", [])
            }
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"{file}: categories: not what Datumaro writes: {error!r:.100}") from error
        for n, item in enumerate(raw["items"]):
            where = f"{file}: item {item.get('id', n) if isinstance(item, dict) else n!r:.60}"
            try:
                drawings.append(_drawing(item, labels, points, file, where))
            except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
                if isinstance(error, DataError):
                    raise
                raise DataError(f"{where}: not what Datumaro writes: {error!r:.100}") from error
    return labelled_images(drawings, asked, path, folder)


def _drawing(
    item: dict[str, Any], labels: list[str], names: dict[int, list[str]], file: Path, where: str
) -> Drawing:
    boxes: list[Box] = []
    points: list[Point] = []
    named: dict[str, str] = {}
    for n, row in enumerate(item.get("annotations", [])):
        group = row.get("group") or None
        tie = f"object {n}" if group is None else str(group)
        if row["type"] == "bbox":
            x, y, w, h = map(float, row["bbox"])
            free = None if group is None else tie
            boxes.append(Box(labels[row["label_id"]], np.array([x, y, x + w, y + h]), free))
        elif row["type"] == "points":
            own = names.get(row["label_id"]) or [labels[row["label_id"]]]
            points += _points(row, own, tie)
            named[tie] = labels[row["label_id"]]
        elif row["type"] == "skeleton":
            for element in row["elements"]:
                points += _points(element, [labels[element["label_id"]]], tie)
            named[tie] = labels[row["label_id"]]
    boxed = {box.tie for box in boxes}
    boxes += [Box(name, None, tie) for tie, name in named.items() if tie not in boxed]
    picture = picture_of(file, str(item.get("image", {}).get("path") or item["id"]), where)
    height, width = item.get("image", {}).get("size") or (0, 0)
    return Drawing(picture, int(width), int(height), tuple(boxes), tuple(points), where)


def _points(row: dict[str, Any], names: list[str], tie: str | None) -> list[Point]:
    xy = np.array(row["points"], dtype=np.float64).reshape(len(names), 2)
    v = [int(value) for value in row.get("visibility") or [VISIBLE] * len(names)]
    return [
        Point(name, float(x), float(y), seen, tie) for name, (x, y), seen in zip(names, xy, v, strict=True)
    ]

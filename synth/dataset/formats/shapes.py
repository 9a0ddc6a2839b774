"""One JSON a photo beside images/: annotations/NAME.json holds [{"box", "keypoints", "v"}, …].

`box` is x0, y0, x1, y1 and `keypoints` are x, y, visible (0 or 1), in px of the upright picture; `v` keeps
COCO's 0, 1, 2; `category` names the object. {"bboxes", "keypoints"}, two lists, is read as well. schema.json
holds the categories; without it the names come from the object asked for, and objects of other names are
left out.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from synth.dataset.coco import (
    DEFAULT_SIGMA,
    Annotation,
    Category,
    ImageLabels,
    KeypointDataset,
    categories_from_json,
    category_to_json,
)
from synth.dataset.formats.json_kinds import json_files
from synth.dataset.labelled import LabelledImages
from synth.dataset.placing import flat_names, place_sized
from synth.errors import DataError
from synth.system.json_files import read_json
from synth.system.pictures import SUFFIXES, beside, find_image, header_size, images_in
from synth.types import NOT_LABELLED, VISIBLE, Array, KeypointSchema

SCHEMA = "schema.json"


@dataclass(frozen=True)
class Row:
    """One object of a photo as its file holds it. box: (4,) x0, y0, x1, y1. points: (N, 3) x, y, v.

    category: its name, None = not said.
    """

    box: Array
    points: Array
    category: str | None


def finds(path: Path) -> bool:
    return path.is_dir()


def files(path: Path) -> list[Path]:
    """The label files, sorted by name, and the schema where there is one."""
    schema = path / SCHEMA
    return [*photo_files(path), *([schema] if schema.is_file() else [])]


def write(labelled: LabelledImages, object_: str | None, target: Path) -> None:
    data = labelled.data
    (target / "annotations").mkdir()
    (target / SCHEMA).write_text(json.dumps([category_to_json(c) for c in data.categories], indent=1))
    names = {category.id: category.name for category in data.categories}
    for image, path, name in zip(data.images, labelled.paths, flat_names(data.images), strict=True):
        place_sized(image, path, target / "images" / name)
        rows = [
            {
                "box": a.box_xyxy.tolist(),
                "keypoints": [[x, y, int(v > NOT_LABELLED)] for x, y, v in a.keypoints.tolist()],
                "v": a.keypoints[:, 2].astype(int).tolist(),
                "category": names[a.category_id],
            }
            for a in image.annotations
        ]
        (target / "annotations" / f"{Path(name).stem}.json").write_text(json.dumps(rows))


def read(path: Path, asked: Sequence[Category], object_: str | None) -> LabelledImages:
    """File names relative to the folder `path`. Raises DataError naming file and object."""
    named = read_schema(path)
    categories = named or tuple(asked)
    labels = photo_files(path)
    if not labels:
        raise DataError(f"{path}: no labels in it: no JSON file there or in its annotations/, no data.yaml")
    if not named and len(categories) != 1:
        names = ", ".join(category.name for category in categories)
        raise DataError(
            f"{path}: one JSON per image does not say which objects are {names}; expected a COCO file, a "
            f"{SCHEMA}, or a single object"
            if names
            else f"{path}: no {SCHEMA} in it; name the object with --object"
        )
    images: list[ImageLabels] = []
    pictures = beside(labels, _pictures_folder(path, labels[0].parent))
    for file, picture in zip(labels, pictures, strict=True):
        width, height = header_size(picture)
        matched = _matched(rows_of(read_json(file, path), str(file)), categories, bool(named), file)
        annotations = tuple(_annotation(row, category, f"{file}: object {n}") for n, row, category in matched)
        name = picture.relative_to(path).as_posix()
        images.append(ImageLabels(len(images) + 1, name, width, height, annotations))
    source = path / SCHEMA if named else path
    return LabelledImages(KeypointDataset(categories, tuple(images)), tuple(pictures), source)


def read_schema(folder: Path) -> tuple[Category, ...]:
    """The categories of the folder's schema.json, () without one."""
    path = folder / SCHEMA
    return categories_from_json(read_json(path), str(path)) if path.is_file() else ()


def is_shapes(raw: Any) -> bool:
    """Whether the content of a JSON file is a photo's objects."""
    return isinstance(raw, list) or (isinstance(raw, dict) and "bboxes" in raw)


def rows_of(raw: Any, where: str) -> list[Row]:
    """The objects in the content of a photo's file. Raises DataError naming the first that is malformed.

    Coordinates may be any numbers here, and keypoints as many as there are.
    """
    if isinstance(raw, dict) and all(isinstance(raw.get(key), list) for key in ("bboxes", "keypoints")):
        boxes, keypoints = raw["bboxes"], raw["keypoints"]
        if len(boxes) != len(keypoints):
            raise DataError(f"{where}: {len(boxes)} boxes but keypoints of {len(keypoints)} objects")
        raw = [{"box": b, "keypoints": k} for b, k in zip(boxes, keypoints, strict=True)]
    if not isinstance(raw, list) or not all(
        isinstance(o, dict) and {"box", "keypoints"} <= o.keys() for o in raw
    ):
        raise DataError(f'{where}: expected a list of {{"box", "keypoints"}} or {{"bboxes", "keypoints"}}')
    return [_row(entry, f"{where}: object {n}") for n, entry in enumerate(raw)]


def coco_content(raw: Any, file: Path, folder: Path, category: Category | None) -> dict[str, Any]:
    """What a photo's file holds as the content of a COCO file, for checks that go on after a fault.

    The numbers of keypoints and the coordinates are as they came.

    raw: the content of `file`. category: of folders without schema.json; None = one with as many keypoints as
    the first object has. Raises DataError as rows_of does, and for categories that are unknown.
    """
    rows = rows_of(raw, str(file))
    categories = read_schema(folder)
    with_names = bool(categories) or category is None
    categories = categories or (category or _guessed_category(rows),)
    annotations = [
        {
            "id": n + 1,
            "image_id": 1,
            "category_id": row_category.id,
            "bbox": [*row.box[:2].tolist(), *(row.box[2:] - row.box[:2]).tolist()],
            "keypoints": row.points.ravel().tolist(),
        }
        for n, row, row_category in _matched(rows, categories, with_names, file)
    ]
    names = [file.stem + written for suffix in SUFFIXES for written in (suffix, suffix.upper())]
    name = next((name for name in names if find_image(file, name)), names[0])
    return {
        "images": [{"id": 1, "file_name": name}],
        "annotations": annotations,
        "categories": [category_to_json(c) for c in categories],
    }


def _guessed_category(rows: list[Row]) -> Category:
    count = max(1, len(rows[0].points)) if rows else 1
    names = tuple(str(n) for n in range(count))
    schema = KeypointSchema(names, (), None, (DEFAULT_SIGMA,) * count)
    return Category(1, (rows[0].category if rows else None) or "object", schema)


def _matched(
    rows: list[Row], categories: tuple[Category, ...], complete: bool, file: Path
) -> Iterator[tuple[int, Row, Category]]:
    """The objects with their places in the file and their categories.

    complete: `categories` are all that there are, so that another name is a DataError; else objects of other
    names are left out.
    """
    by_name = {category.name: category for category in categories}
    for n, row in enumerate(rows):
        category = by_name.get(categories[0].name if row.category is None else row.category)
        if category is not None:
            yield n, row, category
        elif complete:
            expected = ", ".join(by_name)
            raise DataError(f"{file}: object {n}: category {row.category!r}, expected one of {expected}")


def _row(raw: dict[str, Any], where: str) -> Row:
    box, points = _numbers(raw["box"]), _numbers(raw["keypoints"])
    if points is not None and points.size == 0:
        points = points.reshape(0, 3)
    if box is None or box.shape != (4,) or points is None or points.ndim != 2 or points.shape[1] != 3:
        raise DataError(f"{where}: expected a box of 4 numbers and keypoints of 3 (x, y, visible)")
    if not np.isin(points[:, 2], (0, 1, 2)).all():
        raise DataError(f"{where}: a keypoint's third number must be 0 or 1 (visible), got another")
    points[:, 2] = np.where(points[:, 2] > 0, VISIBLE, NOT_LABELLED)
    if "v" in raw:
        v = _numbers(raw["v"])
        if v is None or v.shape != (len(points),):
            raise DataError(f"{where}: v: {raw['v']!r:.60}, expected {len(points)} numbers, one a keypoint")
        points[:, 2] = v
    category = raw.get("category")
    if not (category is None or isinstance(category, str)):
        raise DataError(f"{where}: category: {category!r:.60}, expected a name")
    return Row(box, points, category)


def _annotation(row: Row, category: Category, where: str) -> Annotation:
    box, points, names = row.box, row.points, category.schema.names
    if len(points) != len(names):
        raise DataError(f"{where} has {len(points)} keypoints, expected {len(names)} ({', '.join(names)})")
    if not (np.isfinite(box).all() and np.isfinite(points).all() and np.isin(points[:, 2], (0, 1, 2)).all()):
        raise DataError(f"{where}: expected finite coordinates and v of 0, 1 or 2")
    return Annotation(category.id, box, points, float(np.prod(box[2:] - box[:2])))


def photo_files(folder: Path) -> list[Path]:
    """The label files, one a photo, sorted by name."""
    return [file for file in json_files(folder) if file.name != SCHEMA]


def _pictures_folder(folder: Path, labels: Path) -> Path:
    """images/ where there is one, else beside the label files, else the folder itself."""
    if (folder / "images").is_dir():
        return folder / "images"
    return labels if images_in(labels) else folder


def _numbers(values: Any) -> Array | None:
    try:
        return np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        return None

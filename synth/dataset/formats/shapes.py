"""One JSON a photo beside images/: annotations/NAME.json holds [{"box", "keypoints", "v"}, …].

`keypoints` are x, y, visible (0 or 1) as training reads them; `v` keeps COCO's 0, 1, 2, `category` the name.
schema.json holds the categories; without it names come from --object.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from synth.dataset.coco import (
    Annotation,
    Category,
    ImageLabels,
    KeypointDataset,
    categories_from_json,
    category_to_json,
)
from synth.dataset.placing import flat_names, place_sized
from synth.errors import DataError
from synth.system.json_files import read_json
from synth.system.pictures import SUFFIXES, beside, find_image, header_size
from synth.types import NOT_LABELLED, VISIBLE

SCHEMA = "schema.json"


def write(dataset: KeypointDataset, root: Path, target: Path) -> None:
    (target / "annotations").mkdir()
    (target / SCHEMA).write_text(json.dumps([category_to_json(c) for c in dataset.categories], indent=1))
    names = {category.id: category.name for category in dataset.categories}
    for image, name in zip(dataset.images, flat_names(dataset.images), strict=True):
        place_sized(image, root, target / "images" / name)
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


def read(folder: Path, category: Category | None) -> KeypointDataset:
    """File names relative to `folder`; {"bboxes", "keypoints"} is read as well. category: for folders
    without schema.json. Raises DataError naming the file."""
    if (folder / SCHEMA).is_file():
        categories = categories_from_json(read_json(folder / SCHEMA), str(folder / SCHEMA))
    elif category is not None:
        categories = (category,)
    else:
        raise DataError(f"{folder}: no {SCHEMA} in it; name the object with --object")
    labels = folder / "annotations" if (folder / "annotations").is_dir() else folder
    images: list[ImageLabels] = []
    paths = sorted(p for p in labels.glob("*.json") if p.name != SCHEMA)
    pictures = beside(paths, folder / "images" if (folder / "images").is_dir() else folder)
    for path, picture in zip(paths, pictures, strict=True):
        width, height = header_size(picture)
        name = picture.relative_to(folder).as_posix()
        annotations = _annotations(read_json(path), categories, str(path))
        images.append(ImageLabels(len(images) + 1, name, width, height, annotations))
    if not images:
        raise DataError(f"{folder}: no JSON file a photo in it or its annotations/")
    return KeypointDataset(categories, tuple(images))


def _annotations(raw: Any, categories: tuple[Category, ...], where: str) -> tuple[Annotation, ...]:
    try:
        return tuple(_annotation(row, categories, where) for row in _rows(raw))
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise _other_shape(where, error) from error


def _annotation(row: Any, categories: tuple[Category, ...], where: str) -> Annotation:
    name = row.get("category", categories[0].name)
    category = {c.name: c for c in categories}[name]
    box = np.array(row["box"], dtype=np.float64).reshape(4)
    points = np.array(row["keypoints"], dtype=np.float64).reshape(len(category.schema), 3)
    if "v" in row:
        points[:, 2] = np.array(row["v"], dtype=np.float64).reshape(len(points))
    else:
        points[:, 2] = np.where(points[:, 2] > 0, VISIBLE, NOT_LABELLED)
    if not (np.isfinite(box).all() and np.isfinite(points).all() and np.isin(points[:, 2], (0, 1, 2)).all()):
        raise DataError(f"{where}: expected finite coordinates and v of 0, 1 or 2")
    return Annotation(category.id, box, points, float(np.prod(box[2:] - box[:2])))


def is_shapes(raw: Any) -> bool:
    return isinstance(raw, list) or (isinstance(raw, dict) and "bboxes" in raw)


def as_coco(raw: Any, file: Path, categories: Any, keypoints: Sequence[str] | None) -> dict[str, Any]:
    """The content of one such file as COCO's, its numbers unchecked. categories: of schema.json, the first is
    that of what names none; None: one with those keypoints, or with as many as there are. Raises DataError if
    it has another shape."""
    names = [file.stem + written for suffix in SUFFIXES for written in (suffix, suffix.upper())]
    name = next((name for name in names if find_image(file, name)), names[0])
    annotations: list[dict[str, Any]] = []
    try:
        rows = _rows(raw)
        if categories is None:
            first = rows[0] if rows else {"keypoints": [()]}
            named = keypoints or [str(n) for n in range(len(first["keypoints"]))]
            categories = [{"id": 1, "name": first.get("category", "object"), "keypoints": list(named)}]
        ids = {category["name"]: category["id"] for category in categories}
        for row in rows:
            (x1, y1, x2, y2), points = row["box"], row["keypoints"]
            v = row.get("v", [VISIBLE if shown else NOT_LABELLED for _, _, shown in points])
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": 1,
                    "category_id": ids[row.get("category", next(iter(ids)))],
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "keypoints": [c for (x, y, _), v in zip(points, v, strict=True) for c in (x, y, v)],
                }
            )
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise _other_shape(str(file), error) from error
    return {"images": [{"id": 1, "file_name": name}], "annotations": annotations, "categories": categories}


def _rows(raw: Any) -> list[Any]:
    if isinstance(raw, dict):
        return [{"box": b, "keypoints": k} for b, k in zip(raw["bboxes"], raw["keypoints"], strict=True)]
    return list(raw)


def _other_shape(where: str, error: Exception) -> DataError:
    return DataError(f'{where}: expected [{{"box", "keypoints"}}, …] or {{"bboxes", "keypoints"}}: {error!r}')

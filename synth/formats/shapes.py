"""One JSON a photo beside images/: annotations/NAME.json holds [{"box", "keypoints", "v"}, …].

`keypoints` are x, y, visible (0 or 1) as training reads them; `v` keeps COCO's 0, 1, 2, `category` the name.
schema.json holds the categories; without it names come from --object.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from synth.coco import (
    Annotation,
    Category,
    ImageLabels,
    KeypointDataset,
    categories_from_json,
    category_to_json,
    read_json,
)
from synth.errors import DataError
from synth.formats.images import beside, flat_names, image_size, place_sized
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
        width, height = image_size(picture)
        name = picture.relative_to(folder).as_posix()
        annotations = _annotations(read_json(path), categories, str(path))
        images.append(ImageLabels(len(images) + 1, name, width, height, annotations))
    if not images:
        raise DataError(f"{folder}: no JSON file a photo in it or its annotations/")
    return KeypointDataset(categories, tuple(images))


def _annotations(raw: Any, categories: tuple[Category, ...], where: str) -> tuple[Annotation, ...]:
    try:
        if isinstance(raw, dict):
            raw = [{"box": b, "keypoints": k} for b, k in zip(raw["bboxes"], raw["keypoints"], strict=True)]
        return tuple(_annotation(row, categories, where) for row in raw)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise DataError(f'{where}: expected [{{"box", "keypoints"}}, …]: {error!r}') from error


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

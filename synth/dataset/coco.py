"""COCO keypoint files in and out, the keypoint schema carried in `categories`.

Boxes are xyxy in memory and xywh in the file; the skeleton is 0-based in memory and 1-based in the file.
Beyond COCO, a category carries `flip_pairs` (names, or null when flips are undefined) and `oks_sigmas`,
an annotation carries `visible_fraction`.
"""

import json
import math
import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np

from synth.checks import check_arrays, check_numbers
from synth.dataset.coco_exports import plain_coco
from synth.errors import DataError
from synth.objects.load import load_schema
from synth.system.files import replacing
from synth.system.json_files import read_json, safe_relative_path
from synth.system.pictures import levels_up
from synth.text import is_visible
from synth.types import NOT_LABELLED, OCCLUDED, VISIBLE, Array, KeypointSchema

DEFAULT_SIGMA = 0.05
VISIBILITIES = {float(NOT_LABELLED), float(OCCLUDED), float(VISIBLE)}
MAX_MASK_PX = 1 << 28


@dataclass(frozen=True)
class Category:
    id: int
    name: str
    schema: KeypointSchema

    def __post_init__(self) -> None:
        if not is_visible(self.name):
            raise DataError(f"category {self.name!a:.80}: a control character in its name")


@dataclass(frozen=True)
class Annotation:
    """One labelled object. box_xyxy: (4,) px. keypoints: (K, 3) x, y, v. area: px^2."""

    category_id: int
    box_xyxy: Array
    keypoints: Array
    area: float
    iscrowd: int = 0
    segmentation: dict[str, Any] | list[Any] | None = None
    visible_fraction: float = 1.0

    def __post_init__(self) -> None:
        check_arrays(self, "floating", finite=True, box_xyxy=(4,), keypoints=(None, 3))
        check_numbers(self, area=0, visible_fraction=0)


@dataclass(frozen=True)
class ImageLabels:
    """One image and its objects; file_name is relative to the folder of the annotation file."""

    id: int
    file_name: str
    width: int
    height: int
    annotations: tuple[Annotation, ...]


@dataclass(frozen=True)
class KeypointDataset:
    categories: tuple[Category, ...]
    images: tuple[ImageLabels, ...]


def category_to_json(category: Category) -> dict[str, Any]:
    schema = category.schema
    flips = schema.flip_pairs
    return {
        "id": category.id,
        "name": category.name,
        "keypoints": list(schema.names),
        "skeleton": [[a + 1, b + 1] for a, b in schema.skeleton],
        "flip_pairs": None if flips is None else [[schema.names[a], schema.names[b]] for a, b in flips],
        "oks_sigmas": list(schema.oks_sigmas),
    }


def categories_from_json(rows: Any, where: str) -> tuple[Category, ...]:
    """Raises DataError when `rows` is no list of categories, or is empty."""
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{where}: expected a list of categories, at least one, got {rows!r:.60}")
    return require_distinct(tuple(category_from_json(row, where) for row in rows), where)


def require_distinct(categories: tuple[Category, ...], where: str) -> tuple[Category, ...]:
    """`categories`, or a DataError when two have the same id or name."""
    for field in ("id", "name"):
        for value, times in Counter(getattr(category, field) for category in categories).items():
            if times > 1:
                raise DataError(f"{where}: category {field} {value!r} is given {times} times, expected once")
    return categories


def category_from_json(raw: dict[str, Any], where: str) -> Category:
    """A category without `flip_pairs` is never flipped; without `oks_sigmas` each is DEFAULT_SIGMA."""
    names = raw.get("keypoints")
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise DataError(f"{where}: category {raw.get('id')!r} has no list of keypoint names in `keypoints`")
    flips = raw.get("flip_pairs")
    sigmas = raw.get("oks_sigmas") or [DEFAULT_SIGMA] * len(names)
    try:
        schema = KeypointSchema(
            names=tuple(names),
            skeleton=tuple((int(a) - 1, int(b) - 1) for a, b in raw.get("skeleton") or []),
            flip_pairs=None if flips is None else tuple(_flip_pair(pair, names) for pair in flips),
            oks_sigmas=tuple(float(s) for s in sigmas),
        )
        return Category(int(raw["id"]), str(raw["name"]), schema)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{where}: category {raw.get('name')!r} is malformed: {error}") from error


def _flip_pair(pair: Any, names: list[str]) -> tuple[int, int]:
    a, b = pair
    for name in (a, b):
        if name not in names:
            raise ValueError(f"flip_pairs: {name!r} is not a keypoint; keypoints are {names}")
    return names.index(a), names.index(b)


def image_to_json(image: ImageLabels) -> dict[str, Any]:
    return {"id": image.id, "file_name": image.file_name, "width": image.width, "height": image.height}


def annotation_to_json(annotation: Annotation, annotation_id: int, image_id: int) -> dict[str, Any]:
    x0, y0, x1, y1 = (float(c) for c in annotation.box_xyxy)
    raw = {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": annotation.category_id,
        "bbox": [_short(c) for c in (x0, y0, x1 - x0, y1 - y0)],
        "area": _short(annotation.area),
        "iscrowd": annotation.iscrowd,
        "keypoints": [_short(c) for c in annotation.keypoints.reshape(-1)],
        "num_keypoints": int((annotation.keypoints[:, 2] > 0).sum()),
        "visible_fraction": _short(annotation.visible_fraction),
    }
    if annotation.segmentation is not None:
        raw["segmentation"] = annotation.segmentation
    return raw


def write_coco(path: Path, categories: Iterable[Category], images: Iterable[ImageLabels]) -> None:
    """Writes atomically, an image at a time; annotation ids count from 1 in image order."""
    ids = count(1)
    with replacing(path) as file, TemporaryFile(dir=path.parent) as annotations:
        file.write(b'{"images": [')
        for number, image in enumerate(images):
            file.write(_item(image_to_json(image), number == 0))
            for annotation in image.annotations:
                annotation_id = next(ids)
                row = annotation_to_json(annotation, annotation_id, image.id)
                annotations.write(_item(row, annotation_id == 1))
        file.write(b'], "annotations": [')
        annotations.seek(0)
        shutil.copyfileobj(annotations, file)
        rows = [category_to_json(c) for c in categories]
        file.write(b'], "categories": ' + json.dumps(rows).encode() + b"}")


def coco_content(data: KeypointDataset) -> dict[str, Any]:
    """What write_coco writes, as one object."""
    numbers = count(1)
    return {
        "images": [image_to_json(image) for image in data.images],
        "annotations": [
            annotation_to_json(annotation, next(numbers), image.id)
            for image in data.images
            for annotation in image.annotations
        ],
        "categories": [category_to_json(category) for category in data.categories],
    }


def _item(row: dict[str, Any], first: bool) -> bytes:
    return (("" if first else ", ") + json.dumps(row)).encode()


def read_coco(path: Path, folder: Path | None = None) -> KeypointDataset:
    """Reads a COCO keypoints file; every structural fault is a DataError naming file and entry. folder: see
    synth.system.untrusted.open_untrusted."""
    where = str(path)
    raw = plain_coco(read_json(path, folder), where)
    if not isinstance(raw, dict) or not all(
        isinstance(raw.get(key), list) for key in ("images", "annotations", "categories")
    ):
        raise DataError(f"{where}: expected an object with lists `images`, `annotations`, `categories`")
    categories = {c.id: c for c in categories_from_json(raw["categories"], where)}
    by_image: dict[int, list[Annotation]] = {}
    try:
        for row in raw["images"]:
            if isinstance(row["id"], float) and not row["id"].is_integer():
                raise DataError(f"{where}: image id {row['id']}, expected a whole number")
            if row["id"] in by_image:
                raise DataError(f"{where}: image id {row['id']} appears twice")
            by_image[row["id"]] = []
    except (KeyError, TypeError) as error:
        raise DataError(f"{where}: an entry of `images` is malformed: {error!r}") from error
    for row in raw["annotations"]:
        _add_annotation(row, categories, by_image, where)
    up = levels_up(path)
    images = tuple(
        ImageLabels(
            id=row["id"],
            file_name=safe_relative_path(row.get("file_name"), f"{where}: image {row['id']}", up),
            width=_size(row, "width", where),
            height=_size(row, "height", where),
            annotations=tuple(by_image[row["id"]]),
        )
        for row in raw["images"]
    )
    return KeypointDataset(tuple(categories.values()), images)


def _size(row: dict[str, Any], key: str, where: str) -> int:
    """0 = not said."""
    try:
        return int(row.get(key) or 0)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(
            f"{where}: image {row['id']}: {key}: {row[key]!r}, expected a number of px"
        ) from error


def _add_annotation(
    row: Any, categories: dict[int, Category], by_image: dict[int, list[Annotation]], where: str
) -> None:
    try:
        place = f"{where}: annotation {row['id']}"
        if row["image_id"] not in by_image:
            raise DataError(f"{place}: image_id {row['image_id']} is not in `images`")
        if row["category_id"] not in categories:
            raise DataError(f"{place}: category_id {row['category_id']} is not in `categories`")
        k = len(categories[row["category_id"]].schema)
        keypoints = np.asarray(row.get("keypoints") or [0] * 3 * k, dtype=np.float64)
        if keypoints.shape != (3 * k,):
            raise DataError(
                f"{place}: {keypoints.size} keypoint values, expected {3 * k} (3 for each of {k})"
            )
        x, y, w, h = (float(c) for c in row["bbox"])
        area, iscrowd = _number(row, "area", place) or w * h, int(row.get("iscrowd") or 0)
        visible = _number(row, "visible_fraction", place)
        fraction = 1.0 if visible is None else visible
        numbers = [x, y, w, h, area, fraction, *keypoints.tolist()]
        if not all(math.isfinite(c) for c in numbers):
            raise DataError(f"{place}: a number is not finite")
        odd = sorted(set(keypoints[2::3].tolist()) - VISIBILITIES)
        if odd:
            raise DataError(f"{place}: v {odd[0]:g} of a keypoint, expected 0, 1 or 2")
        if area < 0 or not 0 <= fraction <= 1:
            raise DataError(
                f"{place}: area {area:g}, visible_fraction {fraction:g}, expected 0 or more, 0 to 1"
            )
        check_outline(row.get("segmentation"), place)
    except DataError:
        raise
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{where}: {_annotation_name(row)} is malformed: {error!r:.200}") from error
    by_image[row["image_id"]].append(
        Annotation(
            category_id=row["category_id"],
            box_xyxy=np.array([x, y, x + w, y + h]),
            keypoints=keypoints.reshape(k, 3),
            area=area,
            iscrowd=iscrowd,
            segmentation=row.get("segmentation"),
            visible_fraction=fraction,
        )
    )


def _number(row: dict[str, Any], key: str, place: str) -> float | None:
    """None where the row does not say."""
    value = row.get(key)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise DataError(f"{place}: {key}: {value!r:.60}, expected a number")
    return None if value is None else float(value)


def _annotation_name(row: Any) -> str:
    known = isinstance(row, dict) and "id" in row
    return f"annotation {row['id']!r:.40}" if known else "an entry of `annotations`"


def check_outline(segmentation: Any, place: str) -> None:
    """None, run lengths {"size", "counts"} or polygons [[x, y, …], …]. Raises DataError."""
    if isinstance(segmentation, dict):
        sound = _are_run_lengths(segmentation)
    else:
        polygons = segmentation or []
        sound = isinstance(polygons, list) and all(
            isinstance(p, list) and len(p) % 2 == 0 and all(isinstance(c, int | float) for c in p)
            for p in polygons
        )
    if not sound:
        raise DataError(f"{place}: segmentation is neither run lengths nor polygons: {segmentation!r:.60}")


def _are_run_lengths(rle: dict[str, Any]) -> bool:
    """Of a mask that a picture can have: a few bytes may stand for any number of pixels."""
    size, counts = rle.get("size"), rle.get("counts")
    if (
        not isinstance(size, list)
        or len(size) != 2
        or not all(type(side) is int and side > 0 for side in size)
    ):
        return False
    if size[0] * size[1] > MAX_MASK_PX:
        return False
    return isinstance(counts, str) or (
        isinstance(counts, list)
        and all(type(count) is int and count >= 0 for count in counts)
        and sum(counts) == size[0] * size[1]
    )


def _short(value: float) -> float | int:
    """Rounded to 1/1000 px, integers without a fraction: a third of the file's size."""
    rounded = round(float(value), 3)
    return int(rounded) if rounded == int(rounded) else rounded


def object_category(name_or_path: str) -> tuple[Category, Array]:
    """The object's category and its keypoints_m (K, 3) in the object frame, from object.yaml."""
    name, category_id, schema, keypoints_m = load_schema(name_or_path)
    return Category(category_id, name, schema), keypoints_m

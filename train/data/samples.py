"""Labelled images from disk: COCO keypoint files and folders with one JSON per image.

Photos are turned upright by their EXIF orientation, as viewers and labelling tools show them; labels are in
px of that upright picture, continuous, (0, 0) = its top-left corner.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synth.dataset.coco import Category, KeypointDataset, read_coco
from synth.dataset.formats.shapes import SCHEMA
from synth.dataset.formats.shapes import read as read_shapes
from synth.errors import DataError
from synth.system.json_files import read_json
from synth.system.pictures import beside, find_image, verified_size
from synth.system.shards import is_file
from synth.types import NOT_LABELLED, VISIBLE, Array
from train.types import Sample

COCO_NAMES = "annotations.json", "person_keypoints_default.json"
"""Of a folder's COCO file: ours, and that of CVAT and of label-helper."""


def read_samples(path: Path, *categories: Category) -> tuple[Sample, ...]:
    """All labelled images at `path`: a COCO file, a folder holding one (annotations.json, or the only file in
    annotations/), or one JSON per image.

    COCO categories are found by name; where one is asked for, the file's only one is taken whatever its name.
    Their keypoints are put in the schema's order by name. One JSON per image holds objects of one category,
    with schema.json beside (see synth.dataset.formats.shapes) of several.
    Raises DataError for whatever is wrong, naming file and entry.
    """
    if path.is_file():
        samples = _samples(read_coco(path), categories, path)
    elif (path / SCHEMA).is_file():
        samples = _samples(read_shapes(path, None), categories, path / SCHEMA)
    elif path.is_dir() and (file := _coco_in(path)):
        samples = _samples(read_coco(file), categories, file)
    elif path.is_dir():
        samples = _from_json_per_image(path, categories)
    else:
        raise DataError(f"{path}: no such file or folder, expected a COCO file or labelled images")
    if not samples:
        raise DataError(f"{path}: holds no labelled image")
    return samples


def _coco_in(folder: Path) -> Path | None:
    """The folder's COCO file."""
    if named := _usual_name(folder):
        return named
    files = annotation_files(folder)
    if len(files) != 1:
        return None
    raw = read_json(files[0])
    return files[0] if isinstance(raw, dict) and "images" in raw else None


def _usual_name(folder: Path) -> Path | None:
    return next((folder / name for name in COCO_NAMES if (folder / name).is_file()), None)


def annotation_files(path: Path) -> list[Path]:
    """The files `read_samples(path)` takes its labels from."""
    if path.is_file():
        return [path]
    if named := _usual_name(path):
        return [named]
    folder = path / "annotations" if (path / "annotations").is_dir() else path
    return sorted(folder.glob("*.json"))


def _samples(dataset: KeypointDataset, categories: Sequence[Category], path: Path) -> tuple[Sample, ...]:
    """path: of the labels, beside which the images are."""
    matched = _matching(dataset, categories, path)
    most = max(len(category.schema) for category in categories)
    samples = []
    for image in dataset.images:
        own = [a for a in image.annotations if a.category_id in matched]
        keypoints = np.zeros((len(own), most, 3))
        for points, a in zip(keypoints, own, strict=True):
            order = matched[a.category_id][1]
            points[: len(order)] = a.keypoints[order]
        sample = _sample(
            find_image(path, image.file_name) or path.parent / image.file_name,
            np.array([a.box_xyxy for a in own]).reshape(-1, 4),
            keypoints,
            where=str(path),
            labels=np.array([matched[a.category_id][0] for a in own], dtype=np.int64),
            area=np.array([a.area for a in own]),
            iscrowd=np.array([a.iscrowd for a in own], dtype=bool),
            visible_fraction=np.array([a.visible_fraction for a in own]),
            segmentations=tuple(a.segmentation for a in own),
        )
        declared = (image.width, image.height)
        if declared != (0, 0) and declared != (sample.width, sample.height):
            raise DataError(
                f"{path}: image {image.file_name} is declared {image.width}x{image.height}, "
                f"upright it is {sample.width}x{sample.height}"
            )
        samples.append(sample)
    return tuple(samples)


def _matching(
    dataset: KeypointDataset, categories: Sequence[Category], path: Path
) -> dict[int, tuple[int, list[int]]]:
    """Category id in the file -> its label, and the index of each of the schema's keypoints in the file's."""
    labels = {category.name: label for label, category in enumerate(categories, start=1)}
    sources = {c.id: labels[c.name] for c in dataset.categories if c.name in labels}
    if not sources and len(categories) == len(dataset.categories) == 1:
        sources = {dataset.categories[0].id: 1}
    if not sources:
        names = [c.name for c in dataset.categories]
        wanted = " or ".join(map(repr, labels))
        raise DataError(f"{path}: categories are {names}, expected one of them to be {wanted}")
    return {
        c.id: (sources[c.id], _keypoint_order(c, categories[sources[c.id] - 1], path))
        for c in dataset.categories
        if c.id in sources
    }


def _keypoint_order(source: Category, category: Category, path: Path) -> list[int]:
    """Index into the file's keypoints for each of the schema's."""
    have, want = source.schema.names, category.schema.names
    if sorted(have) != sorted(want):
        raise DataError(
            f"{path}: category {source.name!r} has keypoints [{', '.join(have)}], "
            f"expected those of {category.name} in any order: [{', '.join(want)}]"
        )
    return [have.index(name) for name in want]


def _from_json_per_image(folder: Path, categories: Sequence[Category]) -> tuple[Sample, ...]:
    files = annotation_files(folder)
    if not files:
        raise DataError(f"{folder}: no JSON file in it or its annotations/, expected one per image")
    if len(categories) != 1:
        names = ", ".join(c.name for c in categories)
        raise DataError(
            f"{folder}: one JSON per image does not say which objects are {names}; expected a COCO file, "
            "or a single object"
        )
    (category,) = categories
    samples = []
    pictures = beside(files, folder / "images" if (folder / "images").is_dir() else files[0].parent)
    for file, picture in zip(files, pictures, strict=True):
        boxes, keypoints = _parse_objects(read_json(file), category, str(file))
        samples.append(_sample(picture, boxes, keypoints, where=str(file)))
    return tuple(samples)


def _parse_objects(raw: Any, category: Category, where: str) -> tuple[Array, Array]:
    """Boxes (N, 4) and keypoints (N, K, 3) of either shape; `visible` 1 becomes v = 2."""
    if (
        isinstance(raw, dict)
        and isinstance(raw.get("bboxes"), list)
        and isinstance(raw.get("keypoints"), list)
    ):
        raw_boxes, raw_keypoints = raw["bboxes"], raw["keypoints"]
    elif isinstance(raw, list) and all(isinstance(o, dict) and {"box", "keypoints"} <= o.keys() for o in raw):
        raw = [o for o in raw if o.get("category", category.name) == category.name]
        raw_boxes, raw_keypoints = [o["box"] for o in raw], [o["keypoints"] for o in raw]
    else:
        raise DataError(f'{where}: expected a list of {{"box", "keypoints"}} or {{"bboxes", "keypoints"}}')
    if len(raw_boxes) != len(raw_keypoints):
        raise DataError(f"{where}: {len(raw_boxes)} boxes but keypoints of {len(raw_keypoints)} objects")
    names = category.schema.names
    for index, points in enumerate(raw_keypoints):
        if not isinstance(points, list) or len(points) != len(names):
            count = len(points) if isinstance(points, list) else 0
            raise DataError(
                f"{where}: object {index} has {count} keypoints, expected {len(names)} ({', '.join(names)})"
            )
    try:
        boxes = np.array(raw_boxes, dtype=np.float64).reshape(len(raw_boxes), 4)
        keypoints = np.array(raw_keypoints, dtype=np.float64).reshape(len(raw_boxes), len(names), 3)
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: expected boxes of 4 numbers and keypoints of 3 (x, y, visible)") from error
    if not np.isin(keypoints[..., 2], (0, 1, 2)).all():
        raise DataError(f"{where}: a keypoint's third number must be 0 or 1 (visible), got another")
    keypoints[..., 2] = np.where(keypoints[..., 2] > 0, VISIBLE, NOT_LABELLED)
    return boxes, keypoints


def _sample(
    image_path: Path,
    boxes: Array,
    keypoints: Array,
    where: str,
    labels: NDArray[np.int64] | None = None,
    area: Array | None = None,
    iscrowd: NDArray[np.bool_] | None = None,
    visible_fraction: Array | None = None,
    segmentations: tuple[Any, ...] | None = None,
) -> Sample:
    """Checks what would silently train on nothing, and opens the image's header."""
    if not is_file(image_path):
        raise DataError(f"{where}: its image {image_path} is absent")
    width, height = verified_size(image_path)
    where = f"{where}: image {image_path.name}"
    if not (np.isfinite(boxes).all() and np.isfinite(keypoints).all()):
        raise DataError(f"{where}: a coordinate is not finite")
    for box in boxes:
        text = ", ".join(f"{c:g}" for c in box)
        if not (box[2] > box[0] and box[3] > box[1]):
            raise DataError(
                f"{where}: box [{text}] is empty, expected x1 < x2 and y1 < y2 (corners, not sizes)"
            )
        if box.max() <= 1.5:
            raise DataError(
                f"{where}: box [{text}] looks normalised, expected pixels of a {width}x{height} image"
            )
        if box[0] >= width or box[1] >= height or box[2] <= 0 or box[3] <= 0:
            raise DataError(f"{where}: box [{text}] lies outside the {width}x{height} image")
    limits = np.array([width, height, width, height], dtype=np.float64)
    clipped = np.clip(boxes, 0, limits)
    n = len(boxes)
    return Sample(
        image_path=image_path,
        width=width,
        height=height,
        boxes=clipped,
        labels=np.ones(n, dtype=np.int64) if labels is None else labels,
        keypoints=keypoints,
        area=(boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) if area is None else area,
        iscrowd=np.zeros(n, dtype=bool) if iscrowd is None else iscrowd,
        visible_fraction=np.ones(n) if visible_fraction is None else visible_fraction,
        segmentations=(None,) * n if segmentations is None else segmentations,
    )


def hold_out(
    samples: Sequence[Sample], share: float, seed: int
) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """Splits into (kept, held out): the same for the same samples, share and seed; at least one of each."""
    if len(samples) < 2:
        raise DataError(
            f"{len(samples)} training image, expected at least 2 (one is held out for validation)"
        )
    count = min(max(1, math.floor(len(samples) * share)), len(samples) - 1)
    order = np.random.default_rng(seed).permutation(len(samples))
    out = set(order[:count].tolist())
    return (
        tuple(s for i, s in enumerate(samples) if i not in out),
        tuple(s for i, s in enumerate(samples) if i in out),
    )

"""Labelled images from disk as samples to train and to measure on.

Photos are turned upright by their EXIF orientation, as viewers and labelling tools show them; labels are in
px of that upright picture, continuous, (0, 0) = its top-left corner.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from synth.dataset.coco import Category, ImageLabels, KeypointDataset
from synth.dataset.formats.table import read_labels
from synth.errors import DataError
from synth.system.pictures import verified_size
from synth.system.shards import is_file
from train.types import Sample


def read_samples(path: Path, *categories: Category, object_: str | None = None) -> tuple[Sample, ...]:
    """All labelled images at `path`, in any label format (see synth.dataset.formats.table).

    Categories are found by name; where one is asked for, the labels' only one is taken whatever its name.
    Their keypoints are put in the schema's order by name.
    object_: name or folder of the object, for labels that need its mesh (BOP's poses). Raises DataError for
    whatever is wrong, naming file and entry.
    """
    labelled = read_labels(path, categories, object_)
    if not labelled.data.images:
        raise DataError(f"{path}: holds no labelled image")
    matched = _matching(labelled.data, categories, labelled.source)
    most = max(len(category.schema) for category in categories)
    return tuple(
        _sample(image, file, matched, most, labelled.source)
        for image, file in zip(labelled.data.images, labelled.paths, strict=True)
    )


def _sample(
    image: ImageLabels, file: Path, matched: dict[int, tuple[int, list[int]]], most: int, source: Path
) -> Sample:
    """Opens the image's header. source: of the labels, for errors."""
    if not is_file(file):
        raise DataError(f"{source}: its image {file} is absent")
    width, height = verified_size(file)
    if (image.width, image.height) not in ((0, 0), (width, height)):
        raise DataError(
            f"{source}: image {image.file_name} is declared {image.width}x{image.height}, "
            f"upright it is {width}x{height}"
        )
    own = [a for a in image.annotations if a.category_id in matched]
    boxes = np.array([a.box_xyxy for a in own]).reshape(-1, 4)
    keypoints = np.zeros((len(own), most, 3))
    for points, a in zip(keypoints, own, strict=True):
        order = matched[a.category_id][1]
        points[: len(order)] = a.keypoints[order]
    return Sample(
        image_path=file,
        width=width,
        height=height,
        boxes=np.clip(boxes, 0, np.array([width, height, width, height], dtype=np.float64)),
        labels=np.array([matched[a.category_id][0] for a in own], dtype=np.int64),
        keypoints=keypoints,
        area=np.array([a.area for a in own], dtype=np.float64),
        iscrowd=np.array([a.iscrowd for a in own], dtype=bool),
        visible_fraction=np.array([a.visible_fraction for a in own], dtype=np.float64),
        segmentations=tuple(a.segmentation for a in own),
    )


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

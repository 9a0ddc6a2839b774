"""Contact sheets of labelled data sets."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from synth.dataset.coco import Category, ImageLabels
from synth.dataset.labelled import LabelledImages
from synth.errors import DataError
from synth.inspect.drawing import contact_sheet, draw_objects, write_image
from synth.system.pictures import load_rgb
from synth.types import Rgb


def preview_sheet(labelled: LabelledImages, out: Path, count: int) -> None:
    """`count` images, evenly spread over the data set, with boxes, keypoints and names drawn."""
    data = labelled.data
    if not data.images:
        raise DataError(f"{labelled.source}: the data set has no images")
    chosen = sorted(set(np.linspace(0, len(data.images) - 1, count).astype(int).tolist()))
    pictures = [draw_labels(labelled.paths[i], data.categories, data.images[i]) for i in chosen]
    captions = [data.images[i].file_name for i in chosen]
    write_image(out, contact_sheet(pictures, columns=4, tile_px=400, captions=captions))


def draw_labels(path: Path, categories: Sequence[Category], image: ImageLabels) -> Rgb:
    """The image at `path` with the labels of all its objects drawn."""
    rgb = load_rgb(path)
    for category in categories:
        mine = [a for a in image.annotations if a.category_id == category.id]
        boxes = np.array([a.box_xyxy for a in mine]).reshape(-1, 4)
        keypoints = np.array([a.keypoints for a in mine]).reshape(-1, len(category.schema), 3)
        rgb = draw_objects(rgb, category.schema, boxes, keypoints, names=True)
    return rgb

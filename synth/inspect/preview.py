"""Contact sheets of labelled data sets."""

from pathlib import Path

import numpy as np

from synth.dataset.coco import ImageLabels, KeypointDataset
from synth.errors import DataError
from synth.inspect.drawing import contact_sheet, draw_objects, write_image
from synth.system.pictures import load_rgb


def preview_sheet(data: KeypointDataset, folder: Path, out: Path, count: int) -> None:
    """`count` images, evenly spread over the data set, with boxes, keypoints and names drawn."""
    if not data.images:
        raise DataError(f"{folder}: the data set has no images")
    chosen = sorted(set(np.linspace(0, len(data.images) - 1, count).astype(int).tolist()))
    pictures = [draw_labels(folder, data, data.images[i]) for i in chosen]
    captions = [data.images[i].file_name for i in chosen]
    write_image(out, contact_sheet(pictures, columns=4, tile_px=400, captions=captions))


def draw_labels(folder: Path, data: KeypointDataset, image: ImageLabels) -> np.ndarray:
    """The image with the labels of all its objects drawn."""
    rgb = load_rgb(folder / image.file_name)
    for category in data.categories:
        mine = [a for a in image.annotations if a.category_id == category.id]
        boxes = np.array([a.box_xyxy for a in mine]).reshape(-1, 4)
        keypoints = np.array([a.keypoints for a in mine]).reshape(-1, len(category.schema), 3)
        rgb = draw_objects(rgb, category.schema, boxes, keypoints, names=True)
    return rgb

"""Objects of several categories on one picture."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synth.dataset.coco import Category
from synth.inspect.drawing import draw_objects
from synth.types import Array, Rgb


def draw_categories(
    rgb: Rgb,
    categories: Sequence[Category],
    labels: NDArray[np.int64],
    boxes: Array,
    keypoints: Array,
    captions: Sequence[str] = (),
    **style: Any,
) -> Rgb:
    """A copy of `rgb` with each object drawn by its category's schema; style: as draw_objects takes it.

    labels: (N,) counted from 1. boxes: (N, 4) xyxy. keypoints: (N, K, 3), padded to the most of a category.
    captions: one an object, or none.
    """
    for label, category in enumerate(categories, start=1):
        own = np.flatnonzero(labels == label)
        rgb = draw_objects(
            rgb,
            category.schema,
            boxes[own],
            keypoints[own, : len(category.schema)],
            captions=[captions[int(i)] for i in own] if captions else (),
            **style,
        )
    return rgb

"""Rendered images that exist only while they are trained on: SYNTH=online.

torchvision is imported before OpenGL: with Mesa's software rasterizer loaded first, importing it crashes.
"""

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torchvision  # noqa: F401

from synth.dataset.coco import Category
from synth.dataset.log import ANNOTATIONS
from synth.generate.images import Images
from synth.generate.job import RenderJob
from synth.generate.run import generate
from synth.types import Labels, Rgb
from train.data.samples import read_samples
from train.types import Sample


class OnlineImages:
    """Image i of the render job, rendered when it is asked for; every process opens its own renderer."""

    def __init__(self, job: RenderJob, category: Category) -> None:
        self._job, self._category = job, category
        self._images: Images | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_images": None}

    def view(self, index: int) -> tuple[Rgb, Sample]:
        """(H, W, 3) RGB, as it would be read back from a data set of this job, and its labels."""
        if self._images is None:
            self._images = Images(self._job)
        jpeg, _, labels = self._images.render(index)
        rgb = np.asarray(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB), dtype=np.uint8)
        name = Path(f"{self._job.object_path} seed {self._job.seed} image {index}")
        return rgb, sample_of(labels, name, rgb.shape[1], rgb.shape[0], self._category)


def sample_of(labels: Labels, name: Path, width: int, height: int, category: Category) -> Sample:
    """The labels of the category's objects, as reading them from annotations.json gives them."""
    own = [n for n, category_id in enumerate(labels.category_id) if category_id == category.id]
    return Sample(
        image_path=name,
        width=width,
        height=height,
        boxes=np.array([labels.boxes_xyxy[n] for n in own], dtype=np.float64).reshape(-1, 4),
        labels=np.ones(len(own), dtype=np.int64),
        keypoints=np.array([labels.keypoints[n] for n in own]).reshape(-1, len(category.schema), 3),
        area=np.array([float(labels.area_px[n]) for n in own]),
        iscrowd=np.zeros(len(own), dtype=bool),
        visible_fraction=np.array([float(labels.visible_fraction[n]) for n in own]),
        segmentations=tuple(labels.segmentation[n] for n in own),
    )


def online_validation(job: RenderJob, folder: Path, count: int, category: Category) -> tuple[Sample, ...]:
    """Images to choose the best snapshot on, rendered once into `folder`, of another seed than the job's: by
    the first of torchrun's processes, the others wait for it."""
    if os.environ.get("RANK", "0") == "0":
        generate(replace(job, seed=job.seed + 1), folder, count, 1)
    while not (folder / ANNOTATIONS).exists():
        time.sleep(0.5)
    return read_samples(folder, category)

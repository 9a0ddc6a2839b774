"""From a photo and its labels to the network's input; albumentations does what touches pixels.

Two coordinate conventions meet here. Ours is continuous (a pixel's centre lies at index + 0.5), and so is
albumentations' Resize. Its HorizontalFlip and Affine take indices (a pixel's centre lies at its index): in
`_move`, points are shifted by half a pixel around those two.
"""

import os
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from synth.dataset.coco import Category
from synth.system.pictures import read_image
from synth.types import NOT_LABELLED, KeypointSchema, Rgb
from train.config import AugmentConfig, CropConfig, DataConfig
from train.data.crops import cut_window, drawn_part, drawn_window
from train.data.mix import Draw
from train.data.objects import Objects, affine, objects_of, resize, scaled
from train.data.online import OnlineImages
from train.runtime import fit_size
from train.types import Sample

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
import albumentations as A  # noqa: N812
import cv2

MIN_BOX_PX = 2.0
CHOICE = 1
"""Stream of the choice between a crop and the whole picture."""


class Augmenter:
    """Draws one augmented view of a picture; the same seed draws the same view.

    schemas: of the categories, in the order of their labels. A mirrored view is drawn only if every object in
    the picture declares flip_pairs.
    """

    def __init__(self, config: AugmentConfig, *schemas: KeypointSchema) -> None:
        self._flip = config.flip
        self._may_flip = np.array([schema.flip_pairs is not None for schema in schemas])
        most = max(map(len, schemas))
        self._orders = np.array([flipped_order(schema, most) for schema in schemas])
        self._geometry = _geometry(config)
        self._appearance = _appearance(config)

    def __call__(
        self, rgb: Rgb, objects: Objects, seed: int, crops: CropConfig | None = None, crop_px: int = 0
    ) -> tuple[Rgb, Objects]:
        """crops: to show a crop of side crop_px instead of the whole picture."""
        flip_seed, geometry_seed, appearance_seed = (
            int(s) for s in np.random.SeedSequence(seed).generate_state(3)
        )
        wanted = np.random.default_rng(flip_seed).random() < self._flip
        if wanted and self._may_flip[objects.labels - 1].all():
            rgb, objects = mirrored(rgb, objects, self._orders)
        if crops is None:
            rgb, objects = _move(_seeded(self._geometry, geometry_seed), rgb, objects)
        else:
            window = drawn_window(objects, rgb.shape[1], rgb.shape[0], crops, geometry_seed)
            rgb, objects = cut_window(rgb, window, crop_px), affine(objects, window.matrix(crop_px))
        view: Rgb = _seeded(self._appearance, appearance_seed)(image=rgb)["image"]
        return view, objects


def flipped_order(schema: KeypointSchema, count: int) -> list[int]:
    """For each of `count` keypoints, the one whose place it takes in a mirrored picture; padding stays."""
    order = list(range(count))
    for a, b in schema.flip_pairs or ():
        order[a], order[b] = b, a
    return order


def mirrored(rgb: Rgb, objects: Objects, orders: NDArray[np.int64]) -> tuple[Rgb, Objects]:
    """The picture mirrored left to right. orders: (categories, K), each label's flipped_order."""
    rgb, moved = _move(A.Compose([A.HorizontalFlip(p=1)], keypoint_params=_points()), rgb, objects)
    renamed = np.take_along_axis(moved.keypoints, orders[objects.labels - 1][:, :, None], axis=1)
    return rgb, replace(moved, keypoints=renamed)


def _points() -> A.KeypointParams:
    return A.KeypointParams(format="xy", remove_invisible=False)


def _geometry(config: AugmentConfig) -> A.Compose:
    affine = A.Affine(
        scale=(1 - config.scale, 1 + config.scale),
        rotate=(-config.rotate_degrees, config.rotate_degrees),
        translate_percent=(-config.translate, config.translate),
        keep_ratio=True,
        border_mode=cv2.BORDER_REPLICATE,
        p=config.geometry,
    )
    return A.Compose([affine], keypoint_params=_points())


def _appearance(config: AugmentConfig) -> A.Compose:
    """Changes of pixels alone; by default MotionBlur would drag the picture off its keypoints."""
    around_one = (1 - config.color, 1 + config.color)
    return A.Compose(
        [
            A.ColorJitter(around_one, around_one, around_one, (-config.hue, config.hue), p=0.8),
            A.ToGray(p=config.gray),
            A.RandomShadow(
                (0, 0, 1, 1), shadow_dimension=3, shadow_intensity_range=(0.2, 0.5), p=config.shadow
            ),
            A.MotionBlur((3, 7), allow_shifted=False, direction_range=(0, 0), p=config.blur),
            A.GaussianBlur((0, 0), (0.3, 1.5), p=config.blur),
            A.GaussNoise((0.01, 0.05), p=config.noise),
            A.ImageCompression(quality_range=(40, 95), p=config.jpeg),
        ]
    )


def _seeded(compose: A.Compose, seed: int) -> A.Compose:
    """Gives every transform a stream of its own: Compose.set_random_seed gives all of them the same."""
    seeds = np.random.SeedSequence(seed).generate_state(len(compose.transforms))
    for transform, own in zip(compose.transforms, seeds, strict=True):
        transform.set_random_seed(int(own))
    return compose


def _move(compose: A.Compose, rgb: Rgb, objects: Objects) -> tuple[Rgb, Objects]:
    """Applies an albumentations transform that counts pixels from their centres to picture and points."""
    n, k, _ = objects.keypoints.shape
    points = np.concatenate([objects.keypoints[..., :2].reshape(-1, 2), *objects.extents])
    result = compose(image=rgb, keypoints=points - 0.5)
    moved = np.asarray(result["keypoints"], dtype=np.float64).reshape(-1, 2) + 0.5
    assert len(moved) == len(points), "albumentations dropped keypoints"
    keypoints = objects.keypoints.copy()
    keypoints[..., :2] = moved[: n * k].reshape(n, k, 2)
    ends = np.cumsum([len(o) for o in objects.extents]) + n * k
    extents = tuple(moved[end - len(o) : end] for o, end in zip(objects.extents, ends, strict=True))
    return result["image"], replace(objects, keypoints=keypoints, extents=extents)


def to_target(objects: Objects, width: int, height: int, config: DataConfig) -> dict[str, Tensor]:
    """torchvision's target: boxes (N, 4), labels (N,), keypoints (N, K, 3), v = 0 outside the picture.

    A box holds the object's extent points and its labelled keypoints with box_margin_px around them, cut at
    the picture's edge. Objects of which less than min_visible_fraction is visible are left out.
    """
    keypoints = objects.keypoints.copy()
    x, y = keypoints[..., 0], keypoints[..., 1]
    inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
    keypoints[~inside, 2] = NOT_LABELLED
    limits = np.array([width, height], dtype=np.float64)
    kept, boxes = [], []
    for i, points in enumerate(objects.extents):
        low, high = points.min(axis=0), points.max(axis=0)
        cut_low, cut_high = np.clip(low, 0, limits), np.clip(high, 0, limits)
        share = np.prod(cut_high - cut_low) / max(np.prod(high - low), 1e-9)
        labelled = keypoints[i, keypoints[i, :, 2] > NOT_LABELLED, :2]
        if len(labelled):
            cut_low = np.minimum(cut_low, labelled.min(axis=0) - config.box_margin_px).clip(0, limits)
            cut_high = np.maximum(cut_high, labelled.max(axis=0) + config.box_margin_px).clip(0, limits)
        enough = share * objects.visible_fraction[i] >= config.min_visible_fraction
        if enough and (cut_high - cut_low).min() >= MIN_BOX_PX:
            kept.append(i)
            boxes.append(np.concatenate((cut_low, cut_high)))
    return {
        "boxes": torch.as_tensor(np.array(boxes).reshape(-1, 4), dtype=torch.float32),
        "labels": torch.as_tensor(objects.labels[kept]),
        "keypoints": torch.as_tensor(keypoints[kept], dtype=torch.float32),
    }


class TrainingImages(Dataset[tuple[Tensor, dict[str, Tensor], str]]):
    """Augmented pictures and targets, addressed by Draw; yields (3, H, W) uint8, target, file name.

    target: of to_target, and `seed` () of the random choices the network makes about the picture.
    """

    def __init__(
        self,
        synthetic: tuple[Sample, ...] | OnlineImages,
        real: tuple[Sample, ...],
        categories: Sequence[Category],
        config: DataConfig,
        long_side_px: int,
        crop_px: int = 0,
    ) -> None:
        self._synthetic, self._real = synthetic, real
        self._augment = Augmenter(config.augment, *(category.schema for category in categories))
        self._config = config
        self._long_side_px, self._crop_px = long_side_px, crop_px
        self._largest_px = config.crops.largest_px if crop_px else long_side_px

    def __getitem__(self, draw: Draw) -> tuple[Tensor, dict[str, Tensor], str]:
        source = self._real if draw.real else self._synthetic
        if isinstance(source, OnlineImages):
            rgb, sample = source.view(draw.at)
        else:
            sample = source[draw.at]
            rgb = read_image(sample.image_path)
        objects, crops = objects_of(sample), self._config.crops
        if self._crop_px and np.random.default_rng([draw.seed, CHOICE]).random() < crops.share:
            rgb, objects = self._augment(rgb, objects, draw.seed, crops, self._crop_px)
        else:
            width, height = fit_size(sample.width, sample.height, self._long_side_px)
            objects = scaled(objects, (width / sample.width, height / sample.height))
            rgb, objects = drawn_part(resize(rgb, width, height), objects, self._largest_px, draw.seed)
            rgb, objects = self._augment(rgb, objects, draw.seed)
        height, width = rgb.shape[:2]
        image = torch.from_numpy(np.ascontiguousarray(rgb)).permute(2, 0, 1)
        target = {**to_target(objects, width, height, self._config), "seed": torch.tensor(draw.seed)}
        return image, target, str(sample.image_path)

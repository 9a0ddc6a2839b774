import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import albumentations as A  # noqa: N812
import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from synth.dataset.coco import Category
from synth.types import KeypointSchema
from train.config import AugmentConfig, DataConfig, TrainConfig
from train.data.mix import Draw
from train.data.objects import Objects, extent_points, resize, scaled
from train.data.samples import read_samples
from train.data.transforms import (
    Augmenter,
    TrainingImages,
    _move,
    _points,
    fit_size,
    flipped_order,
    mirrored,
    to_target,
)

W, H = 200, 120
PLAIN = AugmentConfig(geometry=0, flip=0, color=0, hue=0, gray=0, shadow=0, blur=0, noise=0, jpeg=0)
ONE = np.ones(1, dtype=np.int64)
DOTS = [(50.5, 40.5), (150.25, 80.7), (100.0, 60.0)]


def painted(x: float, y: float) -> Any:
    """A soft dot whose centre lies at (x, y), continuous px."""
    rows, columns = np.mgrid[0:H, 0:W] + 0.5
    dot = 255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 2.5**2))
    return np.repeat(dot[..., None], 3, axis=2).astype(np.uint8)


def centroid(rgb: Any) -> tuple[float, float]:
    weight = np.where(rgb[..., 0] > 12, rgb[..., 0], 0).astype(float)
    rows, columns = np.mgrid[0 : rgb.shape[0], 0 : rgb.shape[1]] + 0.5
    return float((weight * columns).sum() / weight.sum()), float((weight * rows).sum() / weight.sum())


def one_keypoint(x: float, y: float) -> Objects:
    return Objects(np.array([[[x, y, 2.0]]]), (np.array([[x - 9, y - 9], [x + 9, y + 9]]),), np.ones(1), ONE)


AFFINES = [
    A.Affine(scale=(1.3, 1.3), p=1),
    A.Affine(scale=(0.7, 0.7), p=1),
    A.Affine(rotate=(30, 30), p=1),
    A.Affine(translate_px={"x": (7, 7), "y": (-5, -5)}, p=1),
    A.Affine(rotate=(-15, -15), scale=(0.9, 0.9), translate_percent=(0.05, 0.05), p=1),
]


@pytest.mark.parametrize("transform", [*AFFINES, A.HorizontalFlip(p=1)], ids=str)
@pytest.mark.parametrize("dot", DOTS)
def test_keypoint_stays_on_its_painted_dot_when_moved(transform: Any, dot: tuple[float, float]) -> None:
    compose = A.Compose([transform], keypoint_params=_points())
    rgb, objects = _move(compose, painted(*dot), one_keypoint(*dot))
    assert objects.keypoints[0, 0, :2] == pytest.approx(centroid(rgb), abs=0.05)


@pytest.mark.parametrize("size", [(100, 60), (300, 180), (133, 80)])
@pytest.mark.parametrize("dot", DOTS)
def test_keypoint_stays_on_its_painted_dot_when_resized(
    size: tuple[int, int], dot: tuple[float, float]
) -> None:
    rgb = resize(painted(*dot), *size)
    assert rgb.shape[:2] == size[::-1]
    objects = scaled(one_keypoint(*dot), (size[0] / W, size[1] / H))
    assert objects.keypoints[0, 0, :2] == pytest.approx(centroid(rgb), abs=0.05)


@pytest.mark.parametrize("blur", [{"blur": 1.0}, {"jpeg": 1.0}])
@pytest.mark.parametrize("seed", range(6))
def test_blur_and_compression_do_not_shift_the_picture(blur: dict[str, float], seed: int) -> None:
    augment = Augmenter(PLAIN.model_copy(update=blur), schema_of(1, None))
    rgb, _ = augment(painted(100.0, 60.0), one_keypoint(100.0, 60.0), seed)
    assert centroid(rgb) == pytest.approx((100.0, 60.0), abs=0.15)


@pytest.mark.parametrize("seed", range(8))
def test_whole_augmentation_keeps_keypoint_on_its_dot(seed: int) -> None:
    config = PLAIN.model_copy(update={"geometry": 1.0, "flip": 0.5})
    rgb, objects = Augmenter(config, schema_of(1, ()))(painted(95.0, 57.0), one_keypoint(95.0, 57.0), seed)
    assert objects.keypoints[0, 0, :2] == pytest.approx(centroid(rgb), abs=0.1)


def schema_of(k: int, flips: tuple[tuple[int, int], ...] | None) -> KeypointSchema:
    return KeypointSchema(tuple(f"k{i}" for i in range(k)), (), flips, (0.1,) * k)


def test_mirroring_renames_left_and_right() -> None:
    objects = Objects(
        np.array([[[10.0, 20, 2], [30.0, 20, 1], [20.0, 40, 2]]]),
        (np.array([[5.0, 5], [40, 50]]),),
        np.ones(1),
        ONE,
    )
    _, moved = mirrored(painted(1, 1), objects, np.array([flipped_order(schema_of(3, ((0, 1),)), 3)]))
    np.testing.assert_allclose(
        moved.keypoints[0], [[W - 30, 20, 1], [W - 10, 20, 2], [W - 20, 40, 2]], atol=1e-4
    )


def test_object_without_flip_pairs_is_never_mirrored() -> None:
    config = PLAIN.model_copy(update={"flip": 1.0})
    picture = painted(30, 60)
    for seed in range(10):
        same, _ = Augmenter(config, schema_of(1, None))(picture, one_keypoint(30, 60), seed)
        turned, _ = Augmenter(config, schema_of(1, ()))(picture, one_keypoint(30, 60), seed)
        np.testing.assert_array_equal(same, picture)
        np.testing.assert_array_equal(turned, picture[:, ::-1])


def test_same_seed_draws_the_same_view_and_another_seed_another() -> None:
    augment = Augmenter(AugmentConfig(), schema_of(1, ()))
    picture = np.random.default_rng(0).integers(0, 255, (H, W, 3), dtype=np.uint8)
    views = [augment(picture, one_keypoint(60, 60), seed) for seed in (3, 4, 3)]
    np.testing.assert_array_equal(views[0][0], views[2][0])
    np.testing.assert_array_equal(views[0][1].keypoints, views[2][1].keypoints)
    assert not np.array_equal(views[0][0], views[1][0])


def test_transforms_of_one_view_are_drawn_independently() -> None:
    """albumentations gives every transform of a Compose the same stream: all at one p would fire together."""
    config = PLAIN.model_copy(update={"gray": 0.5, "noise": 0.5})
    augment = Augmenter(config, schema_of(1, None))
    picture = np.full((40, 40, 3), (200, 60, 30), dtype=np.uint8)
    fired = set()
    for seed in range(40):
        view, _ = augment(picture, one_keypoint(20, 20), seed)
        means = view.reshape(-1, 3).mean(axis=0)
        fired.add((bool(np.ptp(means) < 5), bool(view.std(axis=(0, 1)).max() > 0.5)))
    assert fired == {(a, b) for a in (True, False) for b in (True, False)}


def test_keypoint_moved_out_of_the_picture_is_not_labelled() -> None:
    objects = Objects(
        np.array([[[10.0, 10, 2], [-0.5, 10, 2], [199.9, 10, 1], [200.0, 10, 2], [10, -2, 0]]]),
        (np.array([[0.0, 5], [200, 20]]),),
        np.ones(1),
        ONE,
    )
    target = to_target(objects, W, H, DataConfig())
    assert target["keypoints"].shape == (1, 5, 3)
    assert target["keypoints"][0, :, 2].tolist() == [2, 0, 1, 0, 0]


def test_albumentations_keeps_keypoints_that_leave_the_picture() -> None:
    shift = A.Affine(translate_px={"x": (150, 150), "y": (0, 0)}, p=1)
    objects = one_keypoint(100, 60)
    _, moved = _move(A.Compose([shift], keypoint_params=_points()), painted(100, 60), objects)
    assert moved.keypoints[0, 0, 0] == pytest.approx(250, abs=1e-3)


def test_target_box_holds_outline_and_labelled_keypoints_with_margin() -> None:
    keypoints = np.array([[[20.0, 30, 2], [90, 70, 1], [150, 100, 0]]])
    target = to_target(
        Objects(keypoints, (np.array([[30.0, 40], [60, 50]]),), np.ones(1), ONE), W, H, DataConfig()
    )
    assert target["boxes"].tolist() == [[18, 28, 92, 72]]
    assert target["labels"].tolist() == [1]


@pytest.mark.parametrize(("visible", "kept"), [(1.0, 1), (0.4, 0)])
def test_object_of_which_too_little_is_visible_is_no_target(visible: float, kept: int) -> None:
    half_out = Objects(np.zeros((1, 1, 3)), (np.array([[-30.0, 10], [30, 40]]),), np.array([visible]), ONE)
    assert len(to_target(half_out, W, H, DataConfig())["boxes"]) == kept


def test_negative_image_gives_empty_targets_of_the_right_shape() -> None:
    empty = Objects(np.zeros((0, 4, 3)), (), np.zeros(0), ONE[:0])
    _, moved = Augmenter(AugmentConfig(), schema_of(4, ()))(painted(3, 3), empty, 1)
    target = to_target(moved, W, H, DataConfig())
    assert (target["boxes"].shape, target["keypoints"].shape) == ((0, 4), (0, 4, 3))


@pytest.mark.parametrize("kind", ["compressed", "counts", "polygon"])
def test_outline_of_a_turned_mask_bounds_it_tightly(kind: str) -> None:
    mask = np.zeros((H, W), dtype=np.uint8)
    cv2.fillPoly(mask, [np.array([[40, 30], [160, 80], [155, 90], [35, 40]])], 1)
    rows, columns = np.nonzero(mask)
    box = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], dtype=float)
    rle = coco_mask.encode(np.asfortranarray(mask))
    if kind == "counts":
        flat = mask.reshape(-1, order="F")
        edges = np.flatnonzero(np.diff(np.concatenate(([0], flat, [0]))))
        counts = np.diff(np.concatenate(([0], edges, [flat.size]))).tolist()
        segmentation: Any = {"size": [H, W], "counts": counts}
    elif kind == "compressed":
        segmentation = {"size": [H, W], "counts": rle["counts"].decode()}
    else:
        segmentation = [[40.5, 30.5, 160.5, 80.5, 155.5, 90.5, 35.5, 40.5]]
    points = extent_points(box, segmentation, W, H)
    tolerance = 1.1 if kind == "polygon" else 1e-9
    np.testing.assert_allclose(np.concatenate((points.min(0), points.max(0))), box, atol=tolerance)
    angle = math.radians(-24)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    turned = points @ turn.T
    assert np.ptp(turned[:, 1]) < 17


def test_outline_without_a_mask_has_the_boxs_bounds() -> None:
    points = extent_points(np.array([10.0, 20, 50, 40]), None, W, H)
    assert np.concatenate((points.min(0), points.max(0))) == pytest.approx([10, 20, 50, 40])


@pytest.mark.parametrize(
    ("size", "expected"), [((1920, 1080), (640, 360)), ((1080, 1920), (360, 640)), ((320, 240), (640, 480))]
)
def test_longer_side_is_fitted(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert fit_size(*size, 640) == expected


def test_training_image_and_target_agree(
    coco_folder: Callable[..., Path], category: Category, tiny_config: TrainConfig
) -> None:
    samples = read_samples(coco_folder(n=2), category)
    config = tiny_config.data.model_copy(update={"augment": PLAIN})
    image, target, name = TrainingImages(samples, (), [category], config, 80)[Draw(False, 0, 1)]
    assert image.shape == (3, 60, 80)
    assert name.endswith("000.jpg")
    x, y, _ = target["keypoints"][0, 0].tolist()
    red, green, blue = image[:, int(y), int(x)].tolist()
    assert red > 150 > max(green, blue) + 20
    assert target["keypoints"][0, 0, :2].tolist() == pytest.approx(
        (samples[0].keypoints[0, 0, :2] / 2).tolist(), abs=1e-3
    )


def test_crowds_are_not_targets(
    coco_folder: Callable[..., Path], category: Category, tiny_config: TrainConfig
) -> None:
    (sample,) = read_samples(coco_folder(n=1), category)
    crowd = replace(sample, iscrowd=np.ones(1, dtype=bool))
    images = TrainingImages((crowd,), (), [category], tiny_config.data, 160)
    assert len(images[Draw(False, 0, 1)][1]["boxes"]) == 0


def test_albumentations_does_not_look_for_updates_online() -> None:
    assert os.environ["NO_ALBUMENTATIONS_UPDATE"] == "1"

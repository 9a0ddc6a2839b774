"""Factories that draw tiny data sets: dark ellipses with a red nose and a blue tail on a light ground."""

import json
import math
import os
import socket
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from synth.dataset.coco import Annotation, Category, ImageLabels, write_coco
from synth.types import KeypointSchema
from tests.conftest import HANG_S
from train.config import TrainConfig, load_train_config, with_changes

WIDTH, HEIGHT = 160, 120
WHOLE_PICTURES = Path(__file__).parents[1] / "bench" / "whole_pictures.yaml"


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def category() -> Category:
    return Category(1, "bug", KeypointSchema(("nose", "tail"), ((0, 1),), (), (0.08, 0.08)))


def torchrun(commands: Sequence[Sequence[str]], cwd: Path) -> None:
    """Runs one command a rank, side by side, in the environment that torchrun gives them. None may fail."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(len(commands))}
    ranks = []
    for rank, command in enumerate(commands):
        own = {**shared, "OMP_NUM_THREADS": "1", "RANK": str(rank), "LOCAL_RANK": str(rank)}
        ranks.append(
            subprocess.Popen(
                command,
                cwd=cwd,
                env={**os.environ, **own},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    try:
        outputs = [process.communicate(timeout=HANG_S)[0] for process in ranks]
    finally:
        for process in ranks:
            process.kill()
    assert [process.returncode for process in ranks] == [0] * len(ranks), "\n".join(outputs)


@dataclass(frozen=True)
class Drawing:
    """One drawn image. boxes: (N, 4). keypoints: (N, 2, 3)."""

    rgb: Any
    boxes: Any
    keypoints: Any


def draw_bugs(seed: int, count: int = 1) -> Drawing:
    rng = np.random.default_rng(seed)
    rgb = np.full((HEIGHT, WIDTH, 3), rng.integers(150, 230, 3), dtype=np.uint8)
    rgb = np.clip(rgb + rng.normal(0, 6, rgb.shape), 0, 255).astype(np.uint8)
    boxes, keypoints = [], []
    for i in range(count):
        long, short, angle = rng.uniform(22, 30), rng.uniform(10, 13), rng.uniform(0, 2 * math.pi)
        x = WIDTH * (i + 0.5) / count + rng.uniform(-8, 8)
        y = HEIGHT / 2 + rng.uniform(-18, 18)
        along = np.array([math.cos(angle), math.sin(angle)])
        at = tuple(round((c - 0.5) * 16) for c in (x, y))
        axes = round(long * 16), round(short * 16)
        cv2.ellipse(rgb, at, axes, math.degrees(angle), 0, 360, (40, 60, 40), -1, cv2.LINE_AA, 4)
        ends = []
        for sign, color in ((1, (220, 30, 30)), (-1, (30, 30, 220))):
            point = np.array([x, y]) + sign * along * long * 0.7
            center = tuple(round(float(c - 0.5) * 16) for c in point)
            cv2.circle(rgb, center, 6 * 16, color, -1, cv2.LINE_AA, 4)
            ends.append([*point, 2.0])
        half = np.hypot([long * along[0], long * along[1]], [short * along[1], short * along[0]])
        middle = np.array([x, y])
        boxes.append([*np.maximum(0, middle - half), *np.minimum((WIDTH, HEIGHT), middle + half)])
        keypoints.append(ends)
    return Drawing(rgb, np.array(boxes).reshape(-1, 4), np.array(keypoints).reshape(-1, 2, 3))


def cover_ends(drawing: Drawing, seed: int) -> None:
    """Lays a yellow leaf on the nose or the tail of half of the bugs and labels it hidden."""
    rng = np.random.default_rng([seed, 1])
    for nose_and_tail in drawing.keypoints:
        if rng.uniform() < 0.5:
            end = nose_and_tail[rng.integers(2)]
            at = tuple(round(float(c - 0.5) * 16) for c in end[:2])
            cv2.circle(drawing.rgb, at, 9 * 16, (230, 210, 40), -1, cv2.LINE_AA, 4)
            end[2] = 1.0


def write_jpeg(path: Path, rgb: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
    return path


@pytest.fixture
def draw() -> Callable[..., Drawing]:
    return draw_bugs


@pytest.fixture
def coco_folder(tmp_path: Path, category: Category) -> Callable[..., Path]:
    """Writes images/ and annotations.json; every fifth image is a negative unless negatives=False. covered:
    of half of the bugs one end is hidden, see cover_ends."""

    def make(
        name: str = "rendered", n: int = 6, seed: int = 0, negatives: bool = True, covered: bool = False
    ) -> Path:
        folder = tmp_path / name
        images = []
        for i in range(n):
            drawing = draw_bugs(seed * 1000 + i, 0 if negatives and i % 5 == 4 else 1 + i % 2)
            if covered:
                cover_ends(drawing, seed * 1000 + i)
            write_jpeg(folder / "images" / f"{i:03}.jpg", drawing.rgb)
            annotations = tuple(
                Annotation(category.id, box, points, float(np.prod(box[2:] - box[:2])))
                for box, points in zip(drawing.boxes, drawing.keypoints, strict=True)
            )
            images.append(ImageLabels(i + 1, f"images/{i:03}.jpg", WIDTH, HEIGHT, annotations))
        write_coco(folder / "annotations.json", [category], images)
        return folder

    return make


@pytest.fixture
def photo_folder(tmp_path: Path) -> Callable[..., Path]:
    """Writes images/NAME.jpg and annotations/NAME.json in the {"bboxes", "keypoints"} shape."""

    def make(name: str = "photos", n: int = 4, seed: int = 7) -> Path:
        folder = tmp_path / name
        for i in range(n):
            drawing = draw_bugs(seed * 1000 + i, 1 + i % 2)
            write_jpeg(folder / "images" / f"p{i}.jpg", drawing.rgb)
            points = drawing.keypoints.copy()
            points[..., 2] = 1
            (folder / "annotations").mkdir(exist_ok=True)
            labels = {"bboxes": drawing.boxes.tolist(), "keypoints": points.tolist()}
            (folder / "annotations" / f"p{i}.json").write_text(json.dumps(labels))
        return folder

    return make


@pytest.fixture
def tiny_config() -> TrainConfig:
    return tiny()


def tiny() -> TrainConfig:
    """The recipe of whole pictures at 160 px with smaller heads and no workers."""
    return with_changes(
        load_train_config(WHOLE_PICTURES),
        {
            "model": {
                "long_side_px": 160,
                "fpn_channels": 32,
                "box_head_channels": 64,
                "keypoint_head_channels": 32,
                "keypoint_head_layers": 2,
                "keypoint_reach": 1.0,
                "keypoint_cells": 14,
                "regions": 16,
                "positive_share": 0.25,
                "rpn_pre_nms": 100,
                "rpn_post_nms": 50,
                "anchor_sizes": [[16, 24], [32, 44], [60, 80], [112, 140]],
            },
            "data": {"workers": 0, "real_fraction": 0.0},
            "schedule": {"max_steps": 4, "steps_per_epoch": 2},
        },
        "tiny",
    )


def gently(config: TrainConfig, steps: int, **augment: float) -> TrainConfig:
    """The config for one epoch of so many steps, on drawn pictures that are hardly augmented."""
    little = {"geometry": 0.3, "rotate_degrees": 5, "blur": 0, "noise": 0, **augment}
    schedule = {"max_steps": steps, "steps_per_epoch": steps}
    return with_changes(config, {"schedule": schedule, "data": {"augment": little}}, "gently")

"""Keypoints in a photo of any size, from a snapshot's weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from synth.coco import Category
from synth.types import Array
from train.checkpoint import load_model
from train.metrics import Found
from train.model import KeypointDetector
from train.transforms import fit_size, resize


@dataclass(frozen=True)
class Detection:
    """One object, in px of the photo. keypoints: (K, 2) x, y. keypoint_scores: (K,) in [0, 1]."""

    box_xyxy: Array
    score: float
    name: str
    keypoints: Array
    keypoint_scores: Array


class Detector:
    """detector(rgb) -> detections, best first. Scores below the trained score_threshold are left out."""

    def __init__(
        self, model: KeypointDetector, category: Category, long_side_px: int, device: torch.device
    ) -> None:
        self.category = category
        self._model = model
        self._long_side_px = long_side_px
        self._device = device

    @classmethod
    def load(cls, folder: Path | str, device: str | torch.device = "cpu") -> Self:
        """folder: a snapshot (OUT/best) or a run holding one (OUT). Raises DataError if there is none."""
        device = torch.device(device)
        model, meta = load_model(snapshot_folder(Path(folder)))
        return cls(model.to(device), meta.category, meta.config.model.long_side_px, device)

    def __call__(self, rgb: NDArray[np.uint8]) -> list[Detection]:
        """rgb: (H, W, 3) uint8 of any size."""
        boxes, scores, keypoints, keypoint_scores = self._run(rgb)
        return [
            Detection(box, float(score), self.category.name, points, point_scores)
            for box, score, points, point_scores in zip(
                boxes, scores, keypoints, keypoint_scores, strict=True
            )
        ]

    def found(self, rgb: NDArray[np.uint8]) -> Found:
        """The same detections as arrays, for metrics."""
        boxes, scores, keypoints, _ = self._run(rgb)
        return Found(boxes, scores, keypoints)

    def _run(self, rgb: NDArray[np.uint8]) -> tuple[Array, Array, Array, Array]:
        height, width = rgb.shape[:2]
        fitted = fit_size(width, height, self._long_side_px)
        image = torch.from_numpy(np.ascontiguousarray(resize(rgb, *fitted))).permute(2, 0, 1)
        trained = self._model.training
        self._model.eval()
        with torch.no_grad():
            result = self._model([image.to(self._device).float() / 255])[0]
        self._model.train(trained)
        scale = np.array([width / fitted[0], height / fitted[1]])
        arrays = {key: value.cpu().numpy().astype(np.float64) for key, value in result.items()}
        return (
            arrays["boxes"] * np.tile(scale, 2),
            arrays["scores"],
            arrays["keypoints"][..., :2] * scale,
            arrays["keypoints_scores"],
        )


def snapshot_folder(folder: Path) -> Path:
    """`folder` itself, or its `best` where `folder` is a run's output."""
    return folder / "best" if (folder / "best" / "meta.json").is_file() else folder

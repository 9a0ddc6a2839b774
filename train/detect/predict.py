"""Keypoints in a photo of any size, from a snapshot's weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from synth.dataset.coco import Category
from synth.errors import ConfigError
from synth.types import Array
from train.data.transforms import resize
from train.model.detector import KeypointDetector
from train.model.snapshot import label_of, load_model
from train.runtime import Detection, detection_score, fit_size, without_doubles
from train.types import Found

MIN_SIDE_PX, MAX_SIDE_PX = 64, 4096


@dataclass(frozen=True)
class Settings:
    """What may be chosen at inference; None keeps what the weights were trained with.

    score: of a detection, the least that counts. nms: IoU above which the weaker of two boxes goes.
    detections: at most, in one photo. long_side_px: to which a photo is scaled.
    """

    score: float | None = None
    nms: float | None = None
    detections: int | None = None
    long_side_px: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("score", self.score), ("nms", self.nms)):
            if value is not None and not 0 <= value <= 1:
                raise ConfigError(f"{name}: {value:g}, expected a number from 0 to 1")
        if self.detections is not None and self.detections < 1:
            raise ConfigError(f"detections: {self.detections}, expected at least 1")
        if self.long_side_px is not None and not MIN_SIDE_PX <= self.long_side_px <= MAX_SIDE_PX:
            raise ConfigError(f"size: {self.long_side_px}, expected {MIN_SIDE_PX} to {MAX_SIDE_PX} px")


class Detector:
    """detector(rgb) -> detections, best first.

    >>> from train.detect.predict import Detector, Settings
    >>> detector = Detector.load("runs/glue_tube/train", settings=Settings(score=0.3, detections=2))
    >>> best = detector(rgb)[0]
    >>> best.name, best.box_xyxy.shape, best.keypoints.shape, best.keypoint_scores.shape
    ('glue_tube', (4,), (2, 2), (2,))
    """

    def __init__(
        self,
        model: KeypointDetector,
        categories: Sequence[Category],
        long_side_px: int,
        device: torch.device,
    ) -> None:
        self.categories = tuple(categories)
        self._labels = np.arange(1, 1 + len(categories))
        self._model = model
        self._long_side_px = long_side_px
        self._device = device

    @classmethod
    def load(
        cls, folder: Path | str, device: str | torch.device = "cpu", settings: Settings | None = None
    ) -> Self:
        """folder: a snapshot (OUT/best) or a run holding one (OUT). Raises DataError if there is none."""
        device, chosen = torch.device(device), settings or Settings()
        model, meta = load_model(snapshot_folder(Path(folder)))
        choose(model, chosen)
        side = chosen.long_side_px or meta.config.model.long_side_px
        return cls(model.to(device), meta.categories, side, device)

    def __call__(self, rgb: NDArray[np.uint8]) -> list[Detection]:
        """rgb: (H, W, 3) uint8 of any size."""
        found = self.found(rgb)
        assert found.keypoint_scores is not None
        detections = []
        for i, label in enumerate(found.labels):
            category = self.categories[label - 1]
            own = slice(len(category.schema))
            points, point_scores = found.keypoints[i, own], found.keypoint_scores[i, own]
            detections.append(
                Detection(found.boxes[i], float(found.scores[i]), category.name, points, point_scores)
            )
        return detections

    def narrow(self, wanted: Sequence[Category], where: str) -> None:
        """Finds only these objects from now on, labelled in this order; `where` names the weights in errors.

        Raises DataError for an object the weights do not know or know with other keypoints.
        """
        self._labels = self._labels[[label_of(self.categories, category, where) - 1 for category in wanted]]
        self.categories = tuple(wanted)

    @property
    def calibration(self) -> Array:
        """(categories, 2): what the keypoints' confidences went through, see model.calibrated."""
        return self._model.calibration.cpu().numpy().astype(np.float64)[self._labels - 1]

    def found(self, rgb: NDArray[np.uint8]) -> Found:
        """The same detections as arrays, for metrics."""
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
        row, label = np.nonzero(arrays["labels"][:, None] == self._labels)
        counts = [len(category.schema) for category in self.categories]
        sure = arrays["keypoints_scores"][row, : max(counts)]
        scores = np.array(
            [
                detection_score(score, own[: counts[at]])
                for score, own, at in zip(arrays["scores"][row], sure, label, strict=True)
            ]
        )
        best = np.argsort(-scores, kind="stable")
        best = best[scores[best] >= self._model.roi_heads.score_thresh]
        boxes, points = arrays["boxes"][row] * np.tile(scale, 2), arrays["keypoints"][row, :, :2] * scale
        own_points = [points[i, : counts[label[i]]] for i in best]
        best = best[without_doubles(boxes[best], label[best], own_points)]
        return Found(
            boxes=boxes[best],
            scores=scores[best],
            labels=label[best] + 1,
            keypoints=points[best, : max(counts)],
            keypoint_scores=sure[best],
        )


def choose(model: KeypointDetector, settings: Settings) -> None:
    """Sets the network's thresholds and number of detections."""
    heads = model.roi_heads
    heads.score_thresh = heads.score_thresh if settings.score is None else settings.score
    heads.nms_thresh = heads.nms_thresh if settings.nms is None else settings.nms
    heads.detections_per_img = settings.detections or heads.detections_per_img


def snapshot_folder(folder: Path) -> Path:
    """`folder` itself, or its `best` where `folder` is a run's output."""
    return folder / "best" if (folder / "best" / "meta.json").is_file() else folder

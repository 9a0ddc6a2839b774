"""Keypoints in a photo of any size, from a snapshot's weights."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from synth.dataset.coco import Category
from synth.errors import ConfigError, DataError
from synth.system.pictures import read_image
from synth.types import Array, Rgb
from train.data.objects import resize
from train.model.detector import KeypointDetector
from train.model.snapshot import Meta, label_of, load_model
from train.runtime import (
    Detection,
    Tiling,
    best_of_views,
    cut,
    cut_off,
    detection_score,
    drop_duplicates,
    fit_size,
    in_its_place,
    square_about,
)
from train.types import Found

MIN_SIDE_PX, MAX_SIDE_PX = 64, 4096
MIN_SMALLEST_PX = 8
SMALL_PX = 24
"""Objects whose longer side is smaller at the network's input are hard to find."""
MOST_READABLE = 0.25
"""Share of a tile's side that the smallest objects have in it at most, however large all in training were."""


@dataclass(frozen=True)
class InferenceSettings:
    """What may be chosen at inference; None keeps what the weights were trained with.

    score: the least score of a detection that counts, in [0, 1]. nms: IoU in [0, 1] above which the weaker of
    two boxes is suppressed. detections: the most in one photo. long_side_px: a photo is scaled until its
    longer side has so many px, 64 to 4096. smallest_px: longer side, in px of the photo, of the smallest
    objects to find: photos too large for them are read in overlapping tiles; 0: never; None: as small in the
    photo as in the training images. Raises ConfigError for values outside.
    """

    score: float | None = None
    nms: float | None = None
    detections: int | None = None
    long_side_px: int | None = None
    smallest_px: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("score", self.score), ("nms", self.nms)):
            if value is not None and not 0 <= value <= 1:
                raise ConfigError(f"{name}: {value:g}, expected a number from 0 to 1")
        if self.detections is not None and self.detections < 1:
            raise ConfigError(f"detections: {self.detections}, expected at least 1")
        if self.long_side_px is not None and not MIN_SIDE_PX <= self.long_side_px <= MAX_SIDE_PX:
            raise ConfigError(f"size: {self.long_side_px}, expected {MIN_SIDE_PX} to {MAX_SIDE_PX} px")
        if self.smallest_px is not None and 0 != self.smallest_px < MIN_SMALLEST_PX:
            raise ConfigError(
                f"smallest object: {self.smallest_px} px, expected 0 (no tiles) or at least {MIN_SMALLEST_PX}"
            )


class Detector:
    """detector(rgb) -> detections, best first. Boxes and keypoints are in px of the photo.

    >>> from train.detect.predict import Detector, InferenceSettings
    >>> detector = Detector.load("runs/glue_tube/train", settings=InferenceSettings(score=0.3, detections=2))
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
        crop_px: int = 0,
        crop_reach: float = 1.3,
        score: float | None = None,
        tiling: Tiling | None = None,
        detections: int | None = None,
    ) -> None:
        """crop_px, crop_reach: of the second look at each detection, as in ModelConfig; 0: none.
        score: the least of a detection that counts, after both looks; None: the network's.
        tiling: None: photos are read whole. detections: the most in a photo; None: no limit but the
        network's, of what it sees at once."""
        self.categories = tuple(categories)
        self._labels = np.arange(1, 1 + len(categories))
        self._model = model
        self._long_side_px = long_side_px
        self._device = device
        self._crop_px, self._crop_reach = crop_px, crop_reach
        self._score = score
        self._tiling = tiling or Tiling()
        self._detections = detections

    @classmethod
    def load(
        cls, folder: Path | str, device: str | torch.device = "cpu", settings: InferenceSettings | None = None
    ) -> Self:
        """folder: a snapshot (OUT/best) or a run that holds one (OUT). device: as torch.device takes it.

        Raises DataError if there is no snapshot, or a damaged one.
        """
        device, chosen = torch.device(device), settings or InferenceSettings()
        model, meta = load_model(snapshot_folder(Path(folder)))
        sizes, limits = meta.config.model, chosen
        if sizes.crop_px and chosen.score is not None:
            limits = replace(chosen, score=min(chosen.score, model.roi_heads.score_thresh))
        set_detection_limits(model, limits)
        side = chosen.long_side_px or sizes.long_side_px
        return cls(
            model.to(device),
            meta.categories,
            side,
            device,
            sizes.crop_px,
            sizes.crop_reach,
            chosen.score,
            tiling_for(meta, chosen),
            chosen.detections,
        )

    def __call__(self, rgb: Rgb) -> list[Detection]:
        """rgb: (H, W, 3) uint8 of any size."""
        found = self.found(rgb)
        assert found.keypoint_scores is not None
        assert found.keypoint_visibility is not None
        detections = []
        for i, label in enumerate(found.labels):
            category = self.categories[label - 1]
            own = slice(len(category.schema))
            detections.append(
                Detection(
                    found.boxes[i],
                    float(found.scores[i]),
                    category.name,
                    found.keypoints[i, own],
                    found.keypoint_scores[i, own],
                    found.keypoint_visibility[i, own],
                )
            )
        return detections

    def narrow(self, wanted: Sequence[Category], where: str) -> None:
        """From now on only these objects are found, and labels count in this order from 1. where: names the
        weights in errors.

        Raises DataError for an object the weights do not know or know with other keypoints.
        """
        self._labels = self._labels[[label_of(self.categories, category, where) - 1 for category in wanted]]
        self.categories = tuple(wanted)

    @property
    def calibration(self) -> Array:
        """(categories, 2, 2): what is said of each one's keypoints was calibrated with, see
        model.heatmaps.Calibration."""
        return self._model.calibration.cpu().numpy().astype(np.float64)[self._labels - 1]

    def found(self, rgb: Rgb) -> Found:
        """The same detections as arrays, for metrics. rgb: (H, W, 3) uint8 of any size."""
        trained = self._model.training
        self._model.eval()
        least = self._model.roi_heads.score_thresh
        found = self._chosen(self._first_look(rgb), least)
        if self._crop_px and len(found.boxes):
            found = self._second_look(rgb, found)
        found = self._chosen(found, least if self._score is None else self._score)
        self._model.train(trained)
        return taken(found, slice(self._detections))

    def n_tiles(self, width: int, height: int) -> int:
        """In how many tiles a photo of that size is read, besides the whole of it; 0: in none."""
        return len(self._tiling.views(width, height)) - 1

    def input_px(self, width: int, height: int) -> float:
        """How long the photo's longer side is in the network's input, where that sees it closest."""
        longer = max(width, height)
        return self._long_side_px * longer / min(side for *_, side in self._tiling.views(width, height))

    def _first_look(self, rgb: Rgb) -> Found:
        """What the photo shows in its views, each object once."""
        height, width = rgb.shape[:2]
        looks = []
        for view in self._tiling.views(width, height):
            left, top, side = view
            part = rgb[top : top + side, left : left + side]
            fitted = fit_size(part.shape[1], part.shape[0], self._long_side_px)
            found = self._look(resize(part, *fitted))
            found = moved(found, part.shape[1] / fitted[0], part.shape[0] / fitted[1], left, top)
            looks.append(taken(found, ~cut_off(found.boxes, view, width, height)))
        names = vars(looks[0])
        every = Found(**{name: np.concatenate([vars(look)[name] for look in looks]) for name in names})
        numbers = np.repeat(np.arange(len(looks)), [len(look.boxes) for look in looks]).tolist()
        return taken(every, best_of_views(every.boxes, every.scores, every.labels.tolist(), numbers))

    def _second_look(self, rgb: Rgb, first: Found) -> Found:
        """Each detection, or the best that a crop about it shows in its place if that is surer; boxes end
        where the photo does."""
        best = {name: value.copy() for name, value in vars(first).items()}
        ends = np.tile(rgb.shape[1::-1], 2)
        for i, box in enumerate(first.boxes):
            left, top, side = square_about(box, self._crop_reach)
            scale = side / self._crop_px
            crop = cut(rgb, left, top, side, self._crop_px, resize)
            second = moved(self._look(crop), scale, scale, left, top)
            second = replace(second, boxes=second.boxes.clip(0, ends))
            same = second.labels == first.labels[i]
            at = in_its_place(box, second.boxes, second.scores * same)
            if at is not None and same[at] and second.scores[at] >= first.scores[i]:
                for name, values in best.items():
                    values[i] = vars(second)[name][at]
        return Found(**best)

    def _look(self, picture: Rgb) -> Found:
        """All that the network finds in a picture of its own size, in px of that."""
        image = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)
        with torch.no_grad():
            result = self._model.find_objects(image.to(self._device).float() / 255)
        arrays = {key: value.cpu().numpy().astype(np.float64) for key, value in result.items()}
        row, label = np.nonzero(arrays["labels"][:, None] == self._labels)
        counts = [len(category.schema) for category in self.categories]
        sure = arrays["keypoints_scores"][row, : max(counts)]
        scores = np.array(
            [
                detection_score(score, own[: counts[at]])
                for score, own, at in zip(arrays["scores"][row], sure, label, strict=True)
            ],
            dtype=np.float64,
        )
        points = arrays["keypoints"][row, : max(counts), :2]
        visible = arrays["keypoints_visibility"][row, : max(counts)]
        return Found(arrays["boxes"][row], scores, label + 1, points, sure, visible)

    def _chosen(self, found: Found, least: float) -> Found:
        """The detections with at least that score, best first, without duplicates."""
        best = np.argsort(-found.scores, kind="stable")
        best = best[found.scores[best] >= least]
        own = [found.keypoints[i, : len(self.categories[found.labels[i] - 1].schema)] for i in best]
        return taken(found, best[drop_duplicates(list(found.boxes[best]), found.labels[best].tolist(), own)])


def tiling_for(meta: Meta, settings: InferenceSettings) -> Tiling:
    """When photos are read in tiles: for what the user wants, else for objects as small as in the training
    images where those are shorter than SMALL_PX in the network's input. The smallest tiles show the smallest
    objects as the training images show theirs, but with SMALL_PX at least."""
    seen = meta.smallest_share
    side = settings.long_side_px or meta.config.model.long_side_px
    readable = min(max(seen or 0.0, SMALL_PX / side), MOST_READABLE)
    return Tiling(readable, 1.0 if seen is None else seen, settings.smallest_px)


def tiles_in_words(tiles: Sequence[int]) -> str:
    """How photos were read. tiles: Detector.n_tiles of each."""
    if not any(tiles):
        return "read whole"
    least, most = min(tiles), max(tiles)
    return f"read whole and in {most if least == most else f'{least} to {most}'} overlapping tiles"


def taken(found: Found, rows: Any) -> Found:
    """Some of the detections. rows: what indexes them, an array or a slice."""
    return Found(**{name: values[rows] for name, values in vars(found).items()})


def moved(found: Found, x_scale: float, y_scale: float, left: float = 0.0, top: float = 0.0) -> Found:
    """The detections in px of a picture that the looked-at one was cut from at (left, top) and scaled by."""
    scale, corner = np.array([x_scale, y_scale]), np.array([left, top])
    boxes = found.boxes * np.tile(scale, 2) + np.tile(corner, 2)
    return replace(found, boxes=boxes, keypoints=found.keypoints * scale + corner)


def highest_score(
    weights: Path, device: str, photos: Sequence[Path], settings: InferenceSettings, count: int = 5
) -> float | None:
    """The best detection's score in the first few photos that can be read, however weak; None without one.

    For telling a detector that finds nothing from a threshold that is too high. settings: but for the score.
    """
    detector = Detector.load(weights, device, replace(settings, score=0.0))
    best = []
    for photo in photos[:count]:
        with suppress(DataError):
            best += detector.found(read_image(photo)).scores[:1].tolist()
    return max(best, default=None)


def set_detection_limits(model: KeypointDetector, settings: InferenceSettings) -> None:
    """Sets the network's least score, its NMS threshold and its number of detections, as far as `settings`
    names them."""
    heads = model.roi_heads
    heads.score_thresh = heads.score_thresh if settings.score is None else settings.score
    heads.nms_thresh = heads.nms_thresh if settings.nms is None else settings.nms
    heads.detections_per_img = settings.detections or heads.detections_per_img


def snapshot_folder(folder: Path) -> Path:
    """The snapshot that a user named: `folder` itself, or its `best` where `folder` is a run's output."""
    return folder / "best" if (folder / "best" / "meta.json").is_file() else folder

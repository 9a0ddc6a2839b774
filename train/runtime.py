"""A detector from an exported ONNX file, with numpy and onnxruntime alone. This file may be copied.

detector = OnnxDetector.load("part.onnx", score=0.5)
for found in detector(rgb):  # (H, W, 3) uint8, RGB
    print(found.name, found.score, found.box_xyxy, found.keypoints, found.keypoint_scores)
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Rgb = NDArray[np.uint8]
FORMAT = 2
METADATA = "meshmark"
MAX_FILE_BYTES = 2_000_000_000
SAME_SHARE = 0.05


@dataclass(frozen=True)
class Detection:
    """One object, in px of the photo. keypoints: (K, 2) x, y. keypoint_scores: (K,) in [0, 1].

    score: of box and keypoints together, in [0, 1], see detection_score.
    """

    box_xyxy: Array
    score: float
    name: str
    keypoints: Array
    keypoint_scores: Array


@dataclass(frozen=True)
class ExportedObject:
    """One thing the network finds. keypoints_m: (K, 3) in the object frame, or None.

    flip_pairs: None for objects of which a mirrored picture would be wrong.
    """

    name: str
    keypoint_names: tuple[str, ...]
    skeleton: tuple[tuple[int, int], ...]
    flip_pairs: tuple[tuple[int, int], ...] | None
    oks_sigmas: tuple[float, ...]
    keypoints_m: Array | None


@dataclass(frozen=True)
class Exported:
    """What the file's metadata says. objects: in the order of their labels, which count from 1.

    long_side_px: of the network's input. score: the least score of a box, before its keypoints are known.
    nms: IoU above which the weaker of two boxes was suppressed. Score and nms are part of the network.
    """

    objects: tuple[ExportedObject, ...]
    long_side_px: int
    score: float
    nms: float


def detection_score(box_score: float, keypoint_scores: NDArray[Any]) -> float:
    """The box's score times the mean of its keypoints' scores (K,), all in [0, 1].

    A box around half an object, or around two, may score as high as a good box, but its keypoints do not.
    Source: Xiao, Wu and Wei, "Simple Baselines for Human Pose Estimation and Tracking", ECCV 2018.
    """
    return float(box_score * keypoint_scores.mean())


def drop_duplicates(boxes: Sequence[Array], names: Sequence[Any], keypoints: Sequence[Array]) -> list[int]:
    """Indices of the detections to keep: those with a keypoint that no better detection of the same name has.

    The detections come best first; boxes: (4,) xyxy each, keypoints: (K, 2) each, in px. Two keypoints are
    the same if they lie within SAME_SHARE of the box's longer side. Non-maximum suppression leaves such
    duplicates: a box around two objects overlaps neither one's box much, and each of its keypoints is one of
    theirs.
    """
    kept: list[int] = []
    for i, points in enumerate(keypoints):
        near = SAME_SHARE * (boxes[i][2:] - boxes[i][:2]).max()
        gaps = [np.linalg.norm(keypoints[j] - points, axis=1) for j in kept if names[j] == names[i]]
        if not gaps or (np.min(gaps, axis=0) > near).any():
            kept.append(i)
    return kept


def fit_size(width: int, height: int, long_side_px: int) -> tuple[int, int]:
    """Width and height of the network's input for a picture of that size."""
    scale = long_side_px / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


class OnnxDetector:
    """detector(rgb) -> detections, best first. `exported` says what it finds."""

    def __init__(self, session: Any, exported: Exported, score: float) -> None:
        self.exported = exported
        self._session = session
        self._score = score

    @classmethod
    def load(cls, path: Path | str, score: float | None = None, threads: int = 0) -> Self:
        """score: the least score of a detection; by default the file's. threads: 0 = one per core.

        Raises ValueError if the file is none that `meshmark export` wrote, or `score` is below the file's.
        """
        import onnxruntime

        path = Path(path)
        if not path.is_file():
            raise ValueError(f"{path}: no such file, expected an exported .onnx file")
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ValueError(f"{path}: {path.stat().st_size} bytes, expected at most {MAX_FILE_BYTES}")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        try:
            session = onnxruntime.InferenceSession(
                path.read_bytes(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise ValueError(f"{path}: not an ONNX file that onnxruntime can run: {error}") from error
        exported = read_metadata(dict(session.get_modelmeta().custom_metadata_map), str(path))
        if score is not None and not exported.score <= score <= 1:
            raise ValueError(f"score: {score:g}, expected {exported.score:g} (exported) to 1")
        return cls(session, exported, exported.score if score is None else score)

    def __call__(self, rgb: Rgb) -> list[Detection]:
        """rgb: (H, W, 3) uint8 of any size."""
        height, width = rgb.shape[:2]
        fitted = fit_size(width, height, self.exported.long_side_px)
        boxes, scores, labels, keypoints, keypoint_scores = self._session.run(
            None, {"image": resize(rgb, *fitted)}
        )
        scale = np.array([width / fitted[0], height / fitted[1]])
        found = []
        for i, label in enumerate(labels):
            kind = self.exported.objects[label - 1]
            own = slice(len(kind.keypoint_names))
            score = detection_score(scores[i], keypoint_scores[i, own])
            if score >= self._score:
                found.append(
                    Detection(
                        boxes[i].astype(np.float64) * np.tile(scale, 2),
                        score,
                        kind.name,
                        keypoints[i, own].astype(np.float64) * scale,
                        keypoint_scores[i, own].astype(np.float64),
                    )
                )
        found.sort(key=lambda detection: -detection.score)
        boxes, names = [d.box_xyxy for d in found], [d.name for d in found]
        return [found[i] for i in drop_duplicates(boxes, names, [d.keypoints for d in found])]


def read_metadata(entries: dict[str, str], where: str) -> Exported:
    """entries: the file's own key-value pairs. Raises ValueError."""
    if METADATA not in entries:
        raise ValueError(f"{where}: no {METADATA!r} in its metadata, expected a file of `meshmark export`")
    try:
        raw = json.loads(entries[METADATA])
        if raw["format"] != FORMAT:
            raise ValueError(
                f"format {raw['format']}, expected {FORMAT}: export it again, with this file's own version"
            )
        return Exported(
            objects=tuple(map(_exported_object, raw["objects"])),
            long_side_px=int(raw["long_side_px"]),
            score=float(raw["score"]),
            nms=float(raw["nms"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{where}: damaged {METADATA!r} metadata: {error!r}") from error


def _exported_object(raw: dict[str, Any]) -> ExportedObject:
    names = tuple(map(str, raw["keypoint_names"]))
    points = None if raw["keypoints_m"] is None else np.array(raw["keypoints_m"], dtype=np.float64)
    if points is not None and points.shape != (len(names), 3):
        raise ValueError(f"keypoints_m of shape {points.shape}, expected {(len(names), 3)}")
    flips = raw["flip_pairs"]
    return ExportedObject(
        name=str(raw["name"]),
        keypoint_names=names,
        skeleton=tuple((int(a), int(b)) for a, b in raw["skeleton"]),
        flip_pairs=None if flips is None else tuple((int(a), int(b)) for a, b in flips),
        oks_sigmas=tuple(map(float, raw["oks_sigmas"])),
        keypoints_m=points,
    )


def resize(rgb: Rgb, width: int, height: int) -> Rgb:
    """As OpenCV does it: means over areas when shrinking (INTER_AREA), else bilinear (INTER_LINEAR)."""
    if rgb.shape[:2] == (height, width):
        return np.ascontiguousarray(rgb)
    taps = _area_taps if width < rgb.shape[1] else _linear_taps
    rows = _blend(rgb, 0, *taps(rgb.shape[0], height))
    rounded: Rgb = np.clip(
        np.floor(_blend(rows, 1, *taps(rgb.shape[1], width)) + np.float32(0.5)), 0, 255
    ).astype(np.uint8)
    return rounded


def _area_taps(size: int, count: int) -> tuple[NDArray[np.int64], Array]:
    """(T, count) each: the pixels that `count` stretches of `size` pixels cover, and by what share."""
    edges = np.arange(count + 1) * (size / count)
    at = edges[:-1].astype(np.int64) + np.arange(math.ceil(size / count) + 1)[:, None]
    covered = np.minimum(edges[1:], at + 1) - np.maximum(edges[:-1], at)
    return np.minimum(at, size - 1), np.clip(covered, 0, None) * (count / size)


def _linear_taps(size: int, count: int) -> tuple[NDArray[np.int64], Array]:
    """(2, count) each: between which pixel centres the centres of `count` new pixels lie, and how near."""
    place = np.clip((np.arange(count) + 0.5) * size / count - 0.5, 0, size - 1)
    low = place.astype(np.int64)
    share = place - low
    return np.stack((low, np.minimum(low + 1, size - 1))), np.stack((1 - share, share))


def _blend(values: NDArray[Any], axis: int, at: NDArray[np.int64], share: Array) -> NDArray[np.float32]:
    """Sum over taps of the pixels `at` along an axis, times their share."""
    shape = [1, 1, 1]
    shape[axis] = -1
    weights = share.astype(np.float32)
    blended: NDArray[np.float32] = sum(
        np.take(values, index, axis=axis) * weight.reshape(shape)
        for index, weight in zip(at, weights, strict=True)
        if weight.any()
    )
    return blended

"""A detector from an exported ONNX file, with numpy and onnxruntime alone. This file may be copied.

detector = OnnxDetector.load("part.onnx", score=0.5)
for found in detector(rgb):  # (H, W, 3) uint8, RGB
    print(found.name, found.score, found.box_xyxy, found.keypoints)
    print(found.keypoint_scores, found.keypoint_visibility)
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Rgb = NDArray[np.uint8]
FORMAT = 4
READABLE = (2, 3, FORMAT)
"""Files of format 2 have no crops, those of 2 and 3 no visibility."""
METADATA = "meshmark"
MAX_FILE_BYTES = 2_000_000_000
EXTERNAL_DATA = b"\x0a\x08location"
"""How ONNX begins the entry that names another file: key 1 of StringStringEntryProto, 8 letters."""
LIMITS = {
    "long_side_px": (16, 16384),
    "score": (0, 1),
    "nms": (0, 1),
    "crop_px": (0, 8192),
    "crop_reach": (1, 16),
    "network_score": (0, 1),
}
"""Least and largest value of the numbers in the metadata."""
MAX_VIEWS = 6000
"""The most squares that a photo is looked at in."""
SAME_SHARE = 0.05
SAME_IOU = 0.3
"""Least overlap of what a second look finds with what it looks at."""
SAME_PART = 0.8
"""Share of a box that lies within another look's box from which on it is a part of the same object."""
BORDER_SHARE = 0.01
"""Of a tile's side: a box that ends so near to its border is cut off by it."""


@dataclass(frozen=True)
class Detection:
    """One object, in px of the photo. keypoints: (K, 2) x, y.

    keypoint_scores: (K,) in [0, 1], how likely each is right. keypoint_visibility: (K,) in [0, 1], how likely
    each is seen, not hidden by the object itself or by another; all 1 in files of before format 4, which
    do not say it. score: of box and keypoints together, in [0, 1], see detection_score.
    """

    box_xyxy: Array
    score: float
    name: str
    keypoints: Array
    keypoint_scores: Array
    keypoint_visibility: Array


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
class Tiling:
    """How a photo is read: whole, and where small objects are wanted in overlapping tiles besides.

    readable_share: of the longer side of what the network is shown, from which on it finds an object; at most
    1/4. smallest_share: longer side of the smallest objects wanted, as a share of the photo's. smallest_px:
    the same in px of the photo, which counts instead where it is given; 0: never in tiles. Raises ValueError
    for numbers outside. Where there would be more than MAX_VIEWS, the smallest tiles are left out.
    """

    readable_share: float = 0.25
    smallest_share: float = 1.0
    smallest_px: float | None = None

    def __post_init__(self) -> None:
        if not 0 < float(self.readable_share) <= 0.25:
            raise ValueError(f"readable_share {self.readable_share}, expected above 0 to 0.25")
        if not 0 < float(self.smallest_share) <= 1:
            raise ValueError(f"smallest_share {self.smallest_share}, expected above 0 to 1")
        if self.smallest_px is not None and not 0 <= float(self.smallest_px) < math.inf:
            raise ValueError(f"smallest_px {self.smallest_px}, expected 0 or more")

    def views(self, width: int, height: int) -> list[tuple[int, int, int]]:
        """Left, top and side, in px, of the squares of a photo to look at: the whole, then the tiles.

        The smallest objects have readable_share in the smallest tiles; every further kind has twice the
        side. Tiles overlap by twice what is readable in them: an object too large to lie whole in one is
        readable in the next larger kind, or in the whole.
        """
        longer = max(width, height)
        smallest = self.smallest_share * longer if self.smallest_px is None else self.smallest_px
        views, side = [(0, 0, longer)], math.ceil(smallest / self.readable_share)
        while 0 < side < longer:
            down, across = (_tiles_along(length, side, self.readable_share) for length in (height, width))
            if len(views) + down * across <= MAX_VIEWS:
                rows, columns = (_starts(*along, side) for along in ((height, down), (width, across)))
                views += [(left, top, side) for top in rows for left in columns]
            side *= 2
        return views


def _tiles_along(length: int, side: int, readable_share: float) -> int:
    return 1 + math.ceil(max(0, length - side) / (side * (1 - 2 * readable_share)))


def _starts(length: int, count: int, side: int) -> list[int]:
    """Where tiles begin that cover `length` px, evenly."""
    return [round(start) for start in np.linspace(0, max(0, length - side), count).tolist()]


@dataclass(frozen=True)
class Exported:
    """What the file's metadata says. objects: in the order of their labels, which count from 1.

    long_side_px: of the network's input. score: the least score of a detection, where no other is asked for.
    network_score: the least score that the network lets through, of a box before its keypoints are known.
    nms: IoU above which the weaker of two boxes was suppressed. The last two are part of the network.
    crop_px: side of the network's input for a second look at each object, 0 for none; crop_reach: side of
    what it shows, as a multiple of the box's longer side. detections: the most in a photo; None: no limit but
    the network's own, of what it sees at once.
    """

    objects: tuple[ExportedObject, ...]
    long_side_px: int
    score: float
    nms: float
    crop_px: int
    crop_reach: float
    network_score: float
    tiling: Tiling = Tiling()
    detections: int | None = None


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


def square_about(box: Array, reach: float) -> tuple[int, int, int]:
    """Left, top and side, in whole px, of a square that has `reach` times the longer side of a box (4,)."""
    side = max(1, round(reach * float((box[2:] - box[:2]).max())))
    left, top = np.round((box[:2] + box[2:] - side) / 2).astype(int)
    return int(left), int(top), side


def cut(
    rgb: Rgb, left: int, top: int, side: int, size_px: int, resize: Callable[[Rgb, int, int], Rgb]
) -> Rgb:
    """A square of a picture (H, W, 3), whose edge goes on beyond it, brought to (size_px, size_px, 3).

    resize: picture, width, height -> the picture of that size. However far the square reaches, only what lies
    within the picture is scaled, and nothing larger is made.
    """
    height, width = rgb.shape[:2]
    left, top = (min(max(at, 1 - side), end - 1) for at, end in ((left, width), (top, height)))
    part = rgb[max(top, 0) : top + side, max(left, 0) : left + side]
    if part.shape[:2] == (side, side):
        return resize(part, size_px, size_px)
    columns, rows = (max(1, round(length * size_px / side)) for length in part.shape[1::-1])
    small = resize(part, columns, rows)
    ends = ((0, min(top, 0), rows / part.shape[0]), (1, min(left, 0), columns / part.shape[1]))
    for axis, start, scale in ends:
        place = ((np.arange(size_px) + 0.5) * side / size_px + start) * scale - 0.5
        small = _rounded(_blend(small, axis, *_between(place, small.shape[axis])))
    return small


def in_its_place(box: Array, boxes: Array, scores: Array) -> int | None:
    """Which of boxes (N, 4) is best and overlaps `box` as one of the same object does; None if none does."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    both = np.prod((high - low).clip(0), axis=1)
    each = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) + np.prod(box[2:] - box[:2])
    overlap = both / np.maximum(each - both, 1e-9)
    if not (overlap >= SAME_IOU).any():
        return None
    return int(np.argmax(np.where(overlap >= SAME_IOU, overlap * scores, -1)))


def cut_off(boxes: Array, view: tuple[int, int, int], width: int, height: int) -> NDArray[np.bool_]:
    """(N,) which boxes (N, 4) of a view of a photo end at a border of the view that is none of the photo."""
    low, high = np.array(view[:2]), np.array(view[:2]) + view[2]
    margin = BORDER_SHARE * view[2]
    at_low = (boxes[:, :2] < low + margin) & (low > 0)
    at_high = (boxes[:, 2:] > high - margin) & (high < (width, height))
    return np.asarray((at_low | at_high).any(axis=1))


def best_of_views(boxes: Array, scores: Array, names: Sequence[Any], views: Sequence[int]) -> list[int]:
    """Indices of the detections to keep, best first, of several views of a photo: without those of which a
    better one of the same name in another view shows the same object, or of which it shows more.

    boxes: (N, 4) xyxy in px of the photo. scores: (N,). names, views: N each.
    """
    name, view = np.array(names), np.array(views)
    sizes = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    kept: list[int] = []
    for i in np.argsort(-scores, kind="stable").tolist():
        low, high = np.maximum(boxes[i, :2], boxes[kept, :2]), np.minimum(boxes[i, 2:], boxes[kept, 2:])
        both = np.prod((high - low).clip(0), axis=1)
        same = both >= SAME_IOU * (sizes[i] + sizes[kept] - both)
        part = both >= SAME_PART * np.minimum(sizes[i], sizes[kept])
        elsewhere = (name[kept] == name[i]) & (view[kept] != view[i])
        if not ((same | part) & elsewhere).any():
            kept.append(i)
    return kept


class OnnxDetector:
    """detector(rgb) -> detections, best first. `exported` says what it finds."""

    def __init__(self, session: Any, exported: Exported, score: float) -> None:
        self.exported = exported
        self._session = session
        self._score = score

    @classmethod
    def load(
        cls, path: Path | str, score: float | None = None, threads: int = 0, smallest_px: float | None = None
    ) -> Self:
        """score: the least score of a detection; by default the file's. threads: 0 = one per core.
        smallest_px: longer side of the smallest objects wanted, see Tiling; by default as the file says.

        Raises ValueError if the file is none that `meshmark export` wrote, or `score` is below the file's.
        """
        import onnxruntime

        path = Path(path)
        if not path.is_file():
            raise ValueError(f"{path}: no such file, expected an exported .onnx file")
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ValueError(f"{path}: {path.stat().st_size} bytes, expected at most {MAX_FILE_BYTES}")
        content = path.read_bytes()
        if EXTERNAL_DATA in content:
            raise ValueError(f"{path}: keeps its weights in other files, expected them in the file itself")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        try:
            session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise ValueError(f"{path}: not an ONNX file that onnxruntime can run: {error}") from error
        exported = read_metadata(dict(session.get_modelmeta().custom_metadata_map), str(path))
        if score is not None and not exported.network_score <= score <= 1:
            raise ValueError(f"score: {score:g}, expected {exported.network_score:g} (exported) to 1")
        if smallest_px is not None:
            exported = replace(exported, tiling=replace(exported.tiling, smallest_px=smallest_px))
        return cls(session, exported, exported.score if score is None else score)

    def __call__(self, rgb: Rgb) -> list[Detection]:
        """rgb: (H, W, 3) uint8 of any size."""
        found = self._first_look(rgb)
        if self.exported.crop_px:
            firsts = self._chosen(found, self.exported.network_score)
            found = [self._second_look(rgb, first) for first in firsts]
        return self._chosen(found, self._score)[: self.exported.detections]

    def _first_look(self, rgb: Rgb) -> list[Detection]:
        """What the photo shows in its views, each object once."""
        height, width = rgb.shape[:2]
        found: list[Detection] = []
        numbers: list[int] = []
        for number, view in enumerate(self.exported.tiling.views(width, height)):
            left, top, side = view
            part = rgb[top : top + side, left : left + side]
            size = fit_size(part.shape[1], part.shape[0], self.exported.long_side_px)
            seen = [_moved(d, np.array([left, top])) for d in self._look(resize(part, *size), part.shape)]
            cut_ = cut_off(np.array([d.box_xyxy for d in seen]).reshape(-1, 4), view, width, height)
            found += [d for d, off in zip(seen, cut_, strict=True) if not off]
            numbers += [number] * (len(found) - len(numbers))
        boxes = np.array([d.box_xyxy for d in found]).reshape(-1, 4)
        scores = np.array([d.score for d in found])
        return [found[i] for i in best_of_views(boxes, scores, [d.name for d in found], numbers)]

    def _second_look(self, rgb: Rgb, first: Detection) -> Detection:
        """The detection, or the best that a crop about it shows in its place if that is surer; its box ends
        where the photo does."""
        left, top, side = square_about(first.box_xyxy, self.exported.crop_reach)
        crop = cut(rgb, left, top, side, self.exported.crop_px, resize)
        seconds = [_moved(d, np.array([left, top])) for d in self._look(crop, (side, side))]
        seconds = [second for second in seconds if second.name == first.name]
        boxes = np.array([second.box_xyxy for second in seconds]).reshape(-1, 4)
        boxes = boxes.clip(0, np.tile(rgb.shape[1::-1], 2))
        at = in_its_place(first.box_xyxy, boxes, np.array([second.score for second in seconds]))
        if at is None or seconds[at].score < first.score:
            return first
        return replace(seconds[at], box_xyxy=boxes[at])

    def _look(self, picture: Rgb, shape: tuple[int, ...]) -> list[Detection]:
        """All that the network finds in a picture of its own size, in px of what it was scaled from, of
        `shape`: height and width."""
        boxes, scores, labels, keypoints, keypoint_scores, *rest = self._session.run(None, {"image": picture})
        visibility = rest[0] if rest else np.ones_like(keypoint_scores)
        scale = np.array([shape[1] / picture.shape[1], shape[0] / picture.shape[0]])
        found = []
        for i, label in enumerate(labels):
            kind = self.exported.objects[label - 1]
            own = slice(len(kind.keypoint_names))
            found.append(
                Detection(
                    boxes[i].astype(np.float64) * np.tile(scale, 2),
                    detection_score(scores[i], keypoint_scores[i, own]),
                    kind.name,
                    keypoints[i, own].astype(np.float64) * scale,
                    keypoint_scores[i, own].astype(np.float64),
                    visibility[i, own].astype(np.float64),
                )
            )
        return found

    def _chosen(self, found: Sequence[Detection], least: float) -> list[Detection]:
        """The detections with at least that score, best first, without duplicates."""
        best = sorted((d for d in found if d.score >= least), key=lambda detection: -detection.score)
        boxes, names = [d.box_xyxy for d in best], [d.name for d in best]
        return [best[i] for i in drop_duplicates(boxes, names, [d.keypoints for d in best])]


def _moved(detection: Detection, corner: NDArray[Any]) -> Detection:
    """In px of the photo that the looked-at part was cut from at `corner` (x, y)."""
    box, keypoints = detection.box_xyxy + np.tile(corner, 2), detection.keypoints + corner
    return replace(detection, box_xyxy=box, keypoints=keypoints)


def read_metadata(entries: dict[str, str], where: str) -> Exported:
    """entries: the file's own key-value pairs. Raises ValueError."""
    if METADATA not in entries:
        raise ValueError(f"{where}: no {METADATA!r} in its metadata, expected a file of `meshmark export`")
    try:
        raw = json.loads(entries[METADATA])
        if raw["format"] not in READABLE:
            raise ValueError(
                f"format {raw['format']}, expected {FORMAT}: export it again, with this file's own version"
            )
        exported = Exported(
            objects=tuple(map(_exported_object, raw["objects"])),
            long_side_px=int(raw["long_side_px"]),
            score=float(raw["score"]),
            nms=float(raw["nms"]),
            crop_px=int(raw.get("crop_px", 0)),
            crop_reach=float(raw.get("crop_reach", 1.0)),
            network_score=float(raw.get("network_score", raw["score"])),
            tiling=Tiling(**raw.get("tiling", {})),
            detections=None if raw.get("detections") is None else int(raw["detections"]),
        )
        for field, (least, most) in LIMITS.items():
            if not least <= getattr(exported, field) <= most:
                raise ValueError(f"{field} {getattr(exported, field)}, expected {least} to {most}")
        if exported.detections is not None and exported.detections < 1:
            raise ValueError(f"detections {exported.detections}, expected 1 or more")
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"{where}: damaged {METADATA!r} metadata: {error!r:.300}") from error
    return exported


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
    return _rounded(_blend(rows, 1, *taps(rgb.shape[1], width)))


def _rounded(values: NDArray[np.float32]) -> Rgb:
    rounded: Rgb = np.clip(np.floor(values + np.float32(0.5)), 0, 255).astype(np.uint8)
    return rounded


def _area_taps(size: int, count: int) -> tuple[NDArray[np.int64], Array]:
    """(T, count) each: the pixels that `count` stretches of `size` pixels cover, and by what share."""
    edges = np.arange(count + 1) * (size / count)
    at = edges[:-1].astype(np.int64) + np.arange(math.ceil(size / count) + 1)[:, None]
    covered = np.minimum(edges[1:], at + 1) - np.maximum(edges[:-1], at)
    return np.minimum(at, size - 1), np.clip(covered, 0, None) * (count / size)


def _linear_taps(size: int, count: int) -> tuple[NDArray[np.int64], Array]:
    """(2, count) each: between which pixel centres the centres of `count` new pixels lie, and how near."""
    return _between((np.arange(count) + 0.5) * size / count - 0.5, size)


def _between(place: Array, size: int) -> tuple[NDArray[np.int64], Array]:
    """(2, N) each: between which of `size` pixels each place (N,) lies, counted from the first one's centre,
    and how near to both; beyond the ends on the last one."""
    place = np.clip(place, 0, size - 1)
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

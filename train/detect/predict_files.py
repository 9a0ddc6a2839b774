"""Predictions on files and films: overlays to look at, JSON lines and COCO results to work with.

`out` holds predictions.jsonl (a line a picture), images.json and results.json (COCO: what pycocotools'
loadRes takes, and the images it speaks of), and overlays/.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from synth.dataset.coco import Category, ImageLabels, category_to_json, image_to_json
from synth.errors import DataError
from synth.inspect.drawing import draw_objects, write_image
from synth.system.files import write_text
from synth.system.pictures import read_image
from synth.system.progress import track
from synth.types import NOT_LABELLED, Array, Rgb
from train.detect.inputs import Film, film_size, read_frames
from train.detect.predict import Detector
from train.runtime import Detection
from train.types import told_v

PREDICTIONS, IMAGES, RESULTS, OVERLAYS = "predictions.jsonl", "images.json", "results.json", "overlays"
WHOLE = 0.98
"""Share of a film's frames below which it is broken off: files are a frame or two off about their number."""


@dataclass(frozen=True)
class PredictionSummary:
    """How many pictures were looked at, and objects found in them.

    failed: file -> why it was left out; for a film, why its end was. tiles: in how many each was read.
    """

    pictures: int
    objects: int
    failed: dict[str, str]
    tiles: tuple[int, ...]


def predict_files(
    detector: Detector,
    photos: Sequence[Path],
    films: Sequence[Film],
    out: Path,
    keypoint_score: float,
    frames: int | None = None,
    overlays: bool = True,
) -> PredictionSummary:
    """Writes `out` (see above); pictures and films that cannot be read are left out and named in the summary.

    keypoint_score: keypoints below it are not drawn and carry v = 0. frames: of a film, at most.
    What was done is written also when the run is interrupted.
    """
    writer = _Writer(detector, out, keypoint_score)
    failed: dict[str, str] = {}
    try:
        names = overlay_names(photos)
        for path in track(photos, len(photos), "predict") if photos else ():
            try:
                rgb = read_image(path)
            except DataError as error:
                failed[str(path)] = str(error)
                continue
            drawn = writer.add(str(path), rgb)
            if overlays:
                write_image(out / OVERLAYS / names[path], drawn)
        for film, name in zip(films, distinct([film.name for film in films]), strict=True):
            target = out / OVERLAYS / f"{name}.mp4" if overlays else None
            try:
                _predict_film(writer, film, target, frames)
            except DataError as error:
                failed[str(film.source)] = str(error)
    finally:
        writer.close()
    return PredictionSummary(len(writer.images), len(writer.results), failed, tuple(writer.tiles))


def overlay_names(photos: Sequence[Path]) -> dict[Path, str]:
    """A file name of its own for each photo, also where photos of different folders are called alike."""
    stems = distinct([path.stem for path in photos])
    return {path: f"{stem}.jpg" for path, stem in zip(photos, stems, strict=True)}


def distinct(names: Sequence[str]) -> list[str]:
    """The names; one that came before gets a number: a, a_2, a_3."""
    taken: dict[str, None] = {}
    for name in names:
        chosen, count = name, 1
        while chosen in taken:
            count += 1
            chosen = f"{name}_{count}"
        taken[chosen] = None
    return list(taken)


def _predict_film(writer: "_Writer", film: Film, target: Path | None, frames: int | None) -> None:
    size = film_size(film)
    total = min(size.frames, frames) if frames and size.frames else frames or size.frames
    read = 0
    video: cv2.VideoWriter | None = None
    part = target.with_name(f".{target.name}.part.mp4") if target is not None else None
    try:
        for rgb in track(islice(read_frames(film), frames), total, film.name):
            drawn = writer.add(f"{film.source}#{read}", rgb)
            read += 1
            if part is not None:
                if video is None:
                    part.parent.mkdir(parents=True, exist_ok=True)
                    shape = drawn.shape[1], drawn.shape[0]
                    video = cv2.VideoWriter(str(part), cv2.VideoWriter.fourcc(*"mp4v"), size.rate, shape)
                video.write(np.ascontiguousarray(drawn[:, :, ::-1]))
    finally:
        if video is not None and part is not None and target is not None:
            video.release()
            part.replace(target)
    if read < WHOLE * total - 1:
        raise DataError(f"{film.source}: breaks off after {read} of {total} frames, which were looked at")


class _Writer:
    """Collects predictions and writes them when closed."""

    def __init__(self, detector: Detector, out: Path, keypoint_score: float) -> None:
        self.images: list[dict[str, Any]] = []
        self.results: list[dict[str, Any]] = []
        self.tiles: list[int] = []
        self._rows: list[str] = []
        self._detector, self._out, self._keypoint_score = detector, out, keypoint_score

    def add(self, name: str, rgb: Rgb) -> Rgb:
        """Predicts on one picture; returns its overlay."""
        found = self._detector(rgb)
        height, width = rgb.shape[:2]
        self.tiles.append(self._detector.n_tiles(width, height))
        image_id = len(self.images) + 1
        self.images.append(image_to_json(ImageLabels(image_id, name, width, height, ())))
        own = {category.name: category for category in self._detector.categories}
        self.results += [coco_result(d, image_id, own[d.name].id, self._keypoint_score) for d in found]
        objects = [detection_to_json(d, own[d.name].schema.names) for d in found]
        row = {"image": name, "width": width, "height": height, "tiles": self.tiles[-1], "objects": objects}
        self._rows.append(json.dumps(row))
        return overlay(rgb, found, self._detector.categories, self._keypoint_score)

    def close(self) -> None:
        document = {
            "images": self.images,
            "annotations": [],
            "categories": [category_to_json(category) for category in self._detector.categories],
        }
        write_text(self._out / PREDICTIONS, "".join(f"{row}\n" for row in self._rows))
        write_text(self._out / IMAGES, json.dumps(document))
        write_text(self._out / RESULTS, json.dumps(self.results))


def detection_to_json(detection: Detection, names: Sequence[str]) -> dict[str, Any]:
    """name, score, box_xyxy, and keypoints: name -> x, y, score, visibility; pixels of the picture."""
    points = np.column_stack([detection.keypoints, detection.keypoint_scores, detection.keypoint_visibility])
    digits = (2, 2, 4, 4)
    return {
        "name": detection.name,
        "score": round(detection.score, 4),
        "box_xyxy": np.round(detection.box_xyxy, 2).tolist(),
        "keypoints": {
            name: list(map(round, row, digits)) for name, row in zip(names, points.tolist(), strict=True)
        },
    }


def coco_result(
    detection: Detection, image_id: int, category_id: int, keypoint_score: float
) -> dict[str, Any]:
    """A row of a COCO results file, with shown_keypoints."""
    x0, y0, x1, y1 = detection.box_xyxy.tolist()
    return {
        "image_id": image_id,
        "category_id": category_id,
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "keypoints": shown_keypoints(detection, keypoint_score).reshape(-1).tolist(),
        "score": detection.score,
    }


def shown_keypoints(detection: Detection, keypoint_score: float) -> Array:
    """(K, 3) x, y px, v: 2 visible, 1 hidden, 0 for keypoints less sure than `keypoint_score`."""
    v = told_v(detection.keypoint_visibility)
    v[detection.keypoint_scores < keypoint_score] = NOT_LABELLED
    return np.column_stack([detection.keypoints, v])


def overlay(
    rgb: Rgb, found: Sequence[Detection], categories: Sequence[Category], keypoint_score: float
) -> Rgb:
    """A copy of `rgb` with boxes, scores, skeletons and the keypoints that are sure enough, hidden ones as
    rings."""
    for category in categories:
        own = [d for d in found if d.name == category.name]
        rgb = draw_objects(
            rgb,
            category.schema,
            [d.box_xyxy for d in own],
            [shown_keypoints(d, keypoint_score) for d in own],
            names=len(category.schema) <= 12,
            captions=[f"{d.name} {d.score:.2f}" for d in own],
        )
    return rgb

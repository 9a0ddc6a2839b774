"""First labels for photos nobody has labelled: predictions to correct, the least certain photos first.

`out` holds the photos, linked or copied and numbered in the order to correct them, and beside them
person_keypoints_default.json (COCO keypoints: CVAT's "COCO Keypoints 1.0" import, and `meshmark train
--real`), label_studio.json and label_studio.xml (tasks with predictions and their labelling interface;
https://labelstud.io/guide/predictions), and priority.csv.
"""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

from synth.dataset.coco import Annotation, Category, ImageLabels, write_coco
from synth.dataset.placing import place
from synth.errors import ConfigError, DataError
from synth.system.files import write_text
from synth.system.pictures import read_image
from synth.system.progress import track
from synth.types import NOT_LABELLED, OCCLUDED, Array
from train.detect.predict import Detector
from train.runtime import Detection
from train.types import told_v

COCO_FILE, PRIORITY = "person_keypoints_default.json", "priority.csv"
TASKS, INTERFACE = "label_studio.json", "label_studio.xml"
LOCAL_FILES = "/data/local-files/?d="
KEYPOINT_WIDTH = 0.5
FORMULA = "=+-@\t\r"
"""What a spreadsheet takes for a formula's beginning."""
WEAKEST = 0.05
"""Score down to which boxes tell that something may have been overlooked."""


@dataclass(frozen=True)
class Guess:
    """A photo of width x height px, and the objects to start its labels from. certainty: see `certainty`."""

    photo: Path
    width: int
    height: int
    objects: tuple[Detection, ...]
    certainty: float


@dataclass(frozen=True)
class LabelSummary:
    """How many photos were looked at and objects found. failed: file -> why it was left out. tiles: in how
    many each photo was read."""

    photos: int
    objects: int
    failed: dict[str, str]
    tiles: tuple[int, ...]


def label_helper(
    detector: Detector, photos: Sequence[Path], out: Path, score: float, keypoint_score: float
) -> LabelSummary:
    """Writes `out` (see above). score: least of a box that becomes a label; the detector's own should be
    WEAKEST. keypoint_score: a keypoint less sure is labelled hidden, as are those told to be hidden.

    Raises ConfigError for an `out` that is not empty.
    """
    if out.exists() and any(out.iterdir()):
        raise ConfigError(f"{out}: not empty, expected a new folder; corrected labels could be lost")
    guesses: list[Guess] = []
    failed: dict[str, str] = {}
    for photo in track(photos, len(photos), "predict"):
        try:
            photo.name.encode()
            rgb = read_image(photo)
        except UnicodeEncodeError:
            failed[str(photo)] = f"{str(photo)!a}: its name is no UTF-8, which labels need; rename it"
            continue
        except DataError as error:
            failed[str(photo)] = str(error)
            continue
        found = detector(rgb)
        chosen = tuple(d for d in found if d.score >= score)
        guesses.append(Guess(photo, rgb.shape[1], rgb.shape[0], chosen, certainty(found, score)))
    guesses.sort(key=lambda guess: guess.certainty)
    digits = len(str(len(guesses)))
    names = [f"{i:0{digits}}_{guess.photo.name}" for i, guess in enumerate(guesses, start=1)]
    for guess, name in zip(guesses, names, strict=True):
        place(guess.photo, out / name)
    own = {category.name: category for category in detector.categories}
    images = [
        _labels(i, n, g, own, keypoint_score) for i, (n, g) in enumerate(zip(names, guesses, strict=True))
    ]
    tasks = [_task(f"{out.name}/{n}", g, own) for n, g in zip(names, guesses, strict=True)]
    write_text(out / TASKS, json.dumps(tasks, indent=1))
    write_text(out / INTERFACE, interface(detector.categories))
    write_text(out / PRIORITY, _priority(names, guesses))
    write_coco(out / COCO_FILE, detector.categories, images)
    tiles = tuple(detector.n_tiles(guess.width, guess.height) for guess in guesses)
    return LabelSummary(len(guesses), sum(len(g.objects) for g in guesses), failed, tiles)


def certainty(found: Sequence[Detection], score: float) -> float:
    """How sure the detector is of a photo, in [0, 1]; low where a correction teaches it much.

    It is as sure of the photo as of the detection that it is least sure of: of one that becomes a label, with
    a score of at least `score`, by that score; of a weaker one, which may be an object missed, by 1 - its
    score. Half as sure if no detection becomes a label, for the photo may hold an object overlooked.
    """
    sure = [d.score for d in found if d.score >= score]
    weak = [1 - d.score for d in found if d.score < score]
    return float(min([*sure, *weak], default=1.0)) * (1.0 if sure else 0.5)


def interface(categories: Sequence[Category]) -> str:
    """Label Studio's labelling interface for these tasks: a box an object, a point a keypoint.

    model_index is what Label Studio's COCO and YOLO exports order keypoints by; without it they drop them.
    """
    keypoints = dict.fromkeys(name for category in categories for name in category.schema.names)
    boxes = "".join(f"<Label value={quoteattr(category.name)}/>" for category in categories)
    points = "".join(
        f'<Label value={quoteattr(name)} model_index="{n}"/>' for n, name in enumerate(keypoints)
    )
    return (
        '<View><Image name="image" value="$image" zoom="true"/>'
        f'<RectangleLabels name="box" toName="image">{boxes}</RectangleLabels>'
        f'<KeyPointLabels name="keypoint" toName="image">{points}</KeyPointLabels></View>\n'
    )


def _labels(
    index: int, name: str, guess: Guess, own: dict[str, Category], keypoint_score: float
) -> ImageLabels:
    annotations = []
    for found in guess.objects:
        v = told_v(found.keypoint_visibility)
        v[found.keypoint_scores < keypoint_score] = OCCLUDED
        v[~_inside(found.keypoints, guess)] = NOT_LABELLED
        area = float(np.prod(found.box_xyxy[2:] - found.box_xyxy[:2]))
        points = np.column_stack([found.keypoints, v])
        annotations.append(Annotation(own[found.name].id, found.box_xyxy, points, area))
    return ImageLabels(index + 1, name, guess.width, guess.height, tuple(annotations))


def _inside(points: Array, guess: Guess) -> NDArray[np.bool_]:
    """(K,) which of the points (K, 2) lie in the picture."""
    return np.asarray(((points >= 0) & (points < [guess.width, guess.height])).all(axis=1))


def _task(path: str, guess: Guess, own: dict[str, Category]) -> dict[str, Any]:
    """Coordinates are in % of the picture; a keypoint belongs to the box that is its parent."""
    results: list[dict[str, Any]] = []
    to_percent = 100 / np.array([guess.width, guess.height])
    shared = {"to_name": "image", "original_width": guess.width, "original_height": guess.height}
    for n, found in enumerate(guess.objects):
        low, high = found.box_xyxy[:2] * to_percent, found.box_xyxy[2:] * to_percent
        box = {"x": low[0], "y": low[1], "width": high[0] - low[0], "height": high[1] - low[1], "rotation": 0}
        results.append(
            {
                **shared,
                "id": f"object{n}",
                "type": "rectanglelabels",
                "from_name": "box",
                "score": found.score,
                "value": {**box, "rectanglelabels": [found.name]},
            }
        )
        names, inside = own[found.name].schema.names, _inside(found.keypoints, guess)
        points = zip(names, found.keypoints * to_percent, found.keypoint_scores, strict=True)
        for k, (name, (x, y), sure) in enumerate(points):
            if not inside[k]:
                continue
            results.append(
                {
                    **shared,
                    "id": f"object{n}keypoint{k}",
                    "parentID": f"object{n}",
                    "type": "keypointlabels",
                    "from_name": "keypoint",
                    "score": float(sure),
                    "value": {"x": x, "y": y, "width": KEYPOINT_WIDTH, "keypointlabels": [name]},
                }
            )
    prediction = {"model_version": "meshmark", "score": guess.certainty, "result": results}
    return {"data": {"image": LOCAL_FILES + quote(path)}, "predictions": [prediction]}


def _priority(names: Sequence[str], guesses: Sequence[Guess]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["order", "file", "photo", "uncertainty", "objects"])
    for i, (name, guess) in enumerate(zip(names, guesses, strict=True), start=1):
        writer.writerow([i, name, _cell(guess.photo), f"{1 - guess.certainty:.4f}", len(guess.objects)])
    return text.getvalue()


def _cell(path: Path) -> str:
    """The path as a cell that no spreadsheet takes for a formula."""
    return f"'{path}" if str(path)[0] in FORMULA else str(path)

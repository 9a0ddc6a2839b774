"""Pictures of the objects that a detector did worst on."""

import base64
from collections.abc import Sequence

import cv2
import numpy as np

from synth.dataset.coco import Category
from synth.system.pictures import read_image
from synth.types import NOT_LABELLED, Array, Rgb
from train.score.answers import draw_answers
from train.score.matching import match_detections
from train.types import Found, Sample, Truth

CASES = 24
CASE_PX = 320
CASE_MARGIN = 0.25


def worst_objects(
    samples: Sequence[Sample],
    truths: Sequence[Truth],
    founds: Sequence[Found],
    categories: Sequence[Category],
) -> list[dict[str, str]]:
    """The objects with the largest mean error, cut out of their photos, worst first: jpeg in base64, text."""
    rows: list[tuple[float, int, int]] = []
    for image, (truth, found) in enumerate(zip(truths, founds, strict=True)):
        for i, detection in enumerate(match_detections(truth, found, categories)):
            labelled = truth.keypoints[i, :, 2] > NOT_LABELLED
            if truth.iscrowd[i] or not labelled.any():
                continue
            error = 1.0
            if detection is not None:
                away = truth.keypoints[i, labelled, :2] - found.keypoints[detection][labelled]
                side = float((truth.boxes[i, 2:] - truth.boxes[i, :2]).max())
                error = float(np.minimum(np.hypot(*away.T) / max(side, 1e-9), 1.0).mean())
            rows.append((error, image, i))
    cases = []
    for error, image, i in sorted(rows, key=lambda row: (-row[0], row[1], row[2]))[:CASES]:
        missed = match_detections(truths[image], founds[image], categories)[i] is None
        text = f"{samples[image].image_path.name}: {'not found' if missed else f'{error:.3f}'}"
        jpeg = _cut_out(samples[image], truths[image].boxes[i], founds[image], categories)
        cases.append({"jpeg": jpeg, "text": text})
    return cases


def _cut_out(sample: Sample, box: Array, found: Found, categories: Sequence[Category]) -> str:
    """Base64 of a JPEG: the square around the box with labels and detections."""
    rgb = read_image(sample.image_path)
    reach = max(float((box[2:] - box[:2]).max()) * (0.5 + CASE_MARGIN), 16.0)
    middle = (box[:2] + box[2:]) / 2
    scale = CASE_PX / (2 * reach)
    matrix = np.array([[scale, 0, -scale * (middle[0] - reach)], [0, scale, -scale * (middle[1] - reach)]])
    # warpAffine counts pixels from their centres
    matrix[:, 2] += 0.5 * (scale - 1)
    flags = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small: Rgb = cv2.warpAffine(
        rgb, matrix, (CASE_PX, CASE_PX), flags=flags, borderValue=(245, 247, 249)
    ).astype(np.uint8)
    small = draw_answers(small, sample, found, categories, middle - reach, scale)
    done, data = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])
    assert done
    return base64.b64encode(data.tobytes()).decode()

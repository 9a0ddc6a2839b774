"""Score of a detector on labelled photos: eval.json, a table, and sheets to look at."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from synth.dataset.coco import Category
from synth.inspect.drawing import contact_sheet, write_image
from synth.system.files import write_text
from synth.system.pictures import read_image
from synth.system.progress import track
from synth.types import Array, Rgb
from train.data.samples import read_samples
from train.detect.predict import Detector, InferenceSettings, snapshot_folder, tiles_in_words
from train.model.snapshot import Meta, labels_hash, provenance, read_meta
from train.score.answers import LEGEND, draw_answers
from train.score.claims import confidence_claims, visibility_claims
from train.score.intervals import as_json, interval
from train.score.labels import boxes_are_extents, boxes_as_labelled, labels_in_words
from train.score.matching import keypoint_errors
from train.score.metrics import evaluate
from train.score.mistakes import bias_in_words, count_mistakes, in_words
from train.score.outcomes import grouped, list_outcomes
from train.score.precision import ap_draws
from train.score.reliability import reliability, uncalibrated
from train.score.report_page import percents, write_report
from train.types import Found, Sample, Truth, truth_of

SHEET_IMAGES = 20
SHEET_TILE_PX = 400
NOT_FOUND_SHARE = 1.0
GOOD_AP = 0.5
"""Keypoint AP below which a detector has not learned its object."""


def detect_all(detector: Detector, samples: Sequence[Sample], label: str = "") -> list[Found]:
    """Detections of each image; with a label, progress is shown."""
    todo = track(samples, len(samples), label) if label else samples
    return [detector.found(read_image(sample.image_path)) for sample in todo]


def evaluate_photos(
    weights: Path,
    real: Path,
    out: Path,
    categories: Sequence[Category],
    device: str,
    object_: str | None = None,
    settings: InferenceSettings | None = None,
) -> dict[str, Any]:
    """Evaluates a snapshot on the photos at `real`; writes eval.json, report.html and two sheets to `out`.

    categories: the objects to find and to check the weights against, none for all of their own. object_: see
    read_samples. Returns what eval.json holds. Raises DataError for unreadable weights or photos, and for
    weights of other keypoints.
    """
    detector = Detector.load(weights, device, settings)
    if categories:
        detector.narrow(categories, str(weights))
    categories = detector.categories
    samples = read_samples(real, *categories, object_=object_)
    founds = detect_all(detector, samples, "evaluating")
    truths = [truth_of(sample) for sample in samples]
    compared = boxes_as_labelled(samples, founds, categories)
    result: dict[str, Any] = {
        "object": ", ".join(category.name for category in categories),
        "weights": str(snapshot_folder(weights)),
        "data": str(real),
        **evaluate(truths, compared, categories),
        "boxes_are_extents": boxes_are_extents(samples),
        "per_image": per_image(samples, truths, compared, categories),
    }
    meta = read_meta(snapshot_folder(weights))
    outcomes = list_outcomes(truths, compared, categories, picture_sizes(samples))
    mistakes = count_mistakes(outcomes)
    result["mistakes"] = {**mistakes.as_json(), **grouped(outcomes)}
    result["bias_in_words"] = bias_in_words(mistakes)
    result["in_words"] = [
        *how_read(detector, samples),
        *never_good(meta, result["keypoints"]["ap"]),
        *labels_in_words(samples),
        *in_words(mistakes, middle_input_px(detector, samples)),
    ]
    draws = ap_draws(truths, founds, [category.schema for category in categories])
    result["confidence_95"]["keypoint_ap"] = interval(draws)
    result["keypoint_ap_draws"] = as_json(draws)
    write_sheets(out, samples, founds, categories)
    folder = snapshot_folder(weights)
    said = [kind(truths, compared, categories) for kind in (confidence_claims, visibility_claims)]
    confidence, visibility = (
        (reliability(uncalibrated(claims, detector.calibration[:, kind])), reliability(claims))
        for kind, claims in enumerate(said)
    )
    result["calibration_error"] = {"before": confidence[0].error, "after": confidence[1].error}
    used = [("photos", str(real)), ("their labels, SHA-256", labels_hash(real)), *provenance(folder)]
    reliable = confidence, visibility
    write_report(out / "report.html", result, samples, founds, categories, reliable, meta, used)
    write_text(out / "eval.json", json.dumps(result, indent=1))
    return result


def picture_sizes(samples: Sequence[Sample]) -> list[tuple[int, int]]:
    """Width and height of each photo, px."""
    return [(sample.width, sample.height) for sample in samples]


def middle_input_px(detector: Detector, samples: Sequence[Sample]) -> float:
    """Detector.input_px of the photos, the median."""
    return float(np.median([detector.input_px(sample.width, sample.height) for sample in samples]))


def how_read(detector: Detector, samples: Sequence[Sample]) -> list[str]:
    """A sentence about photos that were read in tiles."""
    tiles = [detector.n_tiles(sample.width, sample.height) for sample in samples]
    return [f"the photos were {tiles_in_words(tiles)}"] if any(tiles) else []


def never_good(meta: Meta, keypoint_ap: float | None) -> list[str]:
    """A sentence about weights that are bad on these photos, and were so on the images held out of their own
    training. keypoint_ap: on these photos."""
    if meta.score is None or max(meta.score, keypoint_ap or 0.0) >= GOOD_AP:
        return []
    return [
        f"on the images held out of their own training these weights reached keypoint AP {meta.score:.3f} at "
        f"step {meta.step}: they had not learned the object; train longer (`make train RESUME=1 STEPS=...`)"
    ]


def image_errors(truths: Sequence[Truth], founds: Sequence[Found], categories: Sequence[Category]) -> Array:
    """(images,) mean error of each image's labelled keypoints, as a share of their box's longer side; errors
    count 1 at most, and so do keypoints that were not found."""
    errors = keypoint_errors(truths, founds, categories)
    share = np.minimum(errors.error_px / errors.side_px, NOT_FOUND_SHARE)
    total = np.bincount(errors.image, weights=share, minlength=len(truths))
    return np.asarray(total / np.maximum(np.bincount(errors.image, minlength=len(truths)), 1))


def per_image(
    samples: Sequence[Sample],
    truths: Sequence[Truth],
    founds: Sequence[Found],
    categories: Sequence[Category],
) -> list[dict[str, Any]]:
    """For each photo its file, from the folder that holds all, and the error of each labelled keypoint as a
    share of its box's longer side, None where the object was not found."""
    errors = keypoint_errors(truths, founds, categories)
    root = os.path.commonpath([sample.image_path.parent for sample in samples])
    share = errors.error_px / errors.side_px
    return [
        {
            "file": sample.image_path.relative_to(root).as_posix(),
            "errors": [float(e) if np.isfinite(e) else None for e in share[errors.image == image]],
        }
        for image, sample in enumerate(samples)
    ]


def write_sheets(
    out: Path, samples: Sequence[Sample], founds: Sequence[Found], categories: Sequence[Category]
) -> None:
    """predictions.jpg: images spread evenly over the set. worst.jpg: those with the largest errors."""
    worst = image_errors([truth_of(s) for s in samples], founds, categories)
    spread = np.unique(np.linspace(0, len(samples) - 1, min(SHEET_IMAGES, len(samples))).round().astype(int))
    for name, chosen in (
        ("predictions.jpg", spread.tolist()),
        ("worst.jpg", np.argsort(-worst, kind="stable")[:SHEET_IMAGES].tolist()),
    ):
        write_sheet(out / name, [(samples[i], founds[i], f" {worst[i]:.3f}") for i in chosen], categories)


def write_sheet(
    path: Path, rows: Sequence[tuple[Sample, Found, str]], categories: Sequence[Category]
) -> None:
    """Photos with their labels and detections; each one's file name is followed by the row's text."""
    pictures = [_drawn(sample, found, categories) for sample, found, _ in rows]
    captions = [f"{sample.image_path.name}{text}" for sample, _, text in rows]
    captions[0] += f"  ({LEGEND})"
    write_image(path, contact_sheet(pictures, tile_px=SHEET_TILE_PX, captions=captions))


def _drawn(sample: Sample, found: Found, categories: Sequence[Category]) -> Rgb:
    """The photo with labels and detections, shrunk to twice a tile, so that lines stay visible."""
    rgb = read_image(sample.image_path)
    step = max(1, max(rgb.shape[:2]) // (2 * SHEET_TILE_PX))
    rgb = rgb[: rgb.shape[0] // step * step : step, : rgb.shape[1] // step * step : step]
    return draw_answers(rgb, sample, found, categories, np.zeros(2), 1 / step)


def print_table(result: dict[str, Any], console: Console) -> None:
    """The figures of eval.json: one table for the objects, one with a row per keypoint."""
    whole = Table(
        title=f"{escape(result['object'])}: {result['n_images']} images, {result['n_objects']} objects"
    )
    for column in ("bbox AP", "bbox AP50", "keypoint AP", "keypoint AP50", "found"):
        whole.add_column(column, justify="right")
    ap = [result[kind][key] for kind in ("bbox", "keypoints") for key in ("ap", "ap50")]
    whole.add_row(*map(_number, ap), f"{result['n_found']} of {result['n_objects']}")
    console.print(whole)
    if result["by_object"]:
        console.print(_by_object(result["by_object"]))

    each = Table(caption=f"median, p90: px. {result.get('bias_in_words', '')}")
    each.add_column("keypoint", overflow="fold")
    for column in ("PCK@0.05", "PCK@0.10", "median", "p90", "bias", "in picture"):
        each.add_column(column, justify="right", no_wrap=True)
    each.add_row("all", *_row(result), "", "")
    for name, row in result["per_keypoint"].items():
        biases = (percents(row["bias"][which]) for which in ("share", "picture_share"))
        each.add_row(escape(name), *_row(row), *biases)
    console.print(each)
    interval = result["confidence_95"]["pck"]["0.05"]
    if interval:
        console.print(f"PCK@0.05: 95 % interval {interval[0]:.3f} to {interval[1]:.3f}")
    seen = result["visibility"]
    if seen["auc"] is not None:
        console.print(
            f"visibility: {seen['n_hidden']} hidden and {seen['n_visible']} visible keypoints, told apart "
            f"with AUC {seen['auc']:.3f}, accuracy {seen['accuracy']:.3f}; calibration error "
            f"{seen['calibration_error']:.3f}",
            highlight=False,
        )
    for sentence in result.get("in_words", ()):
        console.print(f"- {sentence}", soft_wrap=True, markup=False, highlight=False)


def _by_object(objects: dict[str, Any]) -> Table:
    """A column an object, so that names have room."""
    table = Table(
        "", *(Column(escape(name), justify="right", overflow="fold") for name in objects), title="by object"
    )
    values = [
        [
            *(_number(row[kind]["ap"]) for kind in ("bbox", "keypoints")),
            *_row(row),
            f"{row['n_found']} of {row['n_objects']}",
            _number(row["visibility"]["auc"]),
        ]
        for row in objects.values()
    ]
    of_keypoints = ("PCK@0.05", "PCK@0.10", "median px", "p90 px")
    labels = ("bbox AP", "keypoint AP", *of_keypoints, "found", "visibility AUC")
    for label, *cells in zip(labels, *values, strict=True):
        table.add_row(label, *cells)
    return table


def _row(row: dict[str, Any]) -> list[str]:
    values = (row["pck"]["0.05"], row["pck"]["0.10"], row["error_px"]["median"], row["error_px"]["p90"])
    return [_number(value) for value in values]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}" if value < 10 else f"{value:.1f}"

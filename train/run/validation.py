"""How good a run's network is on its validation images, and what its confidences are worth."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from train.detect.predict import Detector, InferenceSettings, tiling_for
from train.model.heatmaps import Calibration
from train.run.state import Run
from train.score.claims import labels_that_tell_visibility
from train.score.evaluate import detect_all, middle_input_px, picture_sizes, write_sheet
from train.score.labels import boxes_as_labelled
from train.score.metrics import evaluate
from train.score.mistakes import count_mistakes, in_words
from train.score.outcomes import list_outcomes
from train.score.reliability import fit_calibrations
from train.types import truth_of

PROGRESS, PROGRESS_IMAGES = "progress.jpg", 12


@dataclass(frozen=True)
class Validation:
    """scores: in [0, 1] by name, 0 where nothing could be measured. calibration: of each category.

    words: what goes wrong, a sentence each.
    """

    scores: dict[str, float]
    calibration: tuple[Calibration, ...]
    words: tuple[str, ...]

    @property
    def merit(self) -> float:
        return merit_of(self.scores)


def merit_of(scores: Mapping[str, float]) -> float:
    """What snapshots are chosen by: the mean of keypoint AP and PCK@0.10, as AP alone says nothing while it
    is near 0."""
    return (scores["keypoint AP"] + scores["PCK@0.10"]) / 2


def validate(run: Run) -> Validation:
    """Finds the objects in the validation images; leaves progress.jpg, some of them with what was found."""
    categories, sizes = run.meta.categories, run.config.model
    detector = Detector(
        run.model,
        categories,
        sizes.long_side_px,
        run.processes.device,
        sizes.crop_px,
        sizes.crop_reach,
        tiling=tiling_for(run.meta, InferenceSettings()),
    )
    samples = run.data.validation
    founds = detect_all(detector, samples)
    truths = [truth_of(sample) for sample in samples]
    compared = boxes_as_labelled(samples, founds, categories)
    result = evaluate(truths, compared, categories)
    scores = {
        "bbox AP": result["bbox"]["ap"] or 0.0,
        "keypoint AP": result["keypoints"]["ap"] or 0.0,
        "PCK@0.05": result["pck"]["0.05"] or 0.0,
        "PCK@0.10": result["pck"]["0.10"] or 0.0,
    }
    shown = np.unique(np.linspace(0, len(samples) - 1, PROGRESS_IMAGES).round().astype(int))
    write_sheet(run.out / PROGRESS, [(samples[i], founds[i], "") for i in shown], categories)
    if labels_that_tell_visibility(truths):
        scores["visibility AUC"] = result["visibility"]["auc"] or 0.0
    mistakes = count_mistakes(list_outcomes(truths, compared, categories, picture_sizes(samples)))
    return Validation(
        scores,
        fit_calibrations(truths, compared, categories),
        tuple(in_words(mistakes, middle_input_px(detector, samples))),
    )

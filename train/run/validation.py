"""How good a run's network is on its validation images, and what its confidences are worth."""

from train.detect.predict import Detector
from train.model.heatmaps import Calibration
from train.run.state import Run
from train.score.evaluate import detect_all
from train.score.metrics import evaluate
from train.score.reliability import fit_calibrations
from train.types import truth_of


def validate(run: Run) -> tuple[dict[str, float], tuple[Calibration, ...]]:
    """Scores in [0, 1] by name, 0 where nothing could be measured, and each category's calibration."""
    categories = run.meta.categories
    detector = Detector(run.model, categories, run.config.model.long_side_px, run.processes.device)
    samples = run.data.validation
    founds = detect_all(detector, samples)
    truths = [truth_of(sample) for sample in samples]
    result = evaluate(truths, founds, categories)
    scores = {
        "bbox AP": result["bbox"]["ap"] or 0.0,
        "keypoint AP": result["keypoints"]["ap"] or 0.0,
        "PCK@0.05": result["pck"]["0.05"] or 0.0,
        "PCK@0.10": result["pck"]["0.10"] or 0.0,
    }
    return scores, fit_calibrations(truths, founds, len(categories))

"""Seconds a photo on the CPU, and the score beside it: stock network, ours in PyTorch, ONNX Runtime, 8 bits.

    python -m tests.bench.bench_latency WEIGHTS --real PHOTOS --int8 SYNTH --repeats 3

From the decoded photo to detections, one photo at a time, all at the same input size; networks take turns
photo by photo. Below the table: how far the ONNX file's answers lie from PyTorch's, at most. The stock
keypointrcnn_resnet50_fpn has random weights and its default thresholds: it finds next to nothing, which
spares it its keypoint head.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from train.device import tune_cpu

tune_cpu()
import numpy as np
import torch
from torchvision.models.detection import keypointrcnn_resnet50_fpn

from synth.system.pictures import read_image
from train.data.objects import resize
from train.data.samples import read_samples
from train.detect.export import export
from train.detect.predict import Detector, InferenceSettings
from train.detect.quantize import quantize
from train.runtime import Detection, OnnxDetector, fit_size
from train.score.metrics import evaluate
from train.types import Found, truth_of

Runner = Callable[[Any], Sequence[Detection]]


def stock(num_keypoints: int, long_side_px: int) -> Runner:
    model = keypointrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, num_keypoints=num_keypoints, min_size=1, max_size=long_side_px
    ).eval()

    def run(rgb: Any) -> Sequence[Detection]:
        height, width = rgb.shape[:2]
        size = fit_size(width, height, long_side_px)
        model.transform.min_size = (min(size),)
        with torch.no_grad():
            model([torch.from_numpy(resize(rgb, *size)).permute(2, 0, 1).float() / 255])
        return []

    return run


def found(detections: Sequence[Detection], num_keypoints: int) -> Found:
    return Found(
        np.array([d.box_xyxy for d in detections]).reshape(-1, 4),
        np.array([d.score for d in detections]),
        np.ones(len(detections), dtype=np.int64),
        np.array([d.keypoints for d in detections]).reshape(-1, num_keypoints, 2),
    )


def parity(ours: Sequence[Found], theirs: Sequence[Found]) -> str:
    same = [len(a.boxes) == len(b.boxes) for a, b in zip(ours, theirs, strict=True)]
    pairs = [pair for pair, s in zip(zip(ours, theirs, strict=True), same, strict=True) if s]
    box = max((float(np.abs(a.boxes - b.boxes).max()) for a, b in pairs if len(a.boxes)), default=0.0)
    point = max(
        (float(np.abs(a.keypoints - b.keypoints).max()) for a, b in pairs if len(a.boxes)), default=0.0
    )
    total = sum(len(a.boxes) for a in ours)
    return (
        f"ONNX Runtime and PyTorch: the same number of detections in {sum(same)} of {len(ours)} photos "
        f"({total} in all); boxes differ by at most {box:.3f} px, keypoints by {point:.3f} px"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--real", type=Path, nargs="+", required=True)
    parser.add_argument("--int8", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=3)
    chosen = parser.parse_args()
    ours = Detector.load(chosen.weights)
    (category,) = ours.categories
    schema = category.schema
    folder = Path(tempfile.mkdtemp())
    export(chosen.weights, folder / "model.onnx", "onnx", InferenceSettings())
    whole = OnnxDetector.load(folder / "model.onnx")
    long_side = whole.exported.long_side_px
    calibration = read_samples(chosen.int8, category)[:100]
    quantize(folder / "model.onnx", folder / "int8.onnx", calibration)
    runners: dict[str, Runner] = {
        "stock keypointrcnn_resnet50_fpn": stock(len(schema), long_side),
        "ours, PyTorch": ours,
        "ours, ONNX Runtime": whole,
        "ours, ONNX Runtime, int8": OnnxDetector.load(folder / "int8.onnx"),
    }
    samples = [sample for folder in chosen.real for sample in read_samples(folder, category)]
    photos = [read_image(sample.image_path) for sample in samples]
    times: dict[str, list[float]] = {name: [] for name in runners}
    answers: dict[str, list[Found]] = {name: [] for name in runners}
    for repeat in range(chosen.repeats + 1):
        for photo in photos if repeat else photos[:3]:
            for name, run in runners.items():
                start = time.perf_counter()
                detections = run(photo)
                if repeat:
                    times[name].append(time.perf_counter() - start)
                if repeat == 1:
                    answers[name].append(found(detections, len(schema)))
    print(f"{len(photos)} photos, input {long_side} px, {chosen.repeats} repeats")
    base = statistics.median(times["stock keypointrcnn_resnet50_fpn"])
    truths = [truth_of(sample) for sample in samples]
    for name, seconds in times.items():
        middle = statistics.median(seconds)
        row = f"{name:32} {1000 * middle:8.1f} ms {base / middle:6.1f} x"
        if not name.startswith("stock"):
            scores = evaluate(truths, answers[name], [category])
            row += f"   keypoint AP {scores['keypoints']['ap']:.3f}  PCK@0.05 {scores['pck']['0.05']:.3f}"
        print(row)
    print(parity(answers["ours, PyTorch"], answers["ours, ONNX Runtime"]))


if __name__ == "__main__":
    main()

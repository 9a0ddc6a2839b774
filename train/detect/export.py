"""A trained detector as one ONNX or TorchScript file that needs nothing of this project to run.

Input `image`: (H, W, 3) uint8 RGB, any size, its longer side scaled to the metadata's long_side_px.
Outputs, in px of that image, best first: `boxes` (N, 4) xyxy, `scores` (N,), `labels` (N,) place in the
metadata's objects counted from 1, `keypoints` (N, K, 2), `keypoint_scores` and `keypoint_visibility` (N, K),
K of the object with most.
"""

import json
import tempfile
import warnings
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from synth.errors import EnvironmentProblem
from synth.system.files import write_bytes
from train.detect.predict import InferenceSettings, set_detection_limits, snapshot_folder, tiling_for
from train.model.detector import KeypointDetector
from train.model.snapshot import Meta, load_model
from train.runtime import FORMAT, METADATA, Rgb

ExportFormat = Literal["onnx", "torchscript"]
OUTPUTS = ("boxes", "scores", "labels", "keypoints", "keypoint_scores", "keypoint_visibility")
OPSET = 17


class OneImage(nn.Module):
    """KeypointDetector.find_objects of an image as it is read from a file."""

    def __init__(self, model: KeypointDetector) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """image: (H, W, 3) uint8. Returns the OUTPUTS."""
        found = self.model.find_objects(image.permute(2, 0, 1).float() / 255)
        return (
            found["boxes"],
            found["scores"],
            found["labels"],
            found["keypoints"][:, :, :2],
            found["keypoints_scores"],
            found["keypoints_visibility"],
        )


def export(weights: Path, out: Path, file_format: ExportFormat, settings: InferenceSettings) -> None:
    """Writes the file `out`. weights: a snapshot's folder or a run's. settings: become part of the file.

    Raises DataError for unreadable weights, EnvironmentProblem if the `export` extra is not installed.
    """
    model, meta = load_model(snapshot_folder(weights))
    # what the second look may raise is not cut off in the network
    limits = replace(settings, score=None) if meta.config.model.crop_px else settings
    set_detection_limits(model, limits)
    described = json.dumps(metadata(model, meta, settings))
    side = settings.long_side_px or meta.config.model.long_side_px
    example = torch.from_numpy(_example(side))
    network = OneImage(model.requires_grad_(False)).eval()
    with warnings.catch_warnings(), torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        file = Path(folder) / "model"
        if file_format == "torchscript":
            traced = torch.jit.trace(network, (example,), check_trace=False)  # type: ignore[no-untyped-call]
            torch.jit.save(traced, file, _extra_files={METADATA: described})
        else:
            onnx = import_onnx()
            torch.onnx.export(
                network,
                (example,),
                file,
                dynamo=False,
                opset_version=OPSET,
                input_names=["image"],
                output_names=list(OUTPUTS),
                dynamic_axes={
                    "image": {0: "height", 1: "width"},
                    **{name: {0: "objects"} for name in OUTPUTS},
                },
            )
            whole = onnx.load(file)
            onnx.helper.set_model_props(whole, {METADATA: described})
            onnx.checker.check_model(whole)
            file.write_bytes(whole.SerializeToString())
        write_bytes(out, file.read_bytes())


def metadata(model: KeypointDetector, meta: Meta, settings: InferenceSettings) -> dict[str, object]:
    """What runtime.read_metadata reads."""
    return {
        "format": FORMAT,
        "objects": [
            {
                "name": category.name,
                "keypoint_names": category.schema.names,
                "skeleton": category.schema.skeleton,
                "flip_pairs": category.schema.flip_pairs,
                "oks_sigmas": category.schema.oks_sigmas,
                "keypoints_m": points,
            }
            for category, points in zip(meta.categories, meta.keypoints_m, strict=True)
        ],
        "long_side_px": settings.long_side_px or meta.config.model.long_side_px,
        "crop_px": meta.config.model.crop_px,
        "crop_reach": meta.config.model.crop_reach,
        "score": model.roi_heads.score_thresh if settings.score is None else settings.score,
        "network_score": model.roi_heads.score_thresh,
        "nms": model.roi_heads.nms_thresh,
        "tiling": asdict(tiling_for(meta, settings)),
        "detections": settings.detections,
        "mean": list(model.transform.image_mean),
        "std": list(model.transform.image_std),
        "step": meta.step,
    }


def _example(long_side_px: int) -> Rgb:
    """(H, W, 3) noise to trace the network with; a picture of 5 : 3, so that width and height differ."""
    shape = (max(1, round(0.6 * long_side_px)), long_side_px, 3)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def import_onnx() -> Any:
    """The onnx package; raises EnvironmentProblem if it or onnxruntime is not installed."""
    try:
        import onnx
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise EnvironmentProblem(f"ONNX export needs pip install 'meshmark[export]': {error}") from error
    return onnx

"""A trained detector as one ONNX or TorchScript file that needs nothing of this project to run.

Input `image`: (H, W, 3) uint8 RGB, any size, its longer side scaled to the metadata's long_side_px.
Outputs, in px of that image, best first: `boxes` (N, 4) xyxy, `scores` (N,), `labels` (N,) place in the
metadata's objects counted from 1, `keypoints` (N, K, 2), `keypoint_scores` (N, K), K of the object with most.
"""

import json
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from synth.errors import ConfigError, EnvironmentProblem
from synth.system.files import write_bytes
from synth.system.pictures import read_image
from synth.system.progress import track
from train.data.transforms import resize
from train.detect.predict import Settings, choose, snapshot_folder
from train.model.detector import KeypointDetector
from train.model.snapshot import Meta, load_model
from train.runtime import FORMAT, METADATA, Rgb, fit_size
from train.types import Sample

Format = Literal["onnx", "torchscript"]
OUTPUTS = ("boxes", "scores", "labels", "keypoints", "keypoint_scores")
OPSET = 17
QUANTIZED_OPS = ("Conv", "Gemm")
LAST_LAYERS = ("box_predictor.", "keypoint_predictor.", "rpn.head.cls_logits.", "rpn.head.bbox_pred.")


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
        )


def export(weights: Path, out: Path, file_format: Format, settings: Settings) -> None:
    """Writes `out`. weights: a snapshot or a run. settings: baked into the file.

    Raises DataError for unreadable weights, EnvironmentProblem if the `export` extra is not installed.
    """
    model, meta = load_model(snapshot_folder(weights))
    choose(model, settings)
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
            onnx = _onnx()
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


def quantize(source: Path, out: Path, samples: Sequence[Sample], long_side_px: int) -> None:
    """The ONNX file `source` with 8-bit convolutions, their ranges taken from the samples' images.

    samples: rendered or training images, not those the result is measured on. The layers that give scores,
    box offsets and heatmaps keep 32 bits.
    """
    onnx = _onnx()
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Images(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._rows: Iterator[Sample] = iter(track(samples, len(samples), "calibrating"))

        def get_next(self) -> dict[str, Rgb] | None:
            sample = next(self._rows, None)
            if sample is None:
                return None
            size = fit_size(sample.width, sample.height, long_side_px)
            return {"image": resize(read_image(sample.image_path), *size)}

    if not samples:
        raise ConfigError("no images to calibrate 8-bit ranges on")
    with tempfile.TemporaryDirectory() as folder:
        prepared, file = Path(folder) / "prepared.onnx", Path(folder) / "int8.onnx"
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            file,
            Images(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTIZED_OPS),
            nodes_to_exclude=_last_layers(onnx.load(prepared).graph),
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            calibrate_method=CalibrationMethod.MinMax,
        )
        write_bytes(out, file.read_bytes())


def metadata(model: KeypointDetector, meta: Meta, settings: Settings) -> dict[str, object]:
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
        "score": model.roi_heads.score_thresh,
        "nms": model.roi_heads.nms_thresh,
        "mean": list(model.transform.image_mean),
        "std": list(model.transform.image_std),
        "step": meta.step,
    }


def _last_layers(graph: Any) -> list[str]:
    """Names of the nodes that compute with one of the LAST_LAYERS' weights."""
    return [
        node.name for node in graph.node if any(layer in name for name in node.input for layer in LAST_LAYERS)
    ]


def _example(long_side_px: int) -> Rgb:
    """Noise of a 5 : 3 picture's size to trace with."""
    shape = (max(1, round(0.6 * long_side_px)), long_side_px, 3)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def _onnx() -> Any:
    try:
        import onnx
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise EnvironmentProblem(f"ONNX export needs pip install 'meshmark[export]': {error}") from error
    return onnx

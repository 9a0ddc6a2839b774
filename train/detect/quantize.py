"""An exported ONNX file with convolutions in 8 bits: smaller, and faster on processors made for it."""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from synth.errors import ConfigError
from synth.system.files import write_bytes
from synth.system.pictures import read_image
from synth.system.progress import track
from train.data.objects import resize
from train.data.samples import read_samples
from train.detect.export import ExportFormat, export, import_onnx
from train.detect.predict import InferenceSettings, snapshot_folder
from train.model.snapshot import read_meta
from train.runtime import Exported, OnnxDetector, Rgb, cut, fit_size, square_about
from train.types import Sample

QUANTIZED_OPS = ("Conv", "Gemm")
LAST_LAYERS = (
    "box_predictor.",
    "keypoint_predictor.",
    "visibility_predictor.",
    "rpn.head.cls_logits.",
    "rpn.head.bbox_pred.",
)


def export_files(
    weights: Path,
    out: Path,
    file_format: ExportFormat,
    settings: InferenceSettings,
    int8: Path | None = None,
    int8_images: int = 100,
) -> list[Path]:
    """Exports the weights to `out`, and with `int8` to NAME.int8.onnx beside it; returns the files written.

    int8: a labelled data set of the weights' objects, whose first images give the ranges of 8-bit numbers.
    Raises UserError as export and quantize do, ConfigError for 8 bits in another format than ONNX.
    """
    if int8 is None:
        export(weights, out, file_format, settings)
        return [out]
    if file_format != "onnx":
        raise ConfigError("--int8: 8-bit files are ONNX, expected --format onnx")
    samples = read_samples(int8, *read_meta(snapshot_folder(weights)).categories)[:int8_images]
    export(weights, out, file_format, settings)
    small = out.with_suffix(".int8.onnx")
    quantize(out, small, samples)
    return [out, small]


def quantize(source: Path, out: Path, samples: Sequence[Sample]) -> None:
    """Writes `out`: the ONNX file `source` with convolutions in 8 bits; the layers that give scores, box
    offsets, heatmaps and visibility keep 32.

    samples: images from which the ranges of the 8-bit numbers are taken, as the network is shown them:
    rendered or training images, not those that the result is measured on.
    Raises ConfigError without samples, EnvironmentProblem if the `export` extra is not installed.
    """
    onnx = import_onnx()
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
            exported = OnnxDetector.load(source).exported
            todo = track(samples, len(samples), "calibrating")
            self._pictures = (picture for sample in todo for picture in looks(sample, exported))

        def get_next(self) -> dict[str, Rgb] | None:
            picture = next(self._pictures, None)
            return None if picture is None else {"image": picture}

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


def looks(sample: Sample, exported: Exported) -> Iterator[Rgb]:
    """What the network is shown of a photo: the whole, and where it looks twice each object by itself."""
    rgb = read_image(sample.image_path)
    yield resize(rgb, *fit_size(sample.width, sample.height, exported.long_side_px))
    for box in sample.boxes if exported.crop_px else ():
        yield cut(rgb, *square_about(box, exported.crop_reach), exported.crop_px, resize)


def _last_layers(graph: Any) -> list[str]:
    """Names of the nodes that compute with one of the LAST_LAYERS' weights."""
    return [
        node.name for node in graph.node if any(layer in name for name in node.input for layer in LAST_LAYERS)
    ]

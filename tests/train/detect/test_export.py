import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner

from synth.dataset.coco import Category
from synth.errors import DataError
from synth.types import KeypointSchema
from tests.train.conftest import tiny
from train import runtime
from train.cli import main
from train.config import load_train_config, preset_path, with_changes
from train.data.objects import resize
from train.data.samples import read_samples
from train.detect.export import export
from train.detect.predict import Detector, InferenceSettings
from train.detect.quantize import looks, quantize
from train.model.build import build_model
from train.model.heatmaps import Calibration
from train.model.snapshot import make_meta, write_snapshot
from train.run.batches import TrainData
from train.run.engine import train
from train.runtime import METADATA, OnnxDetector, read_metadata

Maker = Callable[..., Any]
BUG = Category(1, "bug", KeypointSchema(("nose", "tail"), ((0, 1),), (), (0.08, 0.08)))
POINTS = ((0.0, 0.0, 0.0), (0.06, 0.0, 0.0))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained network with low thresholds: many detections that mean nothing, but must be the same."""
    folder = tmp_path_factory.mktemp("weights")
    config = tiny()
    model_config = config.model.model_copy(
        update={"score_threshold": 0.01, "keypoint_reach": 1.2, "keypoint_cells": 18}
    )
    config = config.model_copy(update={"model": model_config})
    torch.manual_seed(1)
    model = build_model(model_config, 2, 2, vendor=False)
    meta = replace(
        make_meta(config, [BUG], [np.array(POINTS)], {}), calibration=(Calibration((0.7, 0.4), (1.3, -0.2)),)
    )
    write_snapshot(folder / "best", meta, model.state_dict())
    return folder


@pytest.fixture(scope="module")
def exported(weights: Path) -> Path:
    file = weights / "bug.onnx"
    export(weights, file, "onnx", InferenceSettings())
    return file


def pictures(draw: Maker) -> list[Any]:
    """Of the traced size, larger, flatter, turned, and one of a single colour."""
    bugs = draw(3, 2).rgb
    return [
        cv2.resize(bugs, (160, 96)),
        cv2.resize(bugs, (641, 433), interpolation=cv2.INTER_CUBIC),
        bugs[20:97].copy(),
        np.ascontiguousarray(bugs.transpose(1, 0, 2)),
        np.full((120, 160, 3), 128, np.uint8),
    ]


def assert_same(found: Any, expected: Any) -> None:
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert a.name == b.name
        assert a.score == pytest.approx(b.score, abs=1e-3)
        np.testing.assert_allclose(a.box_xyxy, b.box_xyxy, atol=0.5)
        np.testing.assert_allclose(a.keypoints, b.keypoints, atol=0.1)
        np.testing.assert_allclose(a.keypoint_scores, b.keypoint_scores, atol=1e-3)
        np.testing.assert_allclose(a.keypoint_visibility, b.keypoint_visibility, atol=1e-3)


def test_onnx_file_finds_what_pytorch_finds_in_pictures_of_any_size(
    weights: Path, exported: Path, draw: Maker
) -> None:
    ours, theirs = Detector.load(weights), OnnxDetector.load(exported, threads=1)
    counts = []
    for rgb in pictures(draw):
        expected = ours(rgb)
        assert_same(theirs(rgb), expected)
        counts.append(len(expected))
    assert max(counts) > 1


@pytest.mark.slow
def test_picture_without_objects_gives_no_detection(weights: Path, tmp_path: Path, draw: Maker) -> None:
    export(weights, tmp_path / "strict.onnx", "onnx", InferenceSettings(score=1.0))
    detector = OnnxDetector.load(tmp_path / "strict.onnx", threads=1)
    assert [detector(rgb) for rgb in pictures(draw)] == [[]] * 5


def test_metadata_says_what_the_network_finds(exported: Path) -> None:
    exported_ = OnnxDetector.load(exported).exported
    (found,) = exported_.objects
    assert (found.name, found.keypoint_names, found.skeleton) == ("bug", ("nose", "tail"), ((0, 1),))
    assert (found.flip_pairs, found.oks_sigmas) == ((), (0.08, 0.08))
    assert (exported_.long_side_px, exported_.score, exported_.nms) == (160, 0.01, 0.5)
    assert (exported_.tiling, exported_.detections) == (runtime.Tiling(24 / 160), None)
    np.testing.assert_array_equal(found.keypoints_m, POINTS)


@pytest.mark.slow
def test_settings_are_part_of_the_file(weights: Path, tmp_path: Path, draw: Maker) -> None:
    settings = InferenceSettings(score=0.1, detections=1, long_side_px=128)
    export(weights, tmp_path / "x.onnx", "onnx", settings)
    ours, theirs = Detector.load(weights, settings=settings), OnnxDetector.load(tmp_path / "x.onnx")
    for rgb in pictures(draw):
        assert_same(theirs(rgb), ours(rgb))
    with pytest.raises(ValueError, match=r"score: 0\.05, expected 0\.1"):
        OnnxDetector.load(tmp_path / "x.onnx", score=0.05)
    assert len(OnnxDetector.load(tmp_path / "x.onnx", score=1.0)(pictures(draw)[0])) == 0


@pytest.mark.slow
def test_the_cpu_presets_own_network_looks_twice_and_in_tiles_as_pytorch_does(
    coco_folder: Maker, tmp_path: Path, draw: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a few steps scores are low, and answers hang on the shade that OpenCV rounds otherwise."""
    monkeypatch.setattr("train.detect.predict.resize", runtime.resize)
    changes = {
        "model": {"score_threshold": 0.001},
        "data": {"batch_size": 4, "workers": 0},
        "schedule": {"max_steps": 8, "until_learned": False},
    }
    config = with_changes(load_train_config(preset_path("cpu", cuda=False)), changes, "x")
    samples = read_samples(coco_folder(n=6), BUG)
    trained = train(
        make_meta(config, [BUG], [None], {}), TrainData(samples, (), samples[:2]), tmp_path / "run", "cpu"
    )
    settings = InferenceSettings(smallest_px=20)
    export(trained.best, tmp_path / "x.onnx", "onnx", settings)
    ours = Detector.load(trained.best, settings=settings)
    theirs = OnnxDetector.load(tmp_path / "x.onnx", threads=1)
    once = OnnxDetector(theirs._session, replace(theirs.exported, crop_px=0), theirs.exported.score)
    assert ours.n_tiles(640, 480) > 5
    changed = []
    for rgb in (cv2.resize(draw(3, 2).rgb, (641, 433)), cv2.resize(draw(4, 2).rgb, (640, 480))):
        expected = ours(rgb)
        assert_same(theirs(rgb), expected)
        boxes = np.array([found.box_xyxy for found in once(rgb)])
        changed += [np.abs(boxes - found.box_xyxy).max(axis=1).min() > 1 for found in expected]
    assert any(changed)


@pytest.mark.slow
def test_torchscript_file_finds_the_same(weights: Path, tmp_path: Path, draw: Maker) -> None:
    export(weights, tmp_path / "bug.pt", "torchscript", InferenceSettings())
    extra = {METADATA: ""}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        network = torch.jit.load(tmp_path / "bug.pt", _extra_files=extra)
    assert read_metadata({METADATA: extra[METADATA].decode()}, "x").objects[0].name == "bug"
    ours = Detector.load(weights)
    for rgb in pictures(draw):
        fitted = resize(rgb, *runtime.fit_size(rgb.shape[1], rgb.shape[0], 160))
        boxes, scores, labels, keypoints, sure, visible = network(torch.from_numpy(fitted))
        found = ours(rgb)
        scores = scores * sure.mean(1)
        best = scores.argsort(descending=True)[: (scores >= 0.01).sum()]
        alike = [list(values[best].numpy()) for values in (boxes, labels, keypoints)]
        best = best[runtime.drop_duplicates(*alike)]
        boxes, scores, keypoints, visible = boxes[best], scores[best], keypoints[best], visible[best]
        scale = np.array([rgb.shape[1] / fitted.shape[1], rgb.shape[0] / fitted.shape[0]])
        assert len(found) == len(scores)
        for i, detection in enumerate(found):
            np.testing.assert_allclose(boxes[i].numpy() * np.tile(scale, 2), detection.box_xyxy, atol=0.01)
            np.testing.assert_allclose(keypoints[i].numpy() * scale, detection.keypoints, atol=0.01)
            np.testing.assert_allclose(visible[i].numpy(), detection.keypoint_visibility, atol=1e-4)


def test_loader_runs_without_torch_opencv_or_this_project(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "runtime_copy.py").write_text(Path(runtime.__file__).read_text())
    code = f"""
import sys
for name in ("torch", "torchvision", "cv2", "albumentations", "synth", "train", "scipy", "PIL", "onnx"):
    sys.modules[name] = None
import numpy as np
from runtime_copy import OnnxDetector
found = OnnxDetector.load({str(exported)!r}, threads=1)(np.full((50, 70, 3), 90, np.uint8))
print([type(f).__name__ for f in found[:1]], len(found) >= 0)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("True")


@pytest.mark.slow
def test_int8_file_is_smaller_and_runs(
    weights: Path, exported: Path, coco_folder: Maker, tmp_path: Path, draw: Maker
) -> None:
    samples = read_samples(coco_folder(n=3), BUG)
    quantize(exported, tmp_path / "small.onnx", samples)
    assert (tmp_path / "small.onnx").stat().st_size < 0.5 * exported.stat().st_size
    detector = OnnxDetector.load(tmp_path / "small.onnx", threads=1)
    assert detector.exported.objects[0].name == "bug"
    for rgb in pictures(draw):
        detector(rgb)
    graph = onnx.load(tmp_path / "small.onnx").graph
    for layer in ("keypoint_predictor", "visibility_predictor"):
        last = [n for n in graph.node if any(layer in name for name in n.input)]
        assert last
        assert not any("quantized" in name for n in last for name in n.input)


def test_ranges_of_8_bits_are_taken_from_second_looks_too(exported: Path, coco_folder: Maker) -> None:
    sample = read_samples(coco_folder(n=2), BUG)[1]
    once = replace(OnnxDetector.load(exported).exported, crop_px=0)
    assert [picture.shape for picture in looks(sample, once)] == [(120, 160, 3)]
    twice = replace(once, crop_px=64)
    assert [picture.shape for picture in looks(sample, twice)] == [(120, 160, 3), (64, 64, 3), (64, 64, 3)]


@pytest.mark.parametrize(
    ("shape", "long_side"),
    [
        ((1080, 1920), 640),
        ((480, 641), 640),
        ((100, 90), 640),
        ((1280, 960), 640),
        ((1, 1), 64),
        ((33, 900), 200),
    ],
)
def test_pictures_are_scaled_as_in_training(shape: tuple[int, int], long_side: int) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    rgb = cv2.GaussianBlur(rgb, (0, 0), 1.5).reshape(*shape, 3)
    size = runtime.fit_size(shape[1], shape[0], long_side)
    ours, theirs = runtime.resize(rgb, *size).astype(int), resize(rgb, *size).astype(int)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= 1
    assert np.abs(ours - theirs).mean() < 0.15


def rewritten(exported: Path, target: Path, entries: dict[str, str]) -> Path:
    model = onnx.load(exported)
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, entries)
    target.write_bytes(model.SerializeToString())
    return target


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({}, "no 'meshmark' in its metadata"),
        ({METADATA: "{"}, "damaged"),
        ({METADATA: json.dumps({"format": 99})}, "format 99, expected 4"),
        ({METADATA: json.dumps([1])}, "damaged"),
    ],
)
def test_file_with_foreign_metadata_is_refused(
    exported: Path, tmp_path: Path, entries: dict[str, str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        OnnxDetector.load(rewritten(exported, tmp_path / "x.onnx", entries))


@pytest.mark.parametrize("file_format", [2, 3])
def test_a_file_of_before_is_read_and_looks_once(file_format: int) -> None:
    entry = {"format": file_format, "objects": [], "long_side_px": 320, "score": 0.05, "nms": 0.5}
    exported = read_metadata({METADATA: json.dumps(entry)}, "x.onnx")
    assert (exported.long_side_px, exported.crop_px) == (320, 0)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("long_side_px", "Infinity"),
        ("long_side_px", "0"),
        ("long_side_px", "-5"),
        ("long_side_px", "1e9"),
        ("score", "NaN"),
        ("score", "1.5"),
        ("nms", "-1"),
        ("crop_px", "1e6"),
        ("crop_reach", "1e400"),
        ("objects", "[" * 100_000),
        ("objects", "7"),
    ],
)
def test_metadata_beyond_what_export_writes_is_refused(field: str, value: str) -> None:
    entry = {"format": "3", "objects": "[]", "long_side_px": "320", "score": "0.05", "nms": "0.5"} | {
        field: value
    }
    text = "{" + ", ".join(f'"{key}": {written}' for key, written in entry.items()) + "}"
    with pytest.raises(ValueError, match=r"x.onnx: damaged 'meshmark' metadata"):
        read_metadata({METADATA: text}, "x.onnx")


def test_an_onnx_file_whose_weights_lie_elsewhere_is_refused(exported: Path, tmp_path: Path) -> None:
    model = onnx.load(exported)
    onnx.save_model(model, tmp_path / "x.onnx", save_as_external_data=True, location="w", size_threshold=0)
    with pytest.raises(ValueError, match="keeps its weights in other files"):
        OnnxDetector.load(tmp_path / "x.onnx")


def test_what_is_no_onnx_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such file"):
        OnnxDetector.load(tmp_path / "none.onnx")
    (tmp_path / "x.onnx").write_bytes(b"\x80\x04\x95 pickle")
    with pytest.raises(ValueError, match="not an ONNX file"):
        OnnxDetector.load(tmp_path / "x.onnx")


@pytest.mark.slow
def test_export_from_the_command_line(weights: Path, coco_folder: Maker, tmp_path: Path) -> None:
    out = tmp_path / "bug.onnx"
    calibration = coco_folder(n=2)
    result = CliRunner().invoke(main, ["export", str(weights), "--out", str(out), "--int8", str(calibration)])
    assert result.exit_code == 0, result.output
    assert out.with_suffix(".int8.onnx").stat().st_size < out.stat().st_size
    refused = CliRunner().invoke(
        main,
        ["export", str(weights), "--out", str(out), "--format", "torchscript", "--int8", str(calibration)],
    )
    assert refused.exit_code == 2
    assert "expected --format onnx" in refused.output
    assert CliRunner().invoke(main, ["export", str(tmp_path), "--out", str(out)]).exit_code == 2


def test_a_failed_export_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        export(tmp_path, tmp_path / "x.onnx", "onnx", InferenceSettings())
    assert not (tmp_path / "x.onnx").exists()

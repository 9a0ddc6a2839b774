import json
import logging
import multiprocessing
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from scipy.special import expit, logit

from synth.dataset.coco import Category
from synth.errors import DataError, EnvironmentProblem
from synth.types import Array, KeypointSchema
from train.config import TrainConfig
from train.detect.predict import Detector, InferenceSettings
from train.model import snapshot as snapshot_file
from train.model.build import build_model
from train.model.heatmaps import Calibration
from train.model.snapshot import (
    Meta,
    load_model,
    load_weights,
    make_meta,
    read_meta,
    recover,
    warm_start,
    write_snapshot,
)
from train.model.tensor_files import read_tensors

TRAIN = Path(snapshot_file.__file__).parents[1]


@pytest.fixture
def snapshot(tmp_path: Path, tiny_config: TrainConfig, category: Category) -> Path:
    torch.manual_seed(0)
    model = build_model(tiny_config.model, 2, 2)
    meta = make_meta(tiny_config, [category], [np.array([[0.1, 0, 0], [-0.1, 0, 0]])], {"a": "b"}, step=7)
    write_snapshot(tmp_path / "run" / "best", meta, model.state_dict())
    return tmp_path / "run" / "best"


def test_snapshot_round_trip_keeps_weights_and_description(
    snapshot: Path, tiny_config: TrainConfig, category: Category
) -> None:
    model, meta = load_model(snapshot)
    torch.manual_seed(0)
    expected = build_model(tiny_config.model, 2, 2).state_dict()
    assert model.state_dict().keys() == expected.keys()
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=0)
    assert (meta.categories, meta.config, meta.step) == ((category,), tiny_config, 7)
    assert meta.keypoints_m == (((0.1, 0.0, 0.0), (-0.1, 0.0, 0.0)),)


def test_detector_loads_a_run_or_its_snapshot(snapshot: Path) -> None:
    assert Detector.load(snapshot).categories == Detector.load(snapshot.parent).categories


def test_detections_scale_with_the_photo(snapshot: Path, tiny_config: TrainConfig) -> None:
    model, meta = load_model(snapshot)
    model.roi_heads.score_thresh = 0.0
    detector = Detector(model, meta.categories, tiny_config.model.long_side_px, torch.device("cpu"))
    small = np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)
    large = small.repeat(4, axis=0).repeat(4, axis=1)
    a, b = detector(small), detector(large)
    assert len(a) == len(b) > 0
    np.testing.assert_allclose(a[0].box_xyxy * 4, b[0].box_xyxy, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(a[0].keypoints * 4, b[0].keypoints, rtol=1e-4, atol=1e-3)
    assert a[0].keypoints.shape == (2, 2)
    assert a[0].name == "bug"
    assert [d.score for d in a] == sorted((d.score for d in a), reverse=True)


def change(path: Path, **fields: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.mark.parametrize("decay", [0.0, 0.98])
def test_snapshot_with_a_setting_that_is_gone_is_still_read(snapshot: Path, decay: float) -> None:
    config = json.loads((snapshot / "meta.json").read_text())["config"]
    change(snapshot / "meta.json", config=config | {"optim": config["optim"] | {"ema_decay": decay}})
    assert load_model(snapshot)[1].config.model_dump(mode="json") == config


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "meta.json").unlink(), r"meta\.json: no such file"),
        (lambda f: (f / "meta.json").write_text("{}"), "not a snapshot's description"),
        (lambda f: (f / "meta.json").write_text("{"), "not valid JSON"),
        (lambda f: change(f / "meta.json", objects=["bug"]), "not a snapshot's description"),
        (lambda f: (f / "model.safetensors").write_bytes(b"hello"), "not readable as safetensors"),
        (lambda f: (f / "model.safetensors").unlink(), "not readable as safetensors"),
    ],
)
def test_damaged_snapshot_is_one_clear_error(snapshot: Path, damage: object, message: str) -> None:
    assert callable(damage)
    damage(snapshot)
    with pytest.raises(DataError, match=message) as error:
        load_model(snapshot)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("field", ["score", "smallest_share"])
@pytest.mark.parametrize("value", ["abc", [1], float("nan"), -1, 1.5])
def test_numbers_of_a_snapshot_lie_where_they_can(snapshot: Path, field: str, value: object) -> None:
    meta = json.loads((snapshot / "meta.json").read_text())
    (snapshot / "meta.json").write_text(json.dumps({**meta, field: value}))
    with pytest.raises(DataError, match=r"meta\.json: "):
        load_model(snapshot)


def test_weights_of_another_k_list_every_tensor_that_does_not_fit(
    tiny_config: TrainConfig, snapshot: Path
) -> None:
    other = build_model(tiny_config.model, 2, 5, vendor=False)
    tensors = snapshot_file.read_tensors(snapshot / "model.safetensors")
    with pytest.raises(DataError, match=r"kps_score_lowres\.bias \(2,\) instead of \(5,\)") as error:
        load_weights(other, tensors, "w")
    assert "4 tensors do not fit" in str(error.value)


def test_start_from_another_object_takes_what_fits_and_lists_the_rest(
    tiny_config: TrainConfig, snapshot: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = build_model(tiny_config.model, 3, 5, vendor=False)
    fresh = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    with caplog.at_level(logging.INFO, logger="train"):
        warm_start(other, snapshot)
    trained = snapshot_file.read_tensors(snapshot / "model.safetensors")
    kept = sorted(name for name, t in other.state_dict().items() if t.shape != trained[name].shape)
    assert kept == [
        "roi_heads.box_predictor.bbox_pred.bias",
        "roi_heads.box_predictor.bbox_pred.weight",
        "roi_heads.box_predictor.cls_score.bias",
        "roi_heads.box_predictor.cls_score.weight",
        "roi_heads.keypoint_predictor.kps_score_lowres.bias",
        "roi_heads.keypoint_predictor.kps_score_lowres.weight",
        "roi_heads.visibility_predictor.bias",
        "roi_heads.visibility_predictor.weight",
    ]
    for name, tensor in other.state_dict().items():
        torch.testing.assert_close(tensor, fresh[name] if name in kept else trained[name], rtol=0, atol=0)
    *skipped, summary = caplog.messages
    assert [message.split()[2] for message in skipped] == kept
    assert skipped[-2].endswith("visibility_predictor.bias (2,), the network has (5,)")
    assert "tensors loaded, trained on bug (K = 2)" in summary


def test_start_from_weights_of_before_there_was_visibility_says_what_they_lack(
    tiny_config: TrainConfig, snapshot: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tensors = snapshot_file.read_tensors(snapshot / "model.safetensors")
    older = {name: tensor for name, tensor in tensors.items() if "visibility" not in name}
    write_snapshot(snapshot, read_meta(snapshot), older)
    change(snapshot / "meta.json", format=2, calibration=[[1.0, 0.0]])
    with caplog.at_level(logging.INFO, logger="train"):
        warm_start(build_model(tiny_config.model, 2, 2, vendor=False), snapshot)
    lacks = [message for message in caplog.messages if "lacks" in message]
    assert len(lacks) == 2
    assert lacks[0].endswith("lacks roi_heads.visibility_predictor.bias, left at its start")


def test_start_from_weights_of_which_none_fits_is_refused(snapshot: Path) -> None:
    with pytest.raises(DataError, match=r"none of its .* tensors fits the network"):
        warm_start(torch.nn.Linear(1, 1), snapshot)


def test_snapshot_of_an_older_format_is_refused_in_words(snapshot: Path) -> None:
    raw = json.loads((snapshot / "meta.json").read_text())
    (snapshot / "meta.json").write_text(json.dumps({**raw, "format": 1}))
    with pytest.raises(
        DataError, match=r"meta\.json: format 1, expected 3; it was written by another version"
    ):
        read_meta(snapshot)


def test_calibration_is_part_of_the_snapshot_and_of_what_it_detects(
    snapshot: Path, tiny_config: TrainConfig
) -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)

    def said_of_the_leftmost() -> tuple[Array, Array]:
        found = Detector.load(snapshot, settings=InferenceSettings(score=0.0))(rgb)
        leftmost = min(found, key=lambda detection: tuple(detection.box_xyxy))
        return leftmost.keypoint_scores, leftmost.keypoint_visibility

    sure, visible = said_of_the_leftmost()
    calibration = Calibration((0.5, 2.0), (1.5, -1.0))
    meta = replace(read_meta(snapshot), calibration=(calibration,))
    write_snapshot(snapshot, meta, snapshot_file.read_tensors(snapshot / "model.safetensors"))
    assert read_meta(snapshot).calibration == (calibration,)
    expected = expit(0.5 * logit(sure) + 2.0), expit(1.5 * logit(visible) - 1.0)
    np.testing.assert_allclose(said_of_the_leftmost(), expected, rtol=1e-4)


def test_object_with_other_keypoints_is_refused_with_both_lists(category: Category) -> None:
    board = Category(2, "board", KeypointSchema(("tl", "tr", "br"), (), None, (0.1,) * 3))
    with pytest.raises(DataError, match=r"bug with K = 2 \[nose, tail\], board has K = 3 \[tl, tr, br\]"):
        snapshot_file.check_object(category, board, "w")


def test_failed_write_leaves_the_old_snapshot(snapshot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = read_meta(snapshot)

    def full_disk(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(snapshot_file, "save_file", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_snapshot(snapshot, before, {"a": torch.zeros(1)})
    assert read_meta(snapshot) == before


def test_a_full_disk_is_said_and_leaves_nothing(snapshot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = read_meta(snapshot)

    def full_disk(*_: object) -> None:
        raise SafetensorError("I/O error: No space left on device")

    monkeypatch.setattr(snapshot_file, "save_file", full_disk)
    with pytest.raises(EnvironmentProblem, match=r"best: cannot be written: .*No space"):
        write_snapshot(snapshot, before, {"a": torch.zeros(1)})
    assert read_meta(snapshot) == before
    assert [p.name for p in snapshot.parent.iterdir() if p.name.startswith(".")] == []


def test_swap_cut_off_between_its_renames_is_finished(snapshot: Path) -> None:
    snapshot.rename(snapshot.with_name(".best.old"))
    recover(snapshot)
    assert read_meta(snapshot).step == 7
    assert [p.name for p in snapshot.parent.iterdir()] == ["best"]


def test_nothing_is_unpickled_but_pinned_vendor_weights() -> None:
    loads = {
        (path.name, line.strip())
        for path in TRAIN.rglob("*.py")
        for line in path.read_text().splitlines()
        if re.search(r"torch\.load\(|pickle\.|joblib|allow_pickle", line)
    }
    assert all(name == "weights.py" and "weights_only=True" in line for name, line in loads)
    assert len([line for _, line in loads if line.startswith("state")]) == 1


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: t.fill_(float("nan")), "1 tensors are not finite: "),
        (lambda t: t.fill_(float("inf")), "1 tensors are not finite: "),
        (lambda t: t.double(), r"F64 .* instead of F32"),
        (lambda t: t.half(), r"F16 .* instead of F32"),
        (lambda t: t > 0, r"BOOL .* instead of F32"),
        (lambda t: t.long(), r"I64 .* instead of F32"),
    ],
)
def test_weights_that_are_no_numbers_of_the_network_are_refused(
    snapshot: Path, spoil: Callable[[torch.Tensor], torch.Tensor], message: str
) -> None:
    tensors = read_tensors(snapshot / "model.safetensors")
    name = next(name for name, tensor in tensors.items() if tensor.ndim == 4)
    save_file({**tensors, name: spoil(tensors[name]).clone()}, snapshot / "model.safetensors")
    with pytest.raises(DataError, match=f"model.safetensors: .*{message}"):
        load_model(snapshot)


def test_a_config_that_asks_for_more_than_the_file_holds_builds_nothing(
    snapshot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = json.loads((snapshot / "meta.json").read_text())
    raw["config"]["model"]["keypoint_head_channels"] *= 2
    (snapshot / "meta.json").write_text(json.dumps(raw))
    devices = []
    built = snapshot_file.build_model

    def build(*arguments: Any) -> Any:
        devices.append(torch.get_default_device().type)
        return built(*arguments)

    monkeypatch.setattr(snapshot_file, "build_model", build)
    with pytest.raises(DataError, match="do not fit the network"):
        load_model(snapshot)
    assert devices == ["meta"]


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff" * 8, b"\x02\0\0\0\0\0\0\0[]", b"\x09\0\0\0\0\0\0\0{'a': {}}", b"\x05" + b"\0" * 12],
)
def test_a_header_that_is_none_is_refused(snapshot: Path, content: bytes) -> None:
    (snapshot / "model.safetensors").write_bytes(content)
    with pytest.raises(DataError, match=r"model.safetensors: not (readable as safetensors|valid JSON)"):
        load_model(snapshot)


def write_often(folder: Path, meta: Meta, value: float) -> None:
    for _ in range(10):
        write_snapshot(folder, meta, {"a": torch.full((1000,), value)}, {"b": torch.zeros(1)}, {})


def test_two_processes_that_write_one_snapshot_leave_a_whole_one(snapshot: Path) -> None:
    meta, context = read_meta(snapshot), multiprocessing.get_context("spawn")
    both = [context.Process(target=write_often, args=(snapshot, meta, value)) for value in (1.0, 2.0)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    assert read_tensors(snapshot / "model.safetensors")["a"].unique().numel() == 1
    assert [path.name for path in snapshot.parent.iterdir()] == ["best"]


def test_a_swap_cut_off_after_the_old_snapshot_moved_is_finished(snapshot: Path) -> None:
    new = snapshot.with_name(".best.new")
    shutil.copytree(snapshot, new)
    (new / "meta.json").write_text((new / "meta.json").read_text().replace('"step": 7', '"step": 8'))
    snapshot.rename(new / ".replaced")
    recover(snapshot)
    assert read_meta(snapshot).step == 8
    assert not (snapshot / ".replaced").exists()

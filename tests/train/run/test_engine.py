import json
import math
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from synth.dataset.coco import Category
from synth.errors import ConfigError, DataError, InUseError, UserError
from synth.system.files import locked
from tests.train.conftest import gently, torchrun
from train.config import ScheduleConfig, TrainConfig, with_changes
from train.data.samples import read_samples
from train.detect.predict import Detector
from train.model.snapshot import make_meta, read_meta
from train.run import batches, engine, prepare
from train.run.batches import TrainData, without_traceback
from train.run.engine import run_to_end, train
from train.run.processes import Processes
from train.run.schedule import lr_factor, share_done
from train.score.evaluate import detect_all
from train.score.matching import keypoint_errors
from train.types import truth_of

from .one_run import gradients, job

Maker = Callable[..., Path]
ROOT = Path(engine.__file__).parents[2]


@pytest.fixture
def data(coco_folder: Maker, category: Category) -> TrainData:
    rendered = read_samples(coco_folder("train", n=12, seed=1), category)
    return TrainData(rendered, (), read_samples(coco_folder("val", n=4, seed=2), category))


def run(
    config: TrainConfig, data: TrainData, category: Category, out: Path, resume: bool = False
) -> engine.TrainResult:
    return train(make_meta(config, [category], [None], {"x": "y"}), data, out, "cpu", resume)


def state(out: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((out / "last" / "state.json").read_text())
    return loaded


@pytest.mark.slow
def test_loader_workers_start_with_what_they_need_imported() -> None:
    with batches.loader_processes().Pool(1) as pool:
        assert pool.apply(eval, (f"{batches.__name__!r} in __import__('sys').modules",))


def test_learning_rate_warms_up_peaks_and_falls_to_zero() -> None:
    rates = [lr_factor(p / 100, 0.1) for p in range(101)]
    assert max(rates) == pytest.approx(rates[10]) == 1
    assert rates[:11] == sorted(rates[:11])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[0] < 0.05
    assert rates[-1] == pytest.approx(0)


@pytest.mark.parametrize("warmup", [0.0, 1.0])
def test_any_warmup_share_gives_a_rate_between_zero_and_one(warmup: float) -> None:
    assert all(0 <= lr_factor(p / 10, warmup) <= 1 for p in range(11))


def test_run_is_over_by_steps_or_by_time_whichever_comes_first() -> None:
    schedule = ScheduleConfig(max_steps=100, max_minutes=2)
    assert share_done(schedule, 50, 30, 100) == 0.5
    assert share_done(schedule, 10, 90, 100) == 0.75
    assert share_done(schedule, 100, 0, 100) == share_done(schedule, 0, 500, 100) == 1


def test_crops_and_whole_pictures_go_through_the_network_apart() -> None:
    images = [torch.zeros(3, *size) for size in ((64, 64), (120, 160), (64, 64), (160, 160))]
    assert engine.parts_of_one_size(images, 1, 64) == [[0, 2], [1, 3]]
    assert engine.parts_of_one_size(images, 2, 64) == [[0], [1], [2], [3]]
    assert engine.parts_of_one_size(images, 1, 0) == [[0, 1, 2, 3]]


@pytest.mark.slow
def test_training_learns_to_find_keypoints(
    coco_folder: Maker, category: Category, tiny_config: TrainConfig, tmp_path: Path
) -> None:
    """The whole path on a few drawn images: the loss falls, and unseen images are measured well."""
    config = gently(tiny_config, 90)
    rendered = read_samples(coco_folder("train", n=60, seed=1), category)
    unseen = read_samples(coco_folder("val", n=12, seed=2), category)
    result = run(config, TrainData(rendered, (), unseen), category, tmp_path / "run")
    log = state(tmp_path / "run")["steps_log"]
    assert log[-1]["loss_keypoint"] < 0.75 * log[0]["loss_keypoint"]
    (epoch,) = state(tmp_path / "run")["epochs_log"]
    assert epoch["PCK@0.10"] > 0.6
    assert result.score == (epoch["keypoint AP"] + epoch["PCK@0.10"]) / 2
    assert epoch["keypoint AP"] > 0.3


@pytest.mark.slow
def test_training_learns_which_keypoints_are_hidden(
    coco_folder: Maker, category: Category, tiny_config: TrainConfig, tmp_path: Path
) -> None:
    config = gently(tiny_config, 120)
    rendered = read_samples(coco_folder("train", n=60, seed=1, covered=True), category)
    unseen = read_samples(coco_folder("val", n=16, seed=2, covered=True), category)
    run(config, TrainData(rendered, (), unseen), category, tmp_path / "run")
    (epoch,) = state(tmp_path / "run")["epochs_log"]
    assert epoch["visibility AUC"] > 0.9


@pytest.mark.slow
def test_run_leaves_snapshots_curves_and_events(
    data: TrainData, category: Category, tiny_config: TrainConfig, tmp_path: Path
) -> None:
    result = run(tiny_config, data, category, tmp_path / "run")
    assert (result.step, result.last.name) == (4, "last")
    with Image.open(tmp_path / "run" / "curves.png") as picture:
        assert picture.format == "PNG"
    assert list((tmp_path / "run" / "tensorboard").glob("events*"))
    meta = read_meta(result.best)
    assert meta.data == {"x": "y"}
    assert meta.config == tiny_config
    raw = json.loads((result.last / "meta.json").read_text())
    assert raw["versions"]["torch"] == torch.__version__


@pytest.mark.slow
def test_resumed_run_equals_one_that_never_stopped(
    data: TrainData, category: Category, tiny_config: TrainConfig, tmp_path: Path
) -> None:
    config = with_changes(tiny_config, {"data": {"real_fraction": 0.1}}, "x")
    mixed = replace(data, real=data.validation)
    run(config, mixed, category, tmp_path / "whole")
    stopping = with_changes(config, {"schedule": {"max_steps": 4}}, "x")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "share_done", lambda s, step, t, end: 1.0 if step >= 2 else step / end)
        run(stopping, mixed, category, tmp_path / "parts")
    assert state(tmp_path / "parts")["step"] == 2
    run(stopping, mixed, category, tmp_path / "parts", resume=True)
    for name in ("model.safetensors", "optim.safetensors"):
        whole, parts = (load_file(tmp_path / d / "last" / name) for d in ("whole", "parts"))
        assert whole.keys() == parts.keys()
        for key, tensor in whole.items():
            torch.testing.assert_close(parts[key], tensor, rtol=1e-5, atol=1e-7)


@pytest.mark.slow
def test_the_curves_of_a_run_cut_off_and_resumed_hold_each_step_once(
    data: TrainData,
    category: Category,
    tiny_config: TrainConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    step = engine.train_step

    def cut_off(run: engine.Run, number: int, *rest: Any) -> Any:
        if number == 3:
            raise InterruptedError
        return step(run, number, *rest)

    monkeypatch.setattr(engine, "LOG_EVERY", 1)
    monkeypatch.setattr(engine, "train_step", cut_off)
    with pytest.raises(InterruptedError):
        run(tiny_config, data, category, tmp_path)
    monkeypatch.setattr(engine, "train_step", step)
    run(tiny_config, data, category, tmp_path, resume=True)
    curves = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.step for event in curves.Scalars("train/loss")] == [1, 2, 3, 4]


def test_validation_says_how_well_hidden_keypoints_are_told_where_labels_tell_them(
    data: TrainData, category: Category, tiny_config: TrainConfig, tmp_path: Path
) -> None:
    config = with_changes(tiny_config, {"schedule": {"max_steps": 1}}, "x")
    tail_hidden = tuple(replace(s, keypoints=s.keypoints - [[0, 0, 0], [0, 0, 1]]) for s in data.validation)
    run(config, data, category, tmp_path / "all visible")
    run(config, replace(data, validation=tail_hidden), category, tmp_path / "half hidden")
    (plain,) = state(tmp_path / "all visible")["epochs_log"]
    (telling,) = state(tmp_path / "half hidden")["epochs_log"]
    assert "visibility AUC" not in plain
    assert 0 <= telling["visibility AUC"] <= 1


@pytest.mark.slow
def test_same_seed_gives_same_weights_and_another_seed_other(
    data: TrainData, category: Category, tiny_config: TrainConfig, tmp_path: Path
) -> None:
    weights = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        config = with_changes(tiny_config, {"seed": seed, "schedule": {"max_steps": 2}}, "x")
        run(config, data, category, tmp_path / name)
        weights.append(load_file(tmp_path / name / "last" / "model.safetensors"))
    key = "roi_heads.keypoint_predictor.kps_score_lowres.weight"
    torch.testing.assert_close(weights[0][key], weights[1][key])
    assert not torch.allclose(weights[0][key], weights[2][key])


def test_existing_run_is_not_overwritten(
    data: TrainData, category: Category, tiny_config: TrainConfig, tmp_path: Path
) -> None:
    config = with_changes(tiny_config, {"schedule": {"max_steps": 1}}, "x")
    run(config, data, category, tmp_path / "run")
    with pytest.raises(ConfigError, match="holds a run already; add --resume"):
        run(config, data, category, tmp_path / "run")


@pytest.mark.slow
def test_resuming_with_another_recipe_or_object_is_refused(
    data: TrainData, category: Category, tiny_config: TrainConfig, tmp_path: Path
) -> None:
    run(with_changes(tiny_config, {"schedule": {"max_steps": 1}}, "x"), data, category, tmp_path / "run")
    other = with_changes(tiny_config, {"data": {"batch_size": 2}}, "x")
    with pytest.raises(ConfigError, match=r"data\.batch_size = 4, now 2"):
        run(other, data, category, tmp_path / "run", resume=True)
    renamed = replace(category, schema=replace(category.schema, names=("nose", "fin")))
    with pytest.raises(UserError, match=r"\[nose, tail\].*\[nose, fin\]"):
        run(tiny_config, data, renamed, tmp_path / "run", resume=True)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "state.json").unlink(), r"state\.json: absent, so the run cannot be continued"),
        (
            lambda f: save_file({"0.exp_avg": torch.zeros(3)}, f / "optim.safetensors"),
            r"optim\.safetensors: 0\.exp_avg .*\(3,\) fits no parameter",
        ),
    ],
)
def test_a_damaged_run_is_not_started_over(
    data: TrainData,
    category: Category,
    tiny_config: TrainConfig,
    tmp_path: Path,
    damage: Callable[[Path], None],
    message: str,
) -> None:
    config = with_changes(tiny_config, {"schedule": {"max_steps": 1}}, "x")
    run(config, data, category, tmp_path / "run")
    damage(tmp_path / "run" / "last")
    best = (tmp_path / "run" / "best" / "model.safetensors").read_bytes()
    with pytest.raises(DataError, match=message):
        run(config, data, category, tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "best" / "model.safetensors").read_bytes() == best


def test_resuming_a_finished_run_changes_nothing(
    data: TrainData, category: Category, tiny_config: TrainConfig, tmp_path: Path
) -> None:
    config = with_changes(tiny_config, {"schedule": {"max_steps": 1}}, "x")
    run(config, data, category, tmp_path / "run")
    before = (tmp_path / "run" / "last" / "model.safetensors").read_bytes()
    assert run(config, data, category, tmp_path / "run", resume=True).step == 1
    assert (tmp_path / "run" / "last" / "model.safetensors").read_bytes() == before


def test_loss_that_is_not_finite_stops_the_run_and_names_the_images(
    data: TrainData,
    category: Category,
    tiny_config: TrainConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(logits: torch.Tensor, *_: object) -> torch.Tensor:
        return logits.sum() * math.nan

    monkeypatch.setattr("train.model.detector.heatmap_loss", broken)
    meta = make_meta(tiny_config, [category], [None], {str(tmp_path / "train"): ""})
    with pytest.raises(
        UserError,
        match=r"step 0: loss nan, loss_keypoint nan.*\.jpg; `meshmark validate .*train` finds no fault",
    ):
        train(meta, data, tmp_path / "run", "cpu")
    assert not (tmp_path / "run" / "last").exists()


def test_keypoint_loss_that_stays_zero_stops_the_run(
    data: TrainData,
    category: Category,
    tiny_config: TrainConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unlabelled(sample: Any) -> Any:
        return replace(sample, keypoints=sample.keypoints * [1, 1, 0])

    monkeypatch.setattr(engine, "MAX_ZERO_STEPS", 3)
    blind = replace(data, synthetic=tuple(map(unlabelled, data.synthetic)))
    with pytest.raises(UserError, match=r"step 2: keypoint loss was 0 for 3 steps.*held 0 labelled.*\.jpg"):
        run(tiny_config, blind, category, tmp_path / "run")


@pytest.mark.slow
def test_one_image_is_learnt_to_a_pixel(
    coco_folder: Maker, category: Category, tiny_config: TrainConfig, tmp_path: Path
) -> None:
    still = dict.fromkeys(
        ("geometry", "flip", "color", "hue", "gray", "shadow", "blur", "noise", "jpeg"), 0.0
    )
    config = with_changes(
        tiny_config,
        {
            "data": {"batch_size": 1, "augment": still},
            "schedule": {"max_steps": 150, "steps_per_epoch": 150},
        },
        "x",
    )
    samples = read_samples(coco_folder(n=2), category)[1:]
    result = run(config, TrainData(samples, (), samples), category, tmp_path / "run")
    founds = detect_all(Detector.load(result.best), samples)
    errors = keypoint_errors([truth_of(s) for s in samples], founds, [category])
    assert len(errors.error_px) == 4
    assert errors.error_px.max() <= 1.0


@pytest.mark.slow
def test_worker_processes_load_the_same_batches(
    data: TrainData, category: Category, tiny_config: TrainConfig, tmp_path: Path
) -> None:
    losses = []
    for workers in (0, 2):
        config = with_changes(
            tiny_config,
            {"data": {"workers": workers}, "schedule": {"max_steps": 10, "steps_per_epoch": 10}},
            "x",
        )
        run(config, data, category, tmp_path / str(workers))
        losses.append(state(tmp_path / str(workers))["steps_log"][-1]["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.fixture
def prepared(coco_folder: Maker, tiny_config: TrainConfig, tmp_path: Path) -> TrainConfig:
    """What one_run reads; negatives and photos, crops and whole pictures in the batches, and a run that goes
    on until it has learned."""
    coco_folder("train", n=14, seed=1)
    changes = {
        "model": {"crop_px": 64},
        "data": {"real_fraction": 0.25, "crops": {"share": 0.5}},
        "schedule": {"until_learned": True},
    }
    config = with_changes(tiny_config, changes, "x")
    (tmp_path / "config.json").write_text(config.model_dump_json())
    return config


def one_run(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "tests.train.run.one_run", *map(str, arguments)]


def assert_same_gradients(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """As sums in another order allow: to a thousandth of each tensor's largest."""
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        limit = 1e-3 * float(tensor.abs().max()) + 1e-7
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=limit, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.slow
def test_batch_divided_into_parts_gives_the_gradient_of_the_whole(
    prepared: TrainConfig, tmp_path: Path
) -> None:
    alone = Processes(0, 1, torch.device("cpu"))
    whole = gradients(tmp_path, alone)
    for parts in (2, 4):
        config = with_changes(prepared, {"optim": {"accumulate": parts}}, "x")
        assert_same_gradients(gradients(tmp_path, alone, config), whole)


@pytest.mark.slow
def test_two_processes_give_the_gradient_of_one_and_resume_to_the_same_weights(
    prepared: TrainConfig, tmp_path: Path
) -> None:
    """torchrun's environment with gloo; each process takes half of the batch, one image after another."""
    torchrun([one_run(tmp_path, "two")] * 2, ROOT)
    expected = gradients(tmp_path, Processes(0, 1, torch.device("cpu")))
    assert_same_gradients(load_file(tmp_path / "two.safetensors"), expected)
    assert state(tmp_path / "two")["step"] == 4
    assert_same_snapshots(tmp_path / "two", tmp_path / "two cut")


def assert_same_snapshots(whole: Path, parts: Path) -> None:
    for name in ("last/model.safetensors", "last/optim.safetensors", "best/model.safetensors"):
        assert (whole / name).read_bytes() == (parts / name).read_bytes(), name


@pytest.mark.slow
def test_run_killed_twice_ends_with_the_weights_of_one_that_never_stopped(
    prepared: TrainConfig, tmp_path: Path
) -> None:
    """Before the first snapshot and between snapshots; equal to the last bit."""
    for step in (1, 3):
        process = subprocess.run(
            one_run(tmp_path, "kill", step), cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert process.returncode == -signal.SIGKILL, process.stderr
    assert state(tmp_path / "cut")["step"] == 2
    alone = Processes(0, 1, torch.device("cpu"))
    run_to_end(prepare.prepare(*job(tmp_path), tmp_path / "cut", alone, True))
    run_to_end(prepare.prepare(*job(tmp_path), tmp_path / "whole", alone, False))
    assert_same_snapshots(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.slow
def test_float16_scales_its_gradients_and_keeps_the_scale_for_a_resumed_run(
    prepared: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "precision_of", lambda _: torch.float16)
    meta, data = job(tmp_path)
    config = with_changes(prepared, {"amp": True, "schedule": {"max_steps": 2}}, "x")
    alone, meta = Processes(0, 1, torch.device("cpu")), replace(meta, config=config)
    run_to_end(prepare.prepare(meta, data, tmp_path / "half", alone, False))
    saved = state(tmp_path / "half")["scaler"]
    assert saved["_growth_tracker"] + (saved["scale"] < 65536.0) > 0
    resumed = prepare.prepare(meta, data, tmp_path / "half", alone, True)
    assert resumed.scaler.state_dict() == saved


def test_only_a_gpu_without_bfloat16_needs_float16(monkeypatch: pytest.MonkeyPatch) -> None:
    assert prepare.precision_of(torch.device("cpu")) == torch.float32
    for has, expected in ((True, torch.bfloat16), (False, torch.float16)):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda _, has=has: has)
        assert prepare.precision_of(torch.device("cuda")) == expected


def test_batch_that_does_not_divide_is_refused(
    data: TrainData, category: Category, tiny_config: TrainConfig, tmp_path: Path
) -> None:
    config = with_changes(tiny_config, {"optim": {"accumulate": 3}}, "x")
    with pytest.raises(ConfigError, match=r"batch_size is 4, expected a multiple of 3 .*accumulate 3"):
        run(config, data, category, tmp_path / "run")


def test_an_error_of_a_loader_process_is_told_without_its_traceback() -> None:
    def broken() -> Iterator[Any]:
        yield 1
        raise DataError("Caught DataError.\nTraceback:\n  x\nsynth.errors.DataError: a.jpg: truncated\n")

    shown = without_traceback(broken())
    assert next(shown) == 1
    with pytest.raises(DataError, match=r"^a\.jpg: truncated$"):
        next(shown)


def test_a_folder_in_which_another_run_trains_is_refused(tmp_path: Path) -> None:
    nothing: Any = None
    with locked(tmp_path / "run"), pytest.raises(InUseError, match="run: another run is writing there"):
        train(nothing, nothing, tmp_path / "run", "cpu")

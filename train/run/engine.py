"""The training run: steps, epochs, snapshots.

A step depends on nothing but the weights, the seed and its number: the batch, its augmentation and the
network's random choices are all drawn from (seed, step). So a run that goes on from a snapshot repeats the
very steps it would have made; only `max_minutes` lets a clock into the learning rate.

A step's gradient is that of its losses' mean over images, whatever the batch is divided into: processes
(torchrun) or parts one after another (optim.accumulate). What is not equal then: images of several sizes,
which are padded to the largest beside them, and backbone norms that train (model.frozen_norm: false).
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.tensorboard import SummaryWriter

from synth.errors import UserError
from synth.system.files import locked
from synth.system.progress import track
from train.model.detector import KEYPOINT_LOSSES, with_keypoints
from train.model.snapshot import Meta
from train.run.batches import Batch, TrainData, training_batches
from train.run.clock import VALIDATION_SHARE, Pace, time_left
from train.run.prepare import prepare
from train.run.processes import join_processes
from train.run.resume import save
from train.run.schedule import decay_after, lr_factor, lr_until_learned, share_done
from train.run.state import Run
from train.run.suspicion import suspicion
from train.run.validation import Validation, merit_of, validate

LOG_EVERY = 10
MAX_ZERO_STEPS = 50


@dataclass(frozen=True)
class TrainResult:
    """best, last: snapshot folders. score: of the best, its merit on the
    validation images (see validation.Validation)."""

    best: Path
    last: Path
    step: int
    score: float


def train(
    meta: Meta,
    data: TrainData,
    out: Path,
    device: str,
    resume: bool = False,
    init: Path | None = None,
) -> TrainResult:
    """Trains until the schedule's end; leaves `out`/best, /last, curves.png and tensorboard/.

    meta: the run's config, and what its weights are for; step, score and calibration are filled in here.
    init: a snapshot to start from instead, as far as its tensors fit.
    Raises UserError for losses that are not finite, for a keypoint loss that stays 0, for a snapshot that
    does not fit, and for an `out` that already holds a run unless `resume` or in which another one trains.
    """
    processes = join_processes(device)
    try:
        with locked(out) if processes.leads else nullcontext():
            return run_to_end(prepare(meta, data, out, processes, resume, init))
    finally:
        processes.close()


def run_to_end(run: Run) -> TrainResult:
    """Epochs until the schedule's end, from where the run stands."""
    state = run.state
    began = time.monotonic() - state.seconds
    batches = training_batches(run.meta, run.data, run.processes, state.step)
    writer = None
    if run.processes.leads:
        writer = SummaryWriter(str(run.out / "tensorboard"), purge_step=state.step + 1)
    try:
        share = share_done(run.config.schedule, state.step, state.seconds, run.last_step)
        while share < 1:
            share = _epoch(run, batches, began, writer)
    finally:
        if writer is not None:
            writer.close()
    best = run.processes.from_leader(run.state.best_score)
    return TrainResult(run.out / "best", run.out / "last", run.state.step, best)


def _epoch(run: Run, batches: Iterator[Batch], began: float, writer: SummaryWriter | None) -> float:
    """Steps up to the next snapshot, which it writes; returns the share of the run that is over."""
    schedule, state, processes = run.config.schedule, run.state, run.processes
    per_epoch = schedule.steps_per_epoch
    first = state.step // per_epoch * per_epoch
    end = run.last_step
    label = f"epoch {state.step // per_epoch + 1}"
    todo = range(state.step, min(first + per_epoch, end))

    def left(step: int, rate: float) -> str:
        return _time_left(run, step, rate, time.monotonic() - began)

    shown = track(todo, end, label, start=state.step, left=left) if processes.leads else todo
    sums: dict[str, list[float]] = {}
    start_step, start_time = state.step, time.monotonic()
    share = 0.0
    for step in shown:
        share = share_done(schedule, step, time.monotonic() - began, run.last_step)
        share = processes.from_leader(share)
        if share >= 1:
            break
        losses, lr = train_step(run, step, next(batches), share)
        for name, value in losses.items():
            sums.setdefault(name, []).append(value)
        state.step = step + 1
        if state.step % LOG_EVERY == 0:
            row = {"step": float(state.step), "lr": lr, **{k: float(np.mean(v)) for k, v in sums.items()}}
            state.steps_log.append(row)
            _write_scalars(writer, "train", row)
            sums = {}
    rate = (state.step - start_step) / max(time.monotonic() - start_time, 1e-9)
    validating = time.monotonic()
    validation = validate(run) if processes.leads else None
    state.validation_seconds += time.monotonic() - validating
    state.seconds = processes.from_leader(time.monotonic() - began)
    if validation is not None:
        state.epochs_log.append({"step": float(state.step), **validation.scores})
        if schedule.until_learned and not state.decay_to:
            merits = [merit_of(row) for row in state.epochs_log]
            state.decay_from, state.decay_to = decay_after(schedule, state.epochs_log, merits)
    state.decay_from, state.decay_to = (
        int(processes.from_leader(value)) for value in (state.decay_from, state.decay_to)
    )
    share = share_done(schedule, state.step, state.seconds, run.last_step)
    if validation is not None:
        _write_scalars(writer, "validation", {"step": float(state.step), **validation.scores})
        saving = time.monotonic()
        save(run, validation)
        state.validation_seconds += time.monotonic() - saving
        _say(run, label, validation, rate, share)
    processes.wait()
    return share


def train_step(run: Run, step: int, batch: Batch, share: float) -> tuple[dict[str, float], float]:
    """One update of the weights. share: of the run that is over.

    Returns the losses of the whole batch and the heads' learning rate. Raises UserError as check_losses.
    """
    images, targets, names = batch
    factor = lr_factor(share, run.config.optim.warmup_share)
    if run.config.schedule.until_learned:
        factor = lr_until_learned(step, (run.state.decay_from, run.state.decay_to))
    for group in run.optimizer.param_groups:
        group["lr"] = group["peak_lr"] * factor
    run.network.train()
    run.optimizer.zero_grad(set_to_none=True)
    losses = _gradients(run, images, targets)
    values = {"loss": float(sum(losses.values())), **losses}
    check_losses(run, step, values, targets, names)
    run.scaler.unscale_(run.optimizer)
    nn.utils.clip_grad_norm_(run.model.parameters(), run.config.optim.clip_norm)
    run.scaler.step(run.optimizer)
    run.scaler.update()
    return values, max(group["lr"] for group in run.optimizer.param_groups)


def _gradients(run: Run, images: list[Tensor], targets: list[dict[str, Tensor]]) -> dict[str, float]:
    """Adds up the gradient of this process's images, part by part; DistributedDataParallel averages those of
    the processes, hence the factor. Returns the losses of all processes' images."""
    network, device = run.network, run.processes.device
    world_size, whole = run.processes.world_size, run.config.data.batch_size
    labelled = float(run.processes.total(torch.tensor([with_keypoints(targets)], dtype=torch.float64)))
    parts = parts_of_one_size(images, run.config.optim.accumulate, run.config.model.crop_px)
    sums: dict[str, Tensor] = {}
    for number, chosen in enumerate(parts, start=1):
        part, own = [images[i] for i in chosen], [targets[i] for i in chosen]
        waits = isinstance(network, DistributedDataParallel) and number < len(parts)
        with network.no_sync() if waits else nullcontext():  # type: ignore[operator]
            half = run.precision != torch.float32
            with torch.autocast(device.type, run.precision, enabled=half):
                losses: Mapping[str, Tensor] = network(
                    [image.to(device, non_blocking=True).float() / 255 for image in part],
                    [{k: v.to(device, non_blocking=True) for k, v in t.items()} for t in own],
                )
            shares = dict.fromkeys(losses, len(part) / whole)
            shares |= dict.fromkeys(KEYPOINT_LOSSES, with_keypoints(own) / max(labelled, 1.0))
            weighted = {name: value.float() * shares[name] for name, value in losses.items()}
            total = torch.stack(list(weighted.values())).sum() * world_size
            run.scaler.scale(total).backward()  # type: ignore[no-untyped-call]
        sums = {name: sums.get(name, 0.0) + value.detach() for name, value in weighted.items()}
    totals = run.processes.total(torch.stack(list(sums.values())))
    return dict(zip(sums, totals.tolist(), strict=True))


def parts_of_one_size(images: Sequence[Tensor], count: int, crop_px: int) -> list[list[int]]:
    """Which images go through the network together: `count` parts or more, crops apart from whole pictures,
    so that none is padded to the other's size. crop_px: side of the crops."""
    size = len(images) // count
    parts = []
    for start in range(0, len(images), size):
        here = range(start, start + size)
        crops = [i for i in here if images[i].shape[1:] == (crop_px, crop_px)]
        parts += [crops, [i for i in here if i not in crops]]
    return [part for part in parts if part]


def check_losses(
    run: Run, step: int, losses: dict[str, float], targets: list[dict[str, Tensor]], names: list[str]
) -> None:
    """Raises UserError for a loss that is not finite, and for a keypoint loss of 0 in MAX_ZERO_STEPS steps in
    a row; both name the batch's images and what is wrong with the labels, if it can be told."""
    if not math.isfinite(losses["loss"]):
        bad = ", ".join(f"{name} {value:g}" for name, value in losses.items() if not math.isfinite(value))
        raise UserError(
            f"step {step}: {bad}, expected finite losses; the batch was {', '.join(names)}; "
            f"{suspicion(run.meta.data)}"
        )
    run.zero_steps = 0 if losses["loss_keypoint"] != 0 else run.zero_steps + 1
    if run.zero_steps == MAX_ZERO_STEPS:
        labelled = sum(int((t["keypoints"][..., 2] > 0).sum()) for t in targets)
        raise UserError(
            f"step {step}: keypoint loss was 0 for {MAX_ZERO_STEPS} steps; last batch held {labelled} "
            f"labelled keypoints, expected some inside boxes; images: {', '.join(names)}; "
            f"{suspicion(run.meta.data)}"
        )


def _say(run: Run, label: str, validation: Validation, rate: float, share: float) -> None:
    """A line of scores; at the end of the run also what goes wrong."""
    state = run.state
    losses = state.steps_log[-1] if state.steps_log else {}
    parts = [f"step {state.step}"]
    parts += [f"loss {losses['loss']:.3f}"] if losses else []
    parts += [f"{name} {value:.3f}" for name, value in validation.scores.items()]
    left = _time_left(run, state.step, rate, state.seconds)
    parts += [f"{rate:.2f} steps/s", left if share < 1 else "done"]
    console = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
    console.print(f"{label}: {', '.join(parts)}")
    for sentence in validation.words if share >= 1 else ():
        console.print(f"- on the validation images {sentence}")
    spent = state.validation_seconds / max(state.seconds, 1e-9)
    if share >= 1 and spent > VALIDATION_SHARE:
        console.print(
            f"- validations took {spent:.0%} of the time; less with a smaller data.max_validation_images or "
            "a larger schedule.steps_per_epoch"
        )


def _time_left(run: Run, step: int, rate: float, seconds: float) -> str:
    """In words. rate: steps a second. seconds: of the run so far."""
    state, schedule = run.state, run.config.schedule
    epochs = len(state.epochs_log)
    pace = Pace(1 / max(rate, 1e-9), state.validation_seconds / epochs if epochs else None)
    end_known = not schedule.until_learned or state.decay_to > 0
    return time_left(schedule, step, run.last_step, seconds, pace, state.epochs_log, end_known)


def _write_scalars(writer: SummaryWriter | None, group: str, row: dict[str, float]) -> None:
    if writer is not None:
        for name, value in row.items():
            if name != "step":
                writer.add_scalar(f"{group}/{name.replace(' ', '_')}", value, int(row["step"]))

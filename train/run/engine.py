"""The training run: steps, epochs, snapshots, and going on from one.

A step depends on nothing but the weights, the seed and its number: the batch, its augmentation and the
network's random choices are all drawn from (seed, step). So a run that goes on from a snapshot repeats the
very steps it would have made; only `max_minutes` lets a clock into the learning rate.

A step's gradient is that of its losses' mean over images, whatever the batch is divided into: processes
(torchrun) or parts one after another (optim.accumulate). What is not equal then: images of several sizes,
which are padded to the largest beside them, and backbone norms that train (model.frozen_norm: false).
"""

import json
import logging
import math
import multiprocessing
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter

from synth.errors import ConfigError, DataError, UserError
from synth.system.progress import clock, track
from synth.system.worker import tune_worker
from train.config import OptimConfig, ScheduleConfig, TrainConfig
from train.data.mix import ENDLESS, MixedBatchSampler, real_share
from train.data.online import OnlineImages
from train.data.transforms import TrainingImages
from train.detect.predict import Detector
from train.model.average import WeightAverage
from train.model.build import parameter_groups
from train.model.detector import KeypointDetector, with_keypoints
from train.model.heatmaps import Calibration
from train.model.snapshot import (
    MODEL,
    OPTIM,
    STATE,
    Meta,
    check_objects,
    load_weights,
    network_for,
    optimizer_tensors,
    read_meta,
    read_tensors,
    recover,
    restore_optimizer,
    warm_start,
    write_snapshot,
)
from train.run.curves import write_curves
from train.run.processes import Processes, join_processes
from train.run.suspicion import suspicion
from train.score.evaluate import detect_all
from train.score.metrics import evaluate
from train.score.reliability import fit_calibrations
from train.types import Sample, truth_of

log = logging.getLogger(__name__)
REFERENCE_BATCH = 4
LOG_EVERY = 10
MAX_ZERO_STEPS = 50
FIRST_LR_SHARE = 0.04
TRAINED = "trained/"
"""Of weights as they are trained, where a snapshot holds their average."""
Batch = tuple[list[Tensor], list[dict[str, Tensor]], list[str]]


@dataclass(frozen=True)
class TrainData:
    """What a run learns from and chooses its best snapshot on.

    sets: (size, weight) of the parts `synthetic` is made of; () if all its images come equally often.
    """

    synthetic: tuple[Sample, ...] | OnlineImages
    real: tuple[Sample, ...]
    validation: tuple[Sample, ...]
    sets: tuple[tuple[int, float], ...] = ()

    @property
    def n_synthetic(self) -> int:
        return ENDLESS if isinstance(self.synthetic, OnlineImages) else len(self.synthetic)


@dataclass(frozen=True)
class TrainResult:
    """best, last: snapshot folders. score: of the best, keypoint AP on the validation images."""

    best: Path
    last: Path
    step: int
    score: float


@dataclass
class Progress:
    """Where the run stands; saved with every snapshot."""

    step: int
    seconds: float
    best_score: float
    steps_log: list[dict[str, float]]
    epochs_log: list[dict[str, float]]


def loader_processes() -> multiprocessing.context.ForkServerContext:
    """Workers forked from a process that holds this module; else each imports it, one after another."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def lr_factor(progress: float, warmup_share: float) -> float:
    """One cycle: from FIRST_LR_SHARE up to 1 over the warm-up, then half a cosine to 0. progress: [0, 1]."""
    if progress < warmup_share:
        return FIRST_LR_SHARE + (1 - FIRST_LR_SHARE) * progress / warmup_share
    rest = (progress - warmup_share) / (1 - warmup_share) if warmup_share < 1 else 1.0
    return 0.5 * (1 + math.cos(math.pi * min(rest, 1.0)))


def reported(batches: Iterable[Batch]) -> Iterator[Batch]:
    """The batches; an error of a loader process as it was, without the traceback that torch puts first."""
    try:
        yield from batches
    except UserError as error:
        name = f"{type(error).__module__}.{type(error).__qualname__}: "
        raise type(error)(str(error).rsplit(name, 1)[-1].strip()) from None


def run_progress(schedule: ScheduleConfig, step: int, seconds: float) -> float:
    """Share of the run that is over, by steps or by time, whichever is further."""
    by_steps = step / schedule.max_steps
    by_time = seconds / (60 * schedule.max_minutes) if schedule.max_minutes else 0.0
    return min(1.0, max(by_steps, by_time))


def train(
    config: TrainConfig,
    data: TrainData,
    meta: Meta,
    out: Path,
    device: str,
    resume: bool = False,
    init: Path | None = None,
) -> TrainResult:
    """Trains until the schedule's end; leaves `out`/best, /last, curves.png and tensorboard/.

    meta: describes the weights (categories, data hashes); its step, score and calibration are filled in here.
    init: a snapshot to start from instead, as far as its tensors fit.
    Raises UserError for losses that are not finite, for a keypoint loss that stays 0, for a snapshot that
    does not fit, and for an `out` that already holds a run unless `resume`.
    """
    processes = join_processes(device)
    try:
        return Run(config, data, meta, out, processes, resume, init).go()
    finally:
        processes.close()


class Run:
    def __init__(
        self,
        config: TrainConfig,
        data: TrainData,
        meta: Meta,
        out: Path,
        processes: Processes,
        resume: bool,
        init: Path | None = None,
    ) -> None:
        self.config, self.data, self.meta, self.out = config, data, meta, out
        self.processes, self.device = processes, processes.device
        self.progress = Progress(0, 0.0, -1.0, [], [])
        if processes.leads:
            recover(out / "last")
            recover(out / "best")
        processes.wait()
        parts = processes.world_size * config.optim.accumulate
        if config.data.batch_size % parts:
            raise ConfigError(
                f"data.batch_size is {config.data.batch_size}, expected a multiple of {parts} "
                f"({processes.world_size} processes, optim.accumulate {config.optim.accumulate})"
            )
        continues = resume and (out / "last" / STATE).is_file()
        if (out / "last").exists() and not resume:
            raise ConfigError(
                f"{out}: holds a run already; add --resume to continue it or choose another folder"
            )
        if (out / "last").exists() and not continues:
            raise DataError(f"{out / 'last' / STATE}: absent, so the run cannot be continued")
        torch.manual_seed(config.seed)
        self.model = network_for(meta, vendor=not continues).to(self.device)
        if init is not None and not continues:
            warm_start(self.model, init)
        self.optimizer = make_optimizer(self.model, config.optim, config.data.batch_size)
        self.average = WeightAverage(self.model, config.optim.ema_decay) if config.optim.ema_decay else None
        self.precision = precision(self.device) if config.amp else torch.float32
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == torch.float16)
        if continues:
            self._restore(out / "last")
        self.network: nn.Module = self.model
        if processes.world_size > 1:
            self.network = DistributedDataParallel(self.model, find_unused_parameters=True)
        self.zero_steps = 0

    def go(self) -> TrainResult:
        schedule = self.config.schedule
        began = time.monotonic() - self.progress.seconds
        batches = self._batches()
        writer = (
            SummaryWriter(str(self.out / "tensorboard"), purge_step=self.progress.step + 1)
            if self.processes.leads
            else None
        )
        try:
            share = run_progress(schedule, self.progress.step, self.progress.seconds)
            while share < 1:
                share = self._epoch(batches, began, writer)
        finally:
            if writer is not None:
                writer.close()
        best = self.processes.from_leader(self.progress.best_score)
        return TrainResult(self.out / "best", self.out / "last", self.progress.step, best)

    def _batches(self) -> Iterator[Batch]:
        """This process's batches up to the run's end; the workers that load them live as long."""
        data, config = self.config.data, self.config
        counts = self.data.n_synthetic, len(self.data.real)
        share = data.real_fraction
        sampler = MixedBatchSampler(
            *counts,
            batch_size=data.batch_size,
            real_fraction=real_share(*counts) if share is None else share,
            seed=config.seed,
            start_step=self.progress.step,
            end_step=config.schedule.max_steps,
            rank=self.processes.rank,
            world_size=self.processes.world_size,
            sets=self.data.sets,
        )
        images = TrainingImages(
            self.data.synthetic, self.data.real, self.meta.categories, data, config.model.long_side_px
        )
        return reported(
            DataLoader(
                images,
                batch_sampler=sampler,
                num_workers=data.workers,
                worker_init_fn=tune_worker,
                collate_fn=collate,
                multiprocessing_context=loader_processes() if data.workers else None,
                prefetch_factor=4 if data.workers else None,
                pin_memory=self.device.type == "cuda",
            )
        )

    def _epoch(self, batches: Iterator[Batch], began: float, writer: SummaryWriter | None) -> float:
        """Steps up to the next snapshot; returns the share of the run that is over."""
        schedule, now = self.config.schedule, self.progress
        per_epoch = schedule.steps_per_epoch
        first = now.step // per_epoch * per_epoch
        last = min(first + per_epoch, schedule.max_steps)
        label = f"epoch {now.step // per_epoch + 1}"
        todo = range(now.step, last)
        shown = track(todo, last - first, label, start=now.step - first) if self.processes.leads else todo
        sums: dict[str, list[float]] = {}
        start_step, start_time = now.step, time.monotonic()
        share = 0.0
        for step in shown:
            share = self.processes.from_leader(run_progress(schedule, step, time.monotonic() - began))
            if share >= 1:
                break
            losses, lr = self._step(step, next(batches), share)
            for name, value in losses.items():
                sums.setdefault(name, []).append(value)
            now.step = step + 1
            if now.step % LOG_EVERY == 0:
                row = {"step": float(now.step), "lr": lr, **{k: float(np.mean(v)) for k, v in sums.items()}}
                now.steps_log.append(row)
                _write_scalars(writer, "train", row)
                sums = {}
        rate = (now.step - start_step) / max(time.monotonic() - start_time, 1e-9)
        scores, calibration = self._validate() if self.processes.leads else ({}, ())
        now.seconds = self.processes.from_leader(time.monotonic() - began)
        share = run_progress(schedule, now.step, now.seconds)
        if self.processes.leads:
            _write_scalars(writer, "validation", {"step": float(now.step), **scores})
            self._save(scores, calibration)
            self._say(label, scores, rate, share)
        self.processes.wait()
        return share

    def _step(self, step: int, batch: Batch, share: float) -> tuple[dict[str, float], float]:
        """One update. Returns the losses of the whole batch and the heads' learning rate."""
        images, targets, names = batch
        factor = lr_factor(share, self.config.optim.warmup_share)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak_lr"] * factor
        self.network.train()
        self.optimizer.zero_grad(set_to_none=True)
        losses = self._gradients(images, targets)
        values = {"loss": float(sum(losses.values())), **losses}
        self._check(step, values, targets, names)
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.model.parameters(), self.config.optim.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average is not None:
            self.average.update(self.model)
        return values, max(group["lr"] for group in self.optimizer.param_groups)

    def _gradients(self, images: list[Tensor], targets: list[dict[str, Tensor]]) -> dict[str, float]:
        """Adds up the gradient of this process's images, part by part; DistributedDataParallel averages those
        of the processes, hence the factor. Returns the losses of all processes' images."""
        world_size, whole = self.processes.world_size, self.config.data.batch_size
        labelled = float(self.processes.total(torch.tensor([with_keypoints(targets)], dtype=torch.float64)))
        size = len(images) // self.config.optim.accumulate
        sums: dict[str, Tensor] = {}
        for start in range(0, len(images), size):
            part, own = images[start : start + size], targets[start : start + size]
            waits = isinstance(self.network, DistributedDataParallel) and start + size < len(images)
            with self.network.no_sync() if waits else nullcontext():  # type: ignore[operator]
                half = self.precision != torch.float32
                with torch.autocast(self.device.type, self.precision, enabled=half):
                    losses: Mapping[str, Tensor] = self.network(
                        [image.to(self.device, non_blocking=True).float() / 255 for image in part],
                        [{k: v.to(self.device, non_blocking=True) for k, v in t.items()} for t in own],
                    )
                shares = dict.fromkeys(losses, size / whole)
                shares["loss_keypoint"] = with_keypoints(own) / max(labelled, 1.0)
                weighted = {name: value.float() * shares[name] for name, value in losses.items()}
                total = torch.stack(list(weighted.values())).sum() * world_size
                self.scaler.scale(total).backward()  # type: ignore[no-untyped-call]
            sums = {name: sums.get(name, 0.0) + value.detach() for name, value in weighted.items()}
        totals = self.processes.total(torch.stack(list(sums.values())))
        return dict(zip(sums, totals.tolist(), strict=True))

    def _check(
        self, step: int, losses: dict[str, float], targets: list[dict[str, Tensor]], names: list[str]
    ) -> None:
        if not math.isfinite(losses["loss"]):
            bad = ", ".join(f"{name} {value:g}" for name, value in losses.items() if not math.isfinite(value))
            raise UserError(
                f"step {step}: {bad}, expected finite losses; the batch was {', '.join(names)}; "
                f"{suspicion(self.meta.data)}"
            )
        self.zero_steps = 0 if losses["loss_keypoint"] != 0 else self.zero_steps + 1
        if self.zero_steps == MAX_ZERO_STEPS:
            labelled = sum(int((t["keypoints"][..., 2] > 0).sum()) for t in targets)
            raise UserError(
                f"step {step}: keypoint loss was 0 for {MAX_ZERO_STEPS} steps; last batch held {labelled} "
                f"labelled keypoints, expected some inside boxes; images: {', '.join(names)}; "
                f"{suspicion(self.meta.data)}"
            )

    def _validate(self) -> tuple[dict[str, float], tuple[Calibration, ...]]:
        detector = Detector(self.model, self.meta.categories, self.config.model.long_side_px, self.device)
        samples = self.data.validation
        if self.average is None:
            founds = detect_all(detector, samples)
        else:
            with self.average.applied(self.model):
                founds = detect_all(detector, samples)
        truths = [truth_of(sample) for sample in samples]
        result = evaluate(truths, founds, self.meta.categories)
        scores = {
            "bbox AP": result["bbox"]["ap"] or 0.0,
            "keypoint AP": result["keypoints"]["ap"] or 0.0,
            "PCK@0.05": result["pck"]["0.05"] or 0.0,
            "PCK@0.10": result["pck"]["0.10"] or 0.0,
        }
        return scores, fit_calibrations(truths, founds, len(self.meta.categories))

    def _save(self, scores: dict[str, float], calibration: tuple[Calibration, ...]) -> None:
        now = self.progress
        now.epochs_log.append({"step": float(now.step), **scores})
        score = scores["keypoint AP"]
        best = score >= now.best_score
        now.best_score = max(now.best_score, score)
        meta = replace(self.meta, step=now.step, score=score, calibration=calibration)
        trained = self.model.state_dict()
        kept = trained if self.average is None else self.average.whole(self.model)
        if best:
            write_snapshot(self.out / "best", meta, kept)
        tensors = optimizer_tensors(self.optimizer)
        if self.average is not None:
            tensors |= {TRAINED + name: trained[name] for name in self.average.values}
        state = {**now.__dict__, "scaler": self.scaler.state_dict()}
        write_snapshot(self.out / "last", meta, kept, tensors, state)
        write_curves(self.out / "curves.png", now.steps_log, now.epochs_log)

    def _restore(self, folder: Path) -> None:
        saved = read_meta(folder)
        check_objects(saved.categories, self.meta.categories, str(folder))
        _same_recipe(saved.config, self.config, str(folder))
        if saved.data != self.meta.data:
            log.warning("%s: the training labels changed since this snapshot", folder)
        kept, tensors = read_tensors(folder / MODEL), read_tensors(folder / OPTIM)
        load_weights(self.model, kept, str(folder / MODEL))
        trained = {k.removeprefix(TRAINED): v for k, v in tensors.items() if k.startswith(TRAINED)}
        own = {k: v for k, v in tensors.items() if not k.startswith(TRAINED)}
        restore_optimizer(self.optimizer, own, str(folder / OPTIM))
        try:
            state = json.loads((folder / STATE).read_text(encoding="utf-8"))
            self.scaler.load_state_dict(state.pop("scaler"))
            self.progress = Progress(**state)
        except (OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise DataError(f"{folder / STATE}: not a run's state: {error}") from error
        if self.average is not None:
            if trained.keys() != self.average.values.keys():
                raise DataError(f"{folder / OPTIM}: lacks the weights that the average is made of")
            self.average.restore({n: kept[n] for n in trained}, self.progress.step, self.device)
            self.model.load_state_dict(kept | trained)

    def _say(self, label: str, scores: dict[str, float], rate: float, share: float) -> None:
        losses = self.progress.steps_log[-1] if self.progress.steps_log else {}
        left = self.progress.seconds * (1 - share) / share if share > 0 else 0.0
        parts = [f"step {self.progress.step}"]
        parts += [f"loss {losses['loss']:.3f}"] if losses else []
        parts += [f"{name} {value:.3f}" for name, value in scores.items()]
        parts += [f"{rate:.2f} steps/s", f"{clock(left)} left" if share < 1 else "done"]
        Console(stderr=True, highlight=False).print(f"{label}: {', '.join(parts)}", soft_wrap=True)


def precision(device: torch.device) -> torch.dtype:
    """What a network trains in with `amp`: bfloat16 where the GPU has it, else float16, whose small gradients
    a GradScaler keeps from vanishing; float32 on a CPU."""
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(False) else torch.float16


def collate(items: list[tuple[Tensor, dict[str, Tensor], str]]) -> Batch:
    images, targets, names = zip(*items, strict=True)
    return list(images), list(targets), list(names)


def make_optimizer(model: KeypointDetector, config: OptimConfig, batch_size: int) -> torch.optim.AdamW:
    """AdamW; each group's `peak_lr` is its rate at the top of the cycle."""
    scale = math.sqrt(batch_size / REFERENCE_BATCH)
    groups = parameter_groups(model, config.backbone_lr * scale, config.head_lr * scale, config.weight_decay)
    return torch.optim.AdamW([{**group, "peak_lr": group["lr"]} for group in groups])


def _same_recipe(saved: TrainConfig, asked: TrainConfig, where: str) -> None:
    """A run goes on with its own recipe; only the schedule, workers and validation size may change."""
    a, b = (c.model_dump(mode="json", exclude={"schedule": True}) for c in (saved, asked))
    for section in (a, b):
        for key in ("workers", "max_validation_images"):
            section["data"].pop(key)
        section["model"].pop("weights_file")
    for key in a:
        if a[key] != b[key]:
            inner = (
                next((k for k in a[key] if a[key][k] != b[key][k]), "") if isinstance(a[key], dict) else ""
            )
            old, new = (a[key][inner], b[key][inner]) if inner else (a[key], b[key])
            name = f"{key}.{inner}" if inner else key
            raise ConfigError(
                f"{where}: the run was started with {name} = {old}, now {new}; it cannot go on so"
            )


def _write_scalars(writer: SummaryWriter | None, group: str, row: dict[str, float]) -> None:
    if writer is not None:
        for name, value in row.items():
            if name != "step":
                writer.add_scalar(f"{group}/{name.replace(' ', '_')}", value, int(row["step"]))

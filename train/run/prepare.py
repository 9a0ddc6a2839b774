"""From a config to a run that can take its next step: its folder checked, its network built or restored."""

import math
from pathlib import Path

import torch
from torch.nn.parallel import DistributedDataParallel

from synth.errors import ConfigError
from train.config import OptimConfig, TrainConfig
from train.model.build import parameter_groups
from train.model.detector import KeypointDetector
from train.model.snapshot import Meta, network_for, recover, warm_start
from train.run.batches import TrainData
from train.run.processes import Processes
from train.run.resume import continues, restore, with_its_size
from train.run.state import Run

REFERENCE_BATCH = 4
"""Images a step that the learning rates of the config are meant for."""


def prepare(
    meta: Meta,
    data: TrainData,
    out: Path,
    processes: Processes,
    resume: bool = False,
    init: Path | None = None,
) -> Run:
    """A new run, or with `resume` the one in `out`, where it stood. Arguments and errors: as engine.train."""
    if processes.leads:
        recover(out / "last")
        recover(out / "best")
    processes.wait()
    check_batch(meta.config, processes)
    goes_on = continues(out, resume)
    if goes_on:
        meta = with_its_size(meta, out / "last")
    run = build(meta, data, out, processes, vendor=not goes_on)
    if goes_on:
        restore(run, out / "last")
    elif init is not None:
        warm_start(run.model, init)
    if processes.world_size > 1:
        run.network = DistributedDataParallel(run.model, find_unused_parameters=True)
    return run


def check_batch(config: TrainConfig, processes: Processes) -> None:
    """Raises ConfigError for a batch that does not divide into equal parts."""
    parts = processes.world_size * config.optim.accumulate
    if config.data.batch_size % parts:
        raise ConfigError(
            f"data.batch_size is {config.data.batch_size}, expected a multiple of {parts} "
            f"({processes.world_size} processes, optim.accumulate {config.optim.accumulate})"
        )


def build(meta: Meta, data: TrainData, out: Path, processes: Processes, vendor: bool) -> Run:
    """The network and what trains it, at their start. vendor: with its first weights."""
    config = meta.config
    torch.manual_seed(config.seed)
    model = network_for(meta, vendor).to(processes.device)
    precision = precision_of(processes.device) if config.amp else torch.float32
    return Run(
        meta,
        data,
        out,
        processes,
        model,
        model,
        make_optimizer(model, config.optim, config.data.batch_size),
        torch.amp.GradScaler(processes.device.type, enabled=precision == torch.float16),
        precision,
    )


def precision_of(device: torch.device) -> torch.dtype:
    """What a network trains in with `amp`: bfloat16 where the GPU has it, else float16, whose small gradients
    a GradScaler keeps from vanishing; float32 on a CPU."""
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(False) else torch.float16


def make_optimizer(model: KeypointDetector, config: OptimConfig, batch_size: int) -> torch.optim.AdamW:
    """AdamW; each group's `peak_lr` is its learning rate at the top of the cycle.

    The rates grow with the square root of the batch size, as the noise of a mean gradient falls with it.
    """
    scale = math.sqrt(batch_size / REFERENCE_BATCH)
    groups = parameter_groups(model, config.backbone_lr * scale, config.head_lr * scale, config.weight_decay)
    return torch.optim.AdamW([{**group, "peak_lr": group["lr"]} for group in groups])

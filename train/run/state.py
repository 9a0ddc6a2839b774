"""A training run in memory."""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from train.config import TrainConfig
from train.model.detector import KeypointDetector
from train.model.snapshot import Meta
from train.run.batches import TrainData
from train.run.processes import Processes


@dataclass
class RunState:
    """How far the run has come; saved with every snapshot, each field by its name.

    seconds: of training, over all the times the run was started. best_score: keypoint AP on the validation
    images of the best snapshot, -1 before there is one. steps_log: rows of mean losses and learning rate.
    epochs_log: rows of validation scores.
    """

    step: int = 0
    seconds: float = 0.0
    best_score: float = -1.0
    steps_log: list[dict[str, float]] = field(default_factory=list)
    epochs_log: list[dict[str, float]] = field(default_factory=list)


@dataclass
class Run:
    """All that a step works on.

    network: the model, or the model wrapped for several processes. precision: the type it computes in.
    zero_steps: steps in a row whose keypoint loss was 0.
    """

    meta: Meta
    data: TrainData
    out: Path
    processes: Processes
    model: KeypointDetector
    network: nn.Module
    optimizer: torch.optim.AdamW
    scaler: torch.amp.GradScaler
    precision: torch.dtype
    state: RunState = field(default_factory=RunState)
    zero_steps: int = 0

    @property
    def config(self) -> TrainConfig:
        return self.meta.config

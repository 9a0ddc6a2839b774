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

    seconds: of training, over all the times the run was started. validation_seconds: of these, those of
    validations and snapshots. best_score: merit of the best snapshot on
    the validation images (see validation.Validation), -1 before there is one. steps_log: rows of mean losses
    and learning rate. epochs_log: rows of validation scores. decay_from, decay_to: steps between which the
    learning rate of a run until learned falls, 0 while that is not known.
    """

    step: int = 0
    seconds: float = 0.0
    best_score: float = -1.0
    steps_log: list[dict[str, float]] = field(default_factory=list)
    epochs_log: list[dict[str, float]] = field(default_factory=list)
    decay_from: int = 0
    decay_to: int = 0
    validation_seconds: float = 0.0


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

    @property
    def last_step(self) -> int:
        """The run's end, as far as it is known."""
        schedule = self.config.schedule
        known = (self.state.decay_to if schedule.until_learned else 0) or schedule.max_steps
        return min(known, schedule.max_steps)

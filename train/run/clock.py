"""How long a run will still take, to its very end: steps, validations, snapshots."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from synth.system.progress import clock
from train.config import ScheduleConfig
from train.run.schedule import likely_end

VALIDATION_SHARE = 0.1
"""Of a run's time that validations may take; so much is expected of them before one was measured."""


@dataclass(frozen=True)
class Pace:
    """step_s: seconds a step. snapshot_s: of validation and snapshot after an epoch; None before any."""

    step_s: float
    snapshot_s: float | None

    def seconds(self, step: int, end: int, per_epoch: int) -> float:
        """From a step to the run's end at step `end`, with all snapshots between."""
        snapshot_s = self.snapshot_s
        if snapshot_s is None:
            snapshot_s = VALIDATION_SHARE * per_epoch * self.step_s
        snapshots = math.ceil(end / per_epoch) - step // per_epoch
        return (end - step) * self.step_s + snapshots * snapshot_s


def time_left(
    schedule: ScheduleConfig,
    step: int,
    last_step: int,
    elapsed_s: float,
    pace: Pace,
    log: Sequence[dict[str, float]],
    end_known: bool,
) -> str:
    """In words. last_step: the run's end, or its latest unless end_known. elapsed_s: of the run so far.
    log: rows of validation scores, one a snapshot."""
    most = pace.seconds(step, last_step, schedule.steps_per_epoch)
    if schedule.max_minutes is not None:
        most = min(most, max(0.0, 60 * schedule.max_minutes - elapsed_s) + (pace.snapshot_s or 0.0))
    if end_known:
        return f"{clock(most)} left"
    likely = likely_end(schedule, log)
    if likely is None:
        return f"at most {clock(most)} left, less if it has learned before"
    sooner = pace.seconds(step, max(likely, step), schedule.steps_per_epoch)
    return f"at most {clock(most)} left, likely {clock(sooner)}"

"""How far a run is, by steps or by the clock, and the learning rate that follows from it."""

import math

from train.config import ScheduleConfig

FIRST_LR_SHARE = 0.04


def share_done(schedule: ScheduleConfig, step: int, seconds: float) -> float:
    """Share of the run that is over, in [0, 1]: by steps or by time, whichever is further."""
    by_steps = step / schedule.max_steps
    by_time = seconds / (60 * schedule.max_minutes) if schedule.max_minutes else 0.0
    return min(1.0, max(by_steps, by_time))


def lr_factor(share: float, warmup_share: float) -> float:
    """The learning rate as a multiple of its peak, when `share` of the run, in [0, 1], is over.

    One cycle: it rises in a line from FIRST_LR_SHARE to 1 over the warm-up, then falls to 0 as half a cosine.
    """
    if share < warmup_share:
        return FIRST_LR_SHARE + (1 - FIRST_LR_SHARE) * share / warmup_share
    rest = (share - warmup_share) / (1 - warmup_share) if warmup_share < 1 else 1.0
    return 0.5 * (1 + math.cos(math.pi * min(rest, 1.0)))

"""How far a run is, by steps or by the clock, and the learning rate that follows from it."""

import math
from collections.abc import Sequence

from train.config import ScheduleConfig

FIRST_LR_SHARE = 0.04
WARM_UP_STEPS = 50
"""Of a run until learned, whose length is not known when it begins."""
DECAY_SHARE = 0.4
"""A run until learned lets its learning rate fall over this share of its steps so far, at least 2 epochs."""
LEARNED = 0.90
"""PCK@0.10 on the validation images from which on a finer learning rate is what is missing."""
PATIENCE, GAIN, STALLS_FROM = 3, 0.01, 0.8
"""Snapshots in a row that are not better than the best before by that much: the run has stalled. Not below
that PCK@0.10: the names of look-alike keypoints are learned all at once, after a long time without a gain."""
TREND = 3
"""Last snapshots whose scores tell when the run will have learned."""


def share_done(schedule: ScheduleConfig, step: int, seconds: float, last_step: int) -> float:
    """Share of the run that is over, in [0, 1]: by steps or by time, whichever is further."""
    by_steps = step / last_step
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


def lr_until_learned(step: int, decay: tuple[int, int]) -> float:
    """The same of a run until learned: a warm-up, a plateau, and half a cosine between the two steps of
    `decay`, which are (0, 0) while it has not begun."""
    start, end = decay
    if end and step >= start:
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - start) / (end - start))))
    return min(1.0, FIRST_LR_SHARE + (1 - FIRST_LR_SHARE) * step / WARM_UP_STEPS)


def decay_after(
    schedule: ScheduleConfig, log: Sequence[dict[str, float]], merits: Sequence[float]
) -> tuple[int, int]:
    """From and to which step the learning rate is to fall, beginning with the last snapshot; (0, 0): not yet.

    log: rows of validation scores, one a snapshot. merits: what snapshots are chosen by, one a row.
    """
    per_epoch, step = schedule.steps_per_epoch, int(log[-1]["step"])
    learned = len(log) > 1 and log[-1]["PCK@0.10"] >= LEARNED
    stalled = (
        log[-1]["PCK@0.10"] >= STALLS_FROM
        and len(merits) > PATIENCE + 1
        and max(merits[-PATIENCE:]) < max(merits[:-PATIENCE]) + GAIN
    )
    late = step + per_epoch + _decay_steps(step + per_epoch, per_epoch) > schedule.max_steps
    if step >= schedule.max_steps or not (learned or stalled or late):
        return 0, 0
    return step, min(step + _decay_steps(step, per_epoch), schedule.max_steps)


def likely_end(schedule: ScheduleConfig, log: Sequence[dict[str, float]]) -> int | None:
    """The last step of a run until learned if it goes on learning as in its last snapshots: what PCK@0.10
    lacks of 1 shrinks by the same share a step. None where that cannot be told or is not before max_steps.

    log: as of decay_after.
    """
    rows = log[-TREND:]
    lacks = [math.log(max(1 - row["PCK@0.10"], 1e-3)) for row in rows]
    if len(rows) < TREND or lacks[-1] >= min(lacks[:-1]):
        return None
    step, slope = rows[-1]["step"], (lacks[-1] - lacks[0]) / (rows[-1]["step"] - rows[0]["step"])
    more = max(0.0, (math.log(1 - LEARNED) - lacks[-1]) / slope)
    per_epoch = schedule.steps_per_epoch
    learned = per_epoch * math.ceil((step + more) / per_epoch)
    end = learned + _decay_steps(learned, per_epoch)
    return end if end < schedule.max_steps else None


def _decay_steps(step: int, per_epoch: int) -> int:
    return per_epoch * max(2, math.ceil(DECAY_SHARE * step / per_epoch))

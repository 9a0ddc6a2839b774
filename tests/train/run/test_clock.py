"""What a run says of the time it still takes."""

from train.config import ScheduleConfig
from train.run.clock import Pace, time_left
from train.run.schedule import likely_end

FIXED = ScheduleConfig(max_steps=1000, steps_per_epoch=250)
OPEN = ScheduleConfig(max_steps=4000, steps_per_epoch=250, until_learned=True)


def log(*pck: float) -> list[dict[str, float]]:
    return [{"step": 250.0 * n, "PCK@0.10": value} for n, value in enumerate(pck, start=1)]


def said(schedule: ScheduleConfig, step: int, pace: Pace, *pck: float, elapsed_s: float = 0.0) -> str:
    return time_left(schedule, step, schedule.max_steps, elapsed_s, pace, log(*pck), schedule is not OPEN)


def test_the_time_left_is_that_of_all_steps_and_all_snapshots() -> None:
    assert Pace(1.0, 30.0).seconds(0, 1000, 250) == 1000 + 4 * 30
    assert Pace(1.0, 30.0).seconds(250, 1000, 250) == 750 + 3 * 30
    assert Pace(1.0, 30.0).seconds(990, 1010, 250) == 20 + 2 * 30
    assert said(FIXED, 500, Pace(0.6, 15.0)) == "5:30 left"


def test_before_the_first_snapshot_a_tenth_is_expected_of_them() -> None:
    assert Pace(1.0, None).seconds(0, 1000, 250) == 1100


def test_minutes_end_a_run_that_has_steps_left() -> None:
    timed = ScheduleConfig(max_steps=1000, steps_per_epoch=250, max_minutes=5)
    assert said(timed, 100, Pace(1.0, 20.0), elapsed_s=120) == "3:20 left"
    assert said(timed, 100, Pace(0.1, 20.0), elapsed_s=120) == "2:50 left"


def test_a_run_until_learned_says_its_latest_end_and_its_likely_one() -> None:
    pace = Pace(0.6, 0.0)
    assert said(OPEN, 500, pace, 0.3, 0.5) == "at most 35:00 left, less if it has learned before"
    assert said(OPEN, 750, pace, 0.2, 0.6, 0.8) == "at most 32:30 left, likely 7:30"
    assert said(OPEN, 750, pace, 0.2, 0.8, 0.6) == "at most 32:30 left, less if it has learned before"


def test_what_a_score_lacks_shrinks_by_the_same_share_a_step() -> None:
    """From 0.8 to 0.2 in two epochs, so to 0.1 in one more; then the fall."""
    assert likely_end(OPEN, log(0.2, 0.6, 0.8)) == 1000 + 500
    assert likely_end(OPEN, log(0.2, 0.6)) is None
    assert likely_end(OPEN, log(0.5, 0.5, 0.5)) is None
    assert likely_end(OPEN, log(0.1, 0.11, 0.12)) is None

"""A run until learned: when its learning rate begins to fall, and how."""

import pytest

from train.config import ScheduleConfig
from train.run.schedule import WARM_UP_STEPS, decay_after, lr_until_learned

SCHEDULE = ScheduleConfig(max_steps=4000, steps_per_epoch=250, until_learned=True)


def after(*pck: float, schedule: ScheduleConfig = SCHEDULE) -> tuple[int, int]:
    """decay_after with a snapshot of each of these PCK@0.10, which serve as merits too."""
    log = [{"step": 250.0 * n, "PCK@0.10": value} for n, value in enumerate(pck, start=1)]
    return decay_after(schedule, log, pck)


def test_rate_warms_up_stays_and_falls_to_nothing() -> None:
    assert lr_until_learned(0, (0, 0)) < 0.1
    assert lr_until_learned(WARM_UP_STEPS, (0, 0)) == lr_until_learned(3999, (0, 0)) == 1
    assert lr_until_learned(500, (500, 1000)) == 1
    assert lr_until_learned(750, (500, 1000)) == pytest.approx(0.5)
    assert lr_until_learned(1000, (500, 1000)) == pytest.approx(0, abs=1e-9)


def test_one_good_snapshot_may_be_chance_two_steps_on_it_is_learned() -> None:
    assert after(0.99) == (0, 0)
    assert after(0.6, 0.96) == (500, 1000)


def test_what_still_gets_better_goes_on() -> None:
    assert after(0.1, 0.2, 0.3, 0.4, 0.5, 0.6) == (0, 0)


def test_what_gets_no_better_comes_to_its_end() -> None:
    assert after(0.1, 0.5, 0.85, 0.855, 0.84, 0.85) == (1500, 2250)


def test_names_that_are_not_learned_yet_are_waited_for() -> None:
    assert after(0.1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5) == (0, 0)


def test_the_rest_of_the_steps_is_kept_for_the_fall() -> None:
    rising = [0.05 * n for n in range(1, 12)]
    assert after(*rising[:10]) == (0, 0)
    start, end = after(*rising)
    assert (start, end) == (2750, 4000)


def test_a_short_run_falls_within_its_steps() -> None:
    short = ScheduleConfig(max_steps=400, steps_per_epoch=250, until_learned=True)
    assert after(0.2, schedule=short) == (250, 400)
    within_one_epoch = ScheduleConfig(max_steps=250, steps_per_epoch=250, until_learned=True)
    assert after(0.2, schedule=within_one_epoch) == (0, 0)

"""What is said of a loop's progress where there is no terminal."""

import pytest

from synth.system import progress
from synth.system.progress import clock, line, track, until


def test_times_are_written_as_a_clock_shows_them() -> None:
    assert [clock(seconds) for seconds in (0.4, 223, 3700)] == ["0:00", "3:43", "1:01:40"]


def test_a_line_says_how_far_it_is_and_how_long_it_takes() -> None:
    assert line("render", 120, 200, 2.0, 10.0, until(200)) == "render: 120/200  2.0/s  0:40 left"
    assert line("render", 200, 200, 2.0, 50.0, until(200)) == "render: 200/200  2.0/s  in 0:50"


def test_the_rate_leaves_out_what_was_done_before_and_the_slow_first_item(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Items 101 to 104 take 20 s and three times 1 s."""
    times = iter([0.0, 20.0, 21.0, 22.0, 23.0, 23.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(times))
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 22.0)
    assert len(list(track(range(4), 200, "render", start=100))) == 4
    assert capsys.readouterr().err.splitlines()[0] == "render: 103/200  1.0/s  1:37 left"


def test_a_part_of_a_job_tells_the_time_left_of_the_whole(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    said: list[int] = []

    def left(done: int, rate: float) -> str:
        said.append(done)
        return "7:00 left"

    assert list(track(range(2), 10, "epoch 1", left=left)) == [0, 1]
    lines = capsys.readouterr().err.splitlines()
    assert said == [1, 2]
    assert all(row.startswith("epoch 1: ") and row.endswith("7:00 left") for row in lines)

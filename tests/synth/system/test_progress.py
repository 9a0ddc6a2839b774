"""What is said of a loop's progress where there is no terminal."""

import pytest

from synth.system import progress
from synth.system.progress import clock, line, track, until


def test_times_are_written_as_a_clock_shows_them() -> None:
    assert [clock(seconds) for seconds in (0.4, 223, 3700)] == ["0:00", "3:43", "1:01:40"]


def test_the_rate_counts_what_this_run_did() -> None:
    assert line("render", 120, 200, 20, 10.0, until(200)) == "render: 120/200  2.0/s  0:40 left"
    assert line("render", 200, 200, 100, 50.0, until(200)) == "render: 200/200  2.0/s  in 0:50"


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

"""How far a loop has come: a bar on a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

T = TypeVar("T")
SECONDS_BETWEEN_LINES = 10.0


def track(iterable: Iterable[T], total: int, label: str, start: int = 0) -> Iterator[T]:
    """Yields the iterable's items while showing count, rate and time left on stderr.

    total: count at the end, `start` included. start: items done before this run, left out of the rate.
    """
    console = Console(stderr=True)
    if console.is_terminal:
        yield from _bar(iterable, total, label, start, console)
    else:
        yield from _lines(iterable, total, label, start, console)


def _bar(iterable: Iterable[T], total: int, label: str, start: int, console: Console) -> Iterator[T]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _RateColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(label, total=total, completed=start)
        for item in iterable:
            yield item
            progress.advance(task)


def _lines(iterable: Iterable[T], total: int, label: str, start: int, console: Console) -> Iterator[T]:
    began = last = time.monotonic()
    done, printed = start, -1
    for item in iterable:
        yield item
        done += 1
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES:
            last, printed = now, done
            _print(console, line(label, done, total, done - start, now - began))
    if printed != done:
        _print(console, line(label, done, total, done - start, time.monotonic() - began))


def line(label: str, done: int, total: int, done_now: int, seconds: float) -> str:
    """`label: 120/2000  8.4/s  3:43 left`; the rate counts the `done_now` items of this run only."""
    rate = done_now / seconds if seconds > 0 else 0.0
    left = f"{clock((total - done) / rate)} left" if rate > 0 and done < total else ""
    took = f"in {clock(seconds)}" if done >= total else left
    return f"{label}: {done}/{total}  {rate:.1f}/s  {took}".rstrip()


def clock(seconds: float) -> str:
    """223 -> '3:43', 3700 -> '1:01:40'."""
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02}:{s:02}" if hours else f"{m}:{s:02}"


def _print(console: Console, text: str) -> None:
    print(text, file=console.file, flush=True)


class _RateColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f}/s" if task.speed else "-/s")

"""How far a loop has come: a bar on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
)
from rich.text import Text

T = TypeVar("T")
Left = Callable[[int, float], str]
"""Items done, items a second -> the time left in words."""
SECONDS_BETWEEN_LINES = 10.0


def track(
    iterable: Iterable[T], total: int, label: str, start: int = 0, left: Left | None = None
) -> Iterator[T]:
    """Yields the iterable's items while showing count, rate and time left on stderr.

    total: count at the end, `start` included. start: items done before this run, left out of the rate.
    left: what to say of the time left, where more is to be done than these items.
    """
    console = Console(stderr=True)
    left = left or until(total)
    if console.is_terminal:
        yield from _bar(iterable, total, label, start, left, console)
    else:
        yield from _lines(iterable, total, label, start, left, console)


def until(total: int) -> Left:
    """The time left until `total` items are done."""
    return lambda done, rate: f"{clock((total - done) / rate)} left"


def _bar(
    iterable: Iterable[T], total: int, label: str, start: int, left: Left, console: Console
) -> Iterator[T]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _RateColumn(),
        _LeftColumn(left),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(label, total=total, completed=start)
        for item in iterable:
            yield item
            progress.advance(task)


def _lines(
    iterable: Iterable[T], total: int, label: str, start: int, left: Left, console: Console
) -> Iterator[T]:
    began = last = first = time.monotonic()
    done, printed = start, -1

    def said(now: float) -> str:
        after_first = done - start - 1
        rate = after_first / (now - first) if after_first else 1 / max(now - began, 1e-9)
        return line(label, done, total, rate, now - began, left)

    for item in iterable:
        yield item
        done += 1
        now = time.monotonic()
        if done == start + 1:
            first = now
        if now - last >= SECONDS_BETWEEN_LINES:
            last, printed = now, done
            _print(console, said(now))
    if printed != done:
        _print(console, said(time.monotonic()))


def line(label: str, done: int, total: int, rate: float, seconds: float, left: Left) -> str:
    """`label: 120/2000  8.4/s  3:43 left`. rate: items a second, without the first, which may wait for
    what is started with it. seconds: of this run so far."""
    took = f"in {clock(seconds)}" if done >= total else left(done, rate)
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


class _LeftColumn(ProgressColumn):
    def __init__(self, left: Left) -> None:
        super().__init__()
        self._left = left

    def render(self, task: Task) -> Text:
        return Text(self._left(int(task.completed), task.speed) if task.speed and not task.finished else "")

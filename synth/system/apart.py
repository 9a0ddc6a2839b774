"""Reading files that may crash the reader, or eat all memory, in a process of its own."""

import multiprocessing
import resource
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from synth.errors import DataError, UserError
from synth.system.worker import deaf_to_interrupts, tune_worker

MEMORY_BYTES = 8 << 30


def read_apart(
    read: Callable[..., object],
    files: Iterable[tuple[Path, tuple[Any, ...]]],
    error: type[UserError] = DataError,
) -> Iterator[None]:
    """Calls read(file, *arguments) for each file in another process with MEMORY_BYTES; yields after each.

    What `read` returns is dropped. Raises what it raises, and `error` naming the file that ended the process.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, _limit_memory) as pool:
        for file, arguments in files:
            try:
                with deaf_to_interrupts():
                    done = pool.submit(_read, read, file, arguments)
                done.result()
            except (BrokenProcessPool, MemoryError) as broken:
                raise error(
                    f"{file}: reading it crashed or took more than {MEMORY_BYTES >> 30} GiB of memory"
                ) from broken
            yield


def _read(read: Callable[..., object], file: Path, arguments: tuple[Any, ...]) -> None:
    read(file, *arguments)


def _limit_memory() -> None:
    tune_worker()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    soft = MEMORY_BYTES if hard == resource.RLIM_INFINITY else min(MEMORY_BYTES, hard)
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))

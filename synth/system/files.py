"""Files: pools of them, and writing so that a killed run leaves either the old file or the new one."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from synth.errors import DataError


def pool_names(folder: Path, suffixes: tuple[str, ...], what: str) -> tuple[str, ...]:
    """Names of the files below `folder` with such a suffix, relative to it, sorted.

    what: they are, for errors. Raises DataError when there is none, and for names that are not UTF-8.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder of {what}")
    found = (p for p in folder.rglob("*") if p.suffix.lower() in suffixes and p.is_file())
    names = sorted(p.relative_to(folder).as_posix() for p in found)
    if not names:
        raise DataError(f"{folder}: no {what} ({', '.join(suffixes)}) in it")
    for name in names:
        if name.encode(errors="replace").decode() != name:
            raise DataError(f"{folder}: the name {name!a} is not UTF-8; rename the file")
    return tuple(names)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A temporary neighbour to write to, renamed onto `path` at the end unless an exception comes first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
        temporary.replace(path)
    except OSError as error:
        error.filename = error.filename or str(path)  # a full disk names none
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    with replacing(path) as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode("utf-8"))


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds the file for the block or until this process dies. Raises BlockingIOError if another holds it."""
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield

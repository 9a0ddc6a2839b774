"""The one gate through which files come in that others made: regular files, in bounded pieces."""

import os
import stat
from pathlib import Path
from typing import BinaryIO

from synth.errors import DataError, UserError

UNITS = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def open_untrusted(
    path: Path, error_type: type[UserError] = DataError, folder: Path | None = None
) -> BinaryIO:
    """A regular file, open for reading.

    folder: out of which a symbolic link may not lead, for files that the user did not name; None: it may.
    Raises error_type for a pipe, a device, a folder, a name that no file can have and a link that leads out
    of `folder`; OSError as open does.
    """
    try:
        if folder is not None:
            path = _inside(path, folder, error_type)
        before = os.stat(path)
        if not stat.S_ISREG(before.st_mode):
            raise error_type(f"{path}: is {_kind(before.st_mode)}, expected a regular file")
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except UserError:
        raise
    except ValueError as error:  # NUL or a lone surrogate
        raise error_type(f"{str(path)!a}: no file can have this name") from error
    file = os.fdopen(descriptor, "rb")
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):  # exchanged since
        file.close()
        raise error_type(f"{path}: expected a regular file")
    return file


def read_untrusted(
    path: Path, limit: int, error_type: type[UserError] = DataError, folder: Path | None = None
) -> bytes:
    """The file's content, of at most `limit` bytes, whatever size the disk says it has. Raises as
    open_untrusted, and error_type for a larger one."""
    with open_untrusted(path, error_type, folder) as file:
        if os.fstat(file.fileno()).st_size <= limit:
            content = file.read(limit + 1)
            if len(content) <= limit:
                return content
    raise error_type(f"{path}: larger than {size_text(limit)}")


def read_untrusted_text(
    path: Path, limit: int, error_type: type[UserError] = DataError, folder: Path | None = None
) -> str:
    """The file's text in UTF-8, with or without a byte order mark. Raises as read_untrusted, and error_type
    for other bytes."""
    try:
        return read_untrusted(path, limit, error_type, folder).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise error_type(f"{path}: expected text in UTF-8, byte {error.start} is none") from error


def is_hidden(path: Path) -> bool:
    """Whether the file is none of the user's own: .DS_Store, ._photo.jpg, or below __MACOSX."""
    return path.name.startswith(".") or "__MACOSX" in path.parts


def size_text(size: int) -> str:
    """1048576 -> '1 MiB'."""
    for unit, name in UNITS:
        if size >= unit:
            return f"{size / unit:g} {name}"
    return f"{size} bytes"


def _inside(path: Path, folder: Path, error_type: type[UserError]) -> Path:
    if not path.is_symlink():
        return path
    target = path.resolve()
    if not target.is_relative_to(folder.resolve()):
        raise error_type(f"{path}: is a link that leads out of {folder}")
    return target


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a folder"
    return "a pipe" if stat.S_ISFIFO(mode) else "a device or socket"

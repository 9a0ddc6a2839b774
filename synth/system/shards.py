"""Tar shards of images, as the WebDataset library reads them: `0000000.jpg`, `0000000.json`, `0000001.jpg`, …

An image in a shard has the path `shard-00000.tar/0000000.jpg`. Only plain files with short names are read,
in place: nothing is unpacked, and a name in a shard never becomes a name on the disk.
"""

import io
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from synth.errors import DataError
from synth.system.untrusted import open_untrusted

MAX_MEMBER_BYTES = 256 << 20
MAX_MEMBERS = 1_000_000
PLAIN = (tarfile.REGTYPE, tarfile.AREGTYPE)
BLOCK = tarfile.BLOCKSIZE
END = bytes(2 * BLOCK)


@dataclass(frozen=True)
class Member:
    """A file in a shard: `size` bytes from `offset` on; `end` is where the next one begins."""

    name: str
    offset: int
    size: int

    @property
    def end(self) -> int:
        return self.offset + -(-self.size // BLOCK) * BLOCK


def pack(name: str, data: bytes) -> bytes:
    """`data` as one member of a tar file, header and padding included; the same bytes whenever and by
    whomever it is written."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    return info.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % BLOCK)


def members(shard: Path) -> Iterator[Member]:
    """The files of a shard in order. Raises DataError at the first thing that is not a whole plain file."""
    size = shard.stat().st_size
    with open_untrusted(shard) as file:
        offset = 0
        for _ in range(MAX_MEMBERS):
            file.seek(offset)
            header = file.read(BLOCK)
            if not header.strip(b"\0"):
                return
            try:
                info = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
            except (tarfile.HeaderError, UnicodeDecodeError) as error:
                raise DataError(f"{shard}: not a tar file at byte {offset}: {error}") from error
            member = Member(info.name, offset + BLOCK, info.size)
            if info.type not in PLAIN:
                raise DataError(f"{shard}: {info.name!r} is no plain file of the ustar format")
            if not 0 <= info.size <= MAX_MEMBER_BYTES:
                raise DataError(
                    f"{shard}: {info.name!r} has {info.size} bytes, expected 0-{MAX_MEMBER_BYTES}"
                )
            if member.end > size:
                raise DataError(f"{shard}: truncated in {info.name!r}")
            yield member
            offset = member.end
    raise DataError(f"{shard}: more than {MAX_MEMBERS} files")


def read_member(shard: Path, member: Member) -> bytes:
    with open_untrusted(shard) as file:
        file.seek(member.offset)
        return file.read(member.size)


def open_file(path: Path) -> BinaryIO:
    """A file on the disk or in a shard. Raises FileNotFoundError, or DataError for what is no regular file
    and for a shard that is faulty."""
    try:
        return open_untrusted(path)
    except NotADirectoryError:
        member = _index(path.parent).get(path.name)
        if member is None:
            raise FileNotFoundError(f"{path.parent}: holds no {path.name}") from None
        return io.BytesIO(read_member(path.parent, member))


def is_file(path: Path) -> bool:
    return path.is_file() or (path.parent.is_file() and path.name in _index(path.parent))


def _index(shard: Path) -> dict[str, Member]:
    state = os.stat(shard)
    return _index_of(shard, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=4096)
def _index_of(shard: Path, size: int, mtime_ns: int) -> dict[str, Member]:
    return {member.name: member for member in members(shard)}

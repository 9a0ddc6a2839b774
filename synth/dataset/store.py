"""How a rendered data set lies on the disk: images and, per image in index order, its row of the log.

A row says how large its image is; rows of earlier versions do not.

`folder`: images/*.jpg and scenes.jsonl (scenes-00001.jsonl, … for every further 10,000). `webdataset`: tar
shards that hold both. What is on the disk is a prefix of the data set, whenever a run is killed; the next run
goes on behind it. An image that was reported as stored is on the disk, power cuts included.
"""

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from itertools import count, groupby
from pathlib import Path
from typing import Protocol

from synth.config import LAYOUTS
from synth.errors import DataError
from synth.system.files import remove_leftovers, sync, sync_folder, write_bytes
from synth.system.shards import END, members, pack, read_member

LOG_IMAGES = 10_000
SHARD_IMAGES = 1_000
StoredImage = tuple[bytes, bytes]
"""JPEG, and the row of the log as one line of JSON."""


class Store(Protocol):
    """A data set's images and log in a folder."""

    def image_name(self, index: int) -> str:
        """Relative to the folder."""

    def is_there(self) -> bool:
        """Whether the folder holds the first image's row."""

    def recover(self) -> int:
        """Cuts off what a killed run left unfinished; returns the number of images that are there."""

    def append(self, start: int, images: Iterable[StoredImage]) -> Iterator[None]:
        """Stores the images `start`, start + 1, …; yields when one is on the disk."""

    def rows(self) -> Iterator[bytes]:
        """The log in index order."""


def open_store(out: Path, layout: str) -> Store:
    return FolderStore(out) if layout == "folder" else ShardStore(out)


def find_store(out: Path) -> Store:
    """The store that `meshmark render` made in `out`. Raises DataError if there is none."""
    for layout in LAYOUTS:
        store = open_store(out, layout)
        if store.is_there():
            return store
    raise DataError(
        f"{out}: no scenes.jsonl in it and no shards, expected a folder that `meshmark render` made"
    )


class FolderStore:
    def __init__(self, out: Path) -> None:
        self._out = out

    def image_name(self, index: int) -> str:
        return f"images/{index:07d}.jpg"

    def is_there(self) -> bool:
        return self._log(0).exists()

    def recover(self) -> int:
        images = 0
        logs = self._logs()
        for log in logs:
            end = 0
            with log.open("r+b") as lines:
                for line in lines:
                    if not line.endswith(b"\n") or not is_whole(line, images, self._size(images)):
                        break
                    images, end = images + 1, end + len(line)
                if end < log.stat().st_size:
                    lines.truncate(end)
                    sync(lines)
                    break
        for log in logs:
            log.unlink()
        if (self._out / "images").is_dir():
            remove_leftovers(self._out / "images")
        return images

    def _size(self, index: int) -> int:
        try:
            return (self._out / self.image_name(index)).stat().st_size
        except OSError:
            return 0

    def append(self, start: int, images: Iterable[StoredImage]) -> Iterator[None]:
        for number, group in groupby(enumerate(images, start), lambda image: image[0] // LOG_IMAGES):
            (self._out / "images").mkdir(exist_ok=True)
            with self._log(number).open("ab") as log:
                sync_folder(self._out)
                for index, (jpeg, row) in group:
                    write_bytes(self._out / self.image_name(index), jpeg)
                    log.write(row)
                    sync(log)
                    yield

    def rows(self) -> Iterator[bytes]:
        for log in self._logs():
            with log.open("rb") as lines:
                yield from lines

    def _log(self, number: int) -> Path:
        return self._out / (f"scenes-{number:05d}.jsonl" if number else "scenes.jsonl")

    def _logs(self) -> Iterator[Path]:
        for number in count():
            if not self._log(number).exists():
                return
            yield self._log(number)


class ShardStore:
    def __init__(self, out: Path) -> None:
        self._out = out

    def image_name(self, index: int) -> str:
        return f"{self._shard(index // SHARD_IMAGES).name}/{index:07d}.jpg"

    def is_there(self) -> bool:
        return self._shard(0).exists()

    def recover(self) -> int:
        for number in count():
            shard, part = self._shard(number), self._part(number)
            held, _ = _whole_samples(shard, number)
            more, end = _whole_samples(part, number)
            if more > held:
                held = more
                _finish(part, end, shard)
            part.unlink(missing_ok=True)
            if held < SHARD_IMAGES:
                break
        return number * SHARD_IMAGES + held

    def append(self, start: int, images: Iterable[StoredImage]) -> Iterator[None]:
        for number, group in groupby(enumerate(images, start), lambda image: image[0] // SHARD_IMAGES):
            shard, part = self._shard(number), self._part(number)
            part.unlink(missing_ok=True)
            if number * SHARD_IMAGES < start:
                shutil.copyfile(shard, part)
                os.truncate(part, _whole_samples(shard, number)[1])
            with part.open("ab") as file:
                sync_folder(self._out)
                for index, (jpeg, row) in group:
                    file.write(pack(f"{index:07d}.jpg", jpeg) + pack(f"{index:07d}.json", row))
                    sync(file)
                    yield
                end = file.tell()
            _finish(part, end, shard)

    def rows(self) -> Iterator[bytes]:
        for number in count():
            shard = self._shard(number)
            if not shard.exists():
                return
            for member in members(shard):
                if member.name.endswith(".json"):
                    yield read_member(shard, member)

    def _shard(self, number: int) -> Path:
        return self._out / f"shard-{number:05d}.tar"

    def _part(self, number: int) -> Path:
        return self._out / f".shard-{number:05d}.tar.part"


def is_whole(line: bytes, index: int, image_bytes: int) -> bool:
    """Whether a line of the log is the row of image `index` and that image has the size it says."""
    try:
        row = json.loads(line)
        expected = row.get("image", {}).get("bytes", image_bytes)
        return bool(row["index"] == index and 0 < image_bytes == expected)
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        return False


def _whole_samples(shard: Path, number: int) -> tuple[int, int]:
    """How many samples the file holds from its beginning, each a JPEG and a JSON, and where the last ends."""
    held = end = 0
    if not shard.exists():
        return held, end
    try:
        files = members(shard)
        for jpeg, row in zip(files, files, strict=False):
            index = number * SHARD_IMAGES + held
            if (jpeg.name, row.name) != (f"{index:07d}.jpg", f"{index:07d}.json"):
                break
            if not is_whole(read_member(shard, row), index, jpeg.size):
                break
            held, end = held + 1, row.end
    except DataError:
        pass
    return held, end


def _finish(part: Path, end: int, shard: Path) -> None:
    """Cuts the file behind its last sample, marks the end of the tar and gives it its name."""
    with part.open("r+b") as file:
        file.truncate(end)
        file.seek(end)
        file.write(END)
        sync(file)
    part.replace(shard)
    sync_folder(shard.parent)

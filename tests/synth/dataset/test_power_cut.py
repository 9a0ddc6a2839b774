"""What is left of a rendered set when the power goes: only what was synced is on the disk."""

import json
import os
from pathlib import Path

import pytest

from synth.config import LAYOUTS
from synth.dataset import store
from synth.dataset.log import checksum, damages
from synth.dataset.store import StoredImage, find_store, open_store
from synth.system import files

N = 5


class Disk:
    """Remembers what of a folder was synced: contents of files, and the names in each folder.

    A file whose name was synced before its content comes back empty.
    """

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.contents: dict[int, bytes] = {}
        self.names: dict[Path, dict[str, int]] = {}
        self._fsync = os.fsync
        monkeypatch.setattr(os, "fsync", self.fsync)

    def fsync(self, descriptor: int) -> None:
        self._fsync(descriptor)
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        if path.is_dir():
            self.names[path] = {p.name: p.stat().st_ino for p in path.iterdir()}
        else:
            self.contents[os.fstat(descriptor).st_ino] = path.read_bytes()

    def after_a_cut(self, target: Path) -> Path:
        """A copy of the folder as the next start finds it."""
        for folder, names in self.names.items():
            place = target / folder.relative_to(self.root)
            place.mkdir(parents=True, exist_ok=True)
            for name, inode in names.items():
                if not (folder / name).is_dir():
                    (place / name).write_bytes(self.contents.get(inode, b""))
        return target


def image(index: int) -> StoredImage:
    jpeg = b"\xff\xd8" + bytes([index]) * 300 + b"\xff\xd9"
    return jpeg, json.dumps({"index": index, "image": checksum(jpeg)}).encode() + b"\n"


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "LOG_IMAGES", 3)
    monkeypatch.setattr(store, "SHARD_IMAGES", 3)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("reported", range(1, N + 1))
def test_every_image_that_was_reported_outlasts_a_power_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str, reported: int
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with monkeypatch.context() as patch:
        disk = Disk(out, patch)
        stored = open_store(out, layout).append(0, map(image, range(N)))
        for _ in range(reported):
            next(stored)
        left = disk.after_a_cut(tmp_path / "left")
    after = open_store(left, layout)
    assert after.recover() >= reported
    for index, row in zip(range(reported), after.rows(), strict=False):
        assert row == image(index)[1]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_cut_at_any_sync_leaves_a_beginning_that_is_sound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    lefts: list[tuple[int, Path]] = []
    reported = 0
    with monkeypatch.context() as patch:
        disk = Disk(out, patch)
        sync = disk.fsync

        def cut(descriptor: int) -> None:
            lefts.append((reported, disk.after_a_cut(tmp_path / f"before-{len(lefts)}")))
            sync(descriptor)

        patch.setattr(os, "fsync", cut)
        for _ in open_store(out, layout).append(0, map(image, range(N))):
            reported += 1
    assert len(lefts) > 2 * N
    for known, left in lefts:
        left.mkdir(exist_ok=True)
        after = open_store(left, layout)
        kept = after.recover()
        assert kept >= known
        for _ in after.append(kept, map(image, range(kept, N))):
            pass
        assert list(find_store(left).rows()) == [image(i)[1] for i in range(N)]


@pytest.mark.parametrize("kept_bytes", [0, 303, None])
def test_an_image_that_lost_its_content_is_made_again(tmp_path: Path, kept_bytes: int | None) -> None:
    folder = open_store(tmp_path, "folder")
    list(folder.append(0, map(image, range(N))))
    spoiled = tmp_path / folder.image_name(2)
    if kept_bytes is None:
        spoiled.unlink()
    else:
        os.truncate(spoiled, kept_bytes)
    assert folder.recover() == 2


TORN = (b"\0" * 40, b"[]", b'{"index": 7}', b"{}", b"[" * 100_000)


@pytest.mark.parametrize("row", TORN, ids=range(len(TORN)))
def test_a_row_that_lost_its_content_cuts_the_log_there(tmp_path: Path, row: bytes) -> None:
    folder = open_store(tmp_path, "folder")
    list(folder.append(0, map(image, range(3))))
    log = tmp_path / "scenes.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(lines[0] + row + b"\n" + lines[2])
    assert folder.recover() == 1


def test_leftovers_of_a_run_that_was_cut_off_go(tmp_path: Path) -> None:
    folder = open_store(tmp_path, "folder")
    list(folder.append(0, map(image, range(2))))
    (tmp_path / "images" / ".0000002.jpg.77.tmp").write_bytes(b"half")
    folder.recover()
    assert sorted(p.name for p in (tmp_path / "images").iterdir()) == ["0000000.jpg", "0000001.jpg"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_damages_names_the_files_that_changed(tmp_path: Path, layout: str) -> None:
    made = open_store(tmp_path, layout)
    list(made.append(0, map(image, range(N))))
    files.write_text(tmp_path / "annotations.json", "{}")
    files.write_text(
        tmp_path / "manifest.json", json.dumps({"annotations": {"images": 5, **checksum(b"{}")}})
    )
    assert list(damages(tmp_path)) == []
    (tmp_path / "annotations.json").write_bytes(b"")
    name = made.image_name(1)
    whole = tmp_path / Path(name).parts[0] if layout == "webdataset" else tmp_path / name
    whole.write_bytes(whole.read_bytes().replace(b"\1" * 300, b"\0" * 300))
    assert list(damages(tmp_path)) == [name, "annotations.json"]


def test_a_folder_that_was_not_rendered_has_no_damages(tmp_path: Path) -> None:
    assert list(damages(tmp_path)) == []

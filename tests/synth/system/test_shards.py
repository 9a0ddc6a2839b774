import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from synth.errors import DataError
from synth.system import shards
from synth.system.shards import END, is_file, members, open_file, pack


def write(path: Path, *files: tuple[str, bytes]) -> Path:
    path.write_bytes(b"".join(pack(name, data) for name, data in files) + END)
    return path


def test_tarfile_reads_what_is_packed(tmp_path: Path) -> None:
    shard = write(tmp_path / "a.tar", ("0.jpg", b"x" * 700), ("0.json", b"{}"), ("empty.txt", b""))
    with tarfile.open(shard) as tar:
        assert tar.getnames() == ["0.jpg", "0.json", "empty.txt"]
        file = tar.extractfile("0.jpg")
        assert file is not None
        assert file.read() == b"x" * 700


def test_files_are_read_in_place_by_name(tmp_path: Path) -> None:
    shard = write(tmp_path / "a.tar", ("0.jpg", b"first"), ("1.jpg", b"second"))
    with open_file(shard / "1.jpg") as file:
        assert file.read() == b"second"
    assert is_file(shard / "0.jpg")
    assert not is_file(shard / "2.jpg")
    with pytest.raises(FileNotFoundError, match=r"a\.tar: holds no 2\.jpg"):
        open_file(shard / "2.jpg")


def test_a_rewritten_shard_is_read_anew(tmp_path: Path) -> None:
    shard = write(tmp_path / "a.tar", ("0.jpg", b"old"))
    assert is_file(shard / "0.jpg")
    write(shard, ("0.jpg", b"longer than a block" * 50))
    with open_file(shard / "0.jpg") as file:
        assert len(file.read()) == 19 * 50


def link(info: tarfile.TarInfo) -> None:
    info.type, info.linkname, info.size = tarfile.SYMTYPE, "/etc/passwd", 0


def folder(info: tarfile.TarInfo) -> None:
    info.type, info.size = tarfile.DIRTYPE, 0


def long_name(info: tarfile.TarInfo) -> None:
    info.type = tarfile.GNUTYPE_LONGNAME


@pytest.mark.parametrize("change", [link, folder, long_name])
def test_anything_but_plain_files_is_refused(
    tmp_path: Path, change: Callable[[tarfile.TarInfo], None]
) -> None:
    info = tarfile.TarInfo("0.jpg")
    info.size = 4
    change(info)
    (tmp_path / "a.tar").write_bytes(info.tobuf() + b"abcd" + bytes(508) + END)
    with pytest.raises(DataError, match=r"a\.tar: '0\.jpg/?' is no plain file"):
        is_file(tmp_path / "a.tar" / "0.jpg")


@pytest.mark.parametrize("name", ["../secret.jpg", "/etc/passwd"])
def test_names_that_lead_elsewhere_reach_nothing_on_the_disk(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    shard = write(tmp_path / "inner.tar", (name, b"from the shard"))
    assert [m.name for m in members(shard)] == [name.rstrip("/")]
    assert not is_file(shard / Path(name).name)
    assert {p.name for p in tmp_path.iterdir()} == {"secret.jpg", "inner.tar"}


def test_sizes_beyond_the_limit_and_beyond_the_file_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = write(tmp_path / "a.tar", ("0.jpg", b"x" * 600))
    shard.write_bytes(shard.read_bytes()[:900])
    with pytest.raises(DataError, match=r"truncated in '0\.jpg'"):
        list(members(shard))
    info = tarfile.TarInfo("0.jpg")
    info.size = 1 << 60
    shard.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + END)
    with pytest.raises(DataError, match="0-268435456"):
        list(members(shard))
    monkeypatch.setattr(shards, "MAX_MEMBERS", 3)
    with pytest.raises(DataError, match="more than 3 files"):
        list(members(write(shard, *((f"{i}.jpg", b"") for i in range(5)))))


@pytest.mark.parametrize("content", [b"hello" * 300, b"\xff" * 512])
def test_a_file_that_is_no_tar_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.tar: not a tar file at byte 0"):
        is_file(tmp_path / "a.tar" / "0.jpg")


def test_a_tar_of_another_program_is_read(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.GNU_FORMAT) as tar:
        info = tarfile.TarInfo("0.jpg")
        info.size = 3
        tar.addfile(info, io.BytesIO(b"abc"))
    with open_file(tmp_path / "a.tar" / "0.jpg") as file:
        assert file.read() == b"abc"

import os
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pytest

from synth.config import LAYOUTS
from synth.dataset import store
from synth.dataset.store import Store, StoredImage, find_store, open_store
from synth.errors import DataError
from synth.system.shards import open_file

N = 8


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "LOG_IMAGES", 3)
    monkeypatch.setattr(store, "SHARD_IMAGES", 3)


@pytest.fixture(params=LAYOUTS)
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], Store]:
    def make(name: str) -> Store:
        (tmp_path / name).mkdir(exist_ok=True)
        return open_store(tmp_path / name, request.param)

    return make


def image(index: int) -> StoredImage:
    return b"\xff\xd8" + bytes([index]) * (300 * index) + b"\xff\xd9", b'{"index": %d}\n' % index


def fill(target: Store, start: int, stop: int) -> None:
    for _ in target.append(start, map(image, range(start, stop))):
        pass


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_images_and_rows_come_back_in_order_from_several_files(
    opened: Callable[[str], Store], tmp_path: Path
) -> None:
    fill(opened("a"), 0, N)
    found = find_store(tmp_path / "a")
    assert list(found.rows()) == [image(i)[1] for i in range(N)]
    for index in range(N):
        with open_file(tmp_path / "a" / found.image_name(index)) as file:
            assert file.read() == image(index)[0]
    assert len({Path(name).suffix for name in contents(tmp_path / "a")} & {".tar", ".jsonl"}) == 1
    assert sum(name.endswith((".tar", ".jsonl")) for name in contents(tmp_path / "a")) == 3


@pytest.mark.parametrize("kept", range(N))
def test_topping_up_equals_storing_at_once(opened: Callable[[str], Store], tmp_path: Path, kept: int) -> None:
    fill(opened("once"), 0, N)
    fill(opened("twice"), 0, kept)
    assert opened("twice").recover() == kept
    fill(opened("twice"), kept, N)
    assert opened("twice").recover() == N
    assert contents(tmp_path / "twice") == contents(tmp_path / "once")


@pytest.mark.parametrize("stored", range(1, N))
@pytest.mark.parametrize("lost", [0, 1, 700])
def test_after_a_cut_at_any_place_whole_images_are_kept_and_the_rest_comes_again(
    opened: Callable[[str], Store], tmp_path: Path, stored: int, lost: int
) -> None:
    fill(opened("once"), 0, N)
    rows = opened("cut").append(0, map(image, range(N)))
    list(islice(rows, stored))
    rows.close()  # type: ignore[attr-defined]
    logs = [*tmp_path.glob("cut/*.jsonl"), *tmp_path.glob("cut/.*.part")]
    newest = max(logs, key=lambda log: (len(log.name), log.name))
    os.truncate(newest, max(0, newest.stat().st_size - lost))
    kept = opened("cut").recover()
    assert stored - 3 <= kept <= stored
    assert kept == stored or lost
    fill(opened("cut"), kept, N)
    assert contents(tmp_path / "cut") == contents(tmp_path / "once")


def test_a_topping_up_that_is_cut_leaves_the_old_images_readable(tmp_path: Path) -> None:
    shards = open_store(tmp_path, "webdataset")
    fill(shards, 0, 2)
    before = contents(tmp_path)

    def full_disk() -> Iterator[StoredImage]:
        yield image(2)
        raise OSError

    with pytest.raises(OSError):  # noqa: PT011
        list(shards.append(2, full_disk()))
    assert before.items() <= contents(tmp_path).items()
    assert shards.recover() == 3


def test_an_absent_image_cuts_the_log_there(tmp_path: Path) -> None:
    folder = open_store(tmp_path, "folder")
    fill(folder, 0, N)
    (tmp_path / folder.image_name(4)).unlink()
    assert folder.recover() == 4
    assert len(list(folder.rows())) == 4


def test_an_absent_shard_is_made_again(tmp_path: Path) -> None:
    shards = open_store(tmp_path, "webdataset")
    fill(shards, 0, N)
    before = contents(tmp_path)
    (tmp_path / "shard-00000.tar").unlink()
    assert shards.recover() == 0
    fill(shards, 0, N)
    assert contents(tmp_path) == before


def test_a_log_of_more_images_than_one_file_takes_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = open_store(tmp_path, "folder")
    with monkeypatch.context() as one_file:
        one_file.setattr(store, "LOG_IMAGES", 100)
        fill(folder, 0, 5)
    fill(folder, 5, N)
    assert folder.recover() == N
    assert list(folder.rows()) == [image(i)[1] for i in range(N)]


def test_a_folder_that_was_not_rendered_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a folder that `meshmark render` made"):
        find_store(tmp_path)

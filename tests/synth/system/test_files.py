import multiprocessing
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from synth.errors import InUseError
from synth.system.files import locked, remove_leftovers, replacing


def test_a_folder_is_locked_against_others_and_made_where_it_is_not(tmp_path: Path) -> None:
    with locked(tmp_path / "new"), pytest.raises(InUseError), locked(tmp_path / "new"):
        pass
    with locked(tmp_path / "new"):
        pass
    assert list((tmp_path / "new").iterdir()) == []


def hold(folder: Path, start: Barrier, done: Barrier) -> None:
    start.wait()
    try:
        with locked(folder):
            done.wait()
    except InUseError:
        done.wait()
        raise SystemExit(3) from None


def test_of_two_processes_in_one_new_folder_one_gets_the_lock(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    start, done = context.Barrier(2), context.Barrier(2)
    both = [context.Process(target=hold, args=(tmp_path / "new", start, done)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert sorted(process.exitcode or 0 for process in both) == [0, 3]


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with pytest.raises(TypeError), replacing(path) as file:
        file.writelines([b"half", None])  # type: ignore[list-item]
    assert path.read_bytes() == b"old"
    with replacing(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"
    (tmp_path / ".a.7.tmp").write_bytes(b"half")
    remove_leftovers(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["a"]

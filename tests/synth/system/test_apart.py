import ctypes
from pathlib import Path

import pytest

from synth.errors import AssetError, DataError
from synth.system.apart import MEMORY_BYTES, read_apart


def read(file: Path, kind: str) -> None:
    if kind == "crash":
        ctypes.string_at(0)
    if kind == "hunger":
        bytearray(2 * MEMORY_BYTES)
    if kind == "fault":
        raise DataError(f"{file}: no mesh")


def test_files_are_read_one_after_the_other() -> None:
    assert list(read_apart(read, [(Path("a"), ("",)), (Path("b"), ("",))])) == [None, None]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("crash", "b: reading it crashed or took more than 8 GiB"),
        ("fault", "b: no mesh"),
        ("hunger", "b: .*memory"),
    ],
)
def test_a_file_that_ends_its_reader_is_named(kind: str, message: str) -> None:
    error = DataError if kind == "fault" else AssetError
    with pytest.raises(error, match=message):
        list(read_apart(read, [(Path("a"), ("",)), (Path("b"), (kind,))], AssetError))

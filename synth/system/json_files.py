"""JSON files in, with errors that name file and place."""

import json
from pathlib import Path, PurePosixPath
from typing import Any

from synth.errors import DataError

MAX_JSON_BYTES = 4 << 30


def read_json(path: Path) -> Any:
    """The parsed content. Raises DataError naming the file and the place for one that is absent, larger than
    MAX_JSON_BYTES, or no JSON in UTF-8."""
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise DataError(f"{path}: larger than {MAX_JSON_BYTES >> 30} GiB")
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except DataError:
        raise
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not valid JSON: {error}") from error


def safe_relative_path(name: Any, where: str) -> str:
    """`name`, a file name from a label file, if it is a path that stays inside its folder.

    where: it was found, for the error. Raises DataError for anything else: absolute, with .. or a backslash.
    """
    if not isinstance(name, str) or not name or "\0" in name or "\\" in name:
        raise DataError(f"{where}: file_name {name!r} is not a relative path")
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts:
        raise DataError(f"{where}: file_name {name!r} leaves the data set's folder")
    return name

"""JSON files in, with errors that name file and place."""

import json
import posixpath
import re
from pathlib import Path
from typing import Any

from synth.errors import DataError
from synth.system.untrusted import read_untrusted_text
from synth.text import is_visible

MAX_JSON_BYTES = 4 << 30
MAX_JSON_VALUES = 100_000_000
"""A value takes some 60 bytes of memory: [], is three of the file's."""


def read_json(path: Path, folder: Path | None = None) -> Any:
    """The parsed content. folder: see open_untrusted. Raises DataError naming the file and the place for one
    that is absent, larger than MAX_JSON_BYTES, of more than MAX_JSON_VALUES, or no JSON in UTF-8."""
    try:
        return parse_json(read_untrusted_text(path, MAX_JSON_BYTES, folder=folder), str(path))
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error


def parse_json(text: str, where: str) -> Any:
    """Raises DataError naming `where` for text that is no JSON, or of more than MAX_JSON_VALUES."""
    if sum(text.count(mark) for mark in ",[{") > MAX_JSON_VALUES:
        raise DataError(f"{where}: more than {MAX_JSON_VALUES} values")
    try:
        return json.loads(text)
    except RecursionError as error:
        raise DataError(f"{where}: not valid JSON: nested too deeply") from error
    except ValueError as error:
        raise DataError(f"{where}: not valid JSON: {error}") from error


def safe_relative_path(name: Any, where: str, up: int = 0) -> str:
    """`name`, a file name from a label file, as a path with slashes that stays inside the data set's folder.

    where: it was found, for the error. up: folders between the label file and the data set's folder, which
    .. may climb. Raises DataError for anything else: absolute, with a drive, or leaving the folder.
    """
    if not isinstance(name, str) or not name or not is_visible(name):
        raise DataError(f"{where}: file_name {name!a:.80} is not a relative path")
    path = posixpath.normpath(name.replace("\\", "/"))
    if path.startswith("/") or re.match("[A-Za-z]:", path):
        raise DataError(f"{where}: file_name {name!r:.80} is not a relative path")
    if path.split("/")[: up + 1].count("..") > up:
        raise DataError(f"{where}: file_name {name!r:.80} leaves the data set's folder")
    return path

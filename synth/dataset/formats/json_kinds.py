"""Which labels a JSON file holds, told from its content: several tools write .json."""

from functools import lru_cache
from pathlib import Path
from typing import Any

from synth.errors import DataError
from synth.system.json_files import read_json
from synth.system.untrusted import is_hidden

COCO, SHAPES, LABELME, LABEL_STUDIO, DATUMARO = "coco", "shapes", "labelme", "label-studio", "datumaro"
A_PHOTO = (SHAPES, LABELME)
"""Kinds of which every photo has a file of its own."""
OTHER_TOOLS = (LABELME, LABEL_STUDIO, DATUMARO)
MAX_LOOKED_INTO = 64 << 20
"""Bytes of a file that is looked into; a larger one is taken for COCO."""


def kind_of(file: Path) -> str | None:
    """One of the kinds above, None for another or no JSON."""
    try:
        state = file.stat()
    except (OSError, ValueError):
        return None
    return _kind_of(file, state.st_size, state.st_mtime_ns)


def json_files(folder: Path) -> list[Path]:
    """The JSON files in the folder's annotations/, or else in the folder itself, sorted by name."""
    inner = folder / "annotations"
    found = (inner if inner.is_dir() else folder).glob("*.json")
    return sorted(file for file in found if not is_hidden(file))


def files_of_kind(path: Path, kind: str) -> list[Path]:
    """`path` itself, or all JSON files of the folder if the first is of that kind."""
    if path.is_file():
        return [path] if kind_of(path) == kind else []
    found = json_files(path)
    return found if found and kind_of(found[0]) == kind else []


@lru_cache(maxsize=100_000)
def _kind_of(file: Path, size: int, mtime_ns: int) -> str | None:
    if size > MAX_LOOKED_INTO:
        return COCO
    try:
        return _kind(read_json(file))
    except (DataError, OSError):
        return None


def _kind(raw: Any) -> str | None:
    if isinstance(raw, list):
        rows = [row for row in raw if isinstance(row, dict)]
        return LABEL_STUDIO if rows and "data" in rows[0] else SHAPES
    if not isinstance(raw, dict):
        return None
    if isinstance(raw.get("items"), list) and isinstance(raw.get("categories"), dict):
        return DATUMARO
    if "shapes" in raw and "imagePath" in raw:
        return LABELME
    if "bboxes" in raw:
        return SHAPES
    return COCO if "images" in raw else None

"""Writing files so that a killed run leaves either the old file or the new one."""

import os
from pathlib import Path


def write_bytes(path: Path, data: bytes) -> None:
    """Writes `data` to a temporary neighbour and renames it onto `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode("utf-8"))

"""The folders that travel with the program: `assets` (objects) and `configs`."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def shipped_folder(name: str) -> Path:
    """`assets` or `configs`: in the package where a wheel brought it, else in the repository."""
    installed = PACKAGE / "_data" / name
    return installed if installed.is_dir() else PACKAGE.parent / name

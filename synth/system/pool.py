"""Pools: folders of files of one kind that scenes draw from."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from synth.errors import DataError
from synth.system.untrusted import is_hidden, read_untrusted

MAX_FILE_BYTES = 1 << 29


@dataclass(frozen=True)
class Pool:
    """Background photos, environment maps or distractor meshes.

    names: of the files that scenes may show, relative to `folder`, sorted. beside: names of further files
    that those may refer to, as meshes do to materials and textures.
    """

    folder: Path
    names: tuple[str, ...]
    beside: tuple[str, ...] = ()

    def path(self, name: str) -> Path:
        return self.folder / name

    def digest(self) -> str:
        """SHA-256 over the names and contents of all files."""
        digest = hashlib.sha256()
        for name in (*self.names, *self.beside):
            digest.update(name.encode() + b"\0" + read_untrusted(self.path(name), MAX_FILE_BYTES))
        return digest.hexdigest()

    def hashes(self) -> dict[str, str]:
        """File name -> SHA-256, of all files."""
        paths = sorted(self.path(name) for name in (*self.names, *self.beside))
        return {
            path.relative_to(self.folder).as_posix(): hashlib.sha256(
                read_untrusted(path, MAX_FILE_BYTES)
            ).hexdigest()
            for path in paths
        }


def open_pool(folder: Path, suffixes: tuple[str, ...], what: str) -> Pool:
    """The files below `folder` that have one of the suffixes, in small or capital letters.

    what: they are, for errors. Raises DataError when there is none, and for names that are not UTF-8.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder of {what}")
    names = [name for name in files_below(folder) if Path(name).suffix.lower() in suffixes]
    if not names:
        raise DataError(f"{folder}: no {what} ({', '.join(suffixes)}) in it")
    for name in names:
        if name.encode(errors="replace").decode() != name:
            raise DataError(f"{folder}: the name {name!a} is not UTF-8; rename the file")
    return Pool(folder, tuple(names))


def files_below(folder: Path) -> list[str]:
    """The files below `folder` that are the user's own, by their names relative to it, sorted."""
    found = (p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
    return sorted(p.as_posix() for p in found if not is_hidden(p))

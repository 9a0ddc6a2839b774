"""Where the images and labels of an Ultralytics data set lie, as its data.yaml says.

Every key but Ultralytics' own may name a split: a folder, a text file that lists images, or several of them.
https://docs.ultralytics.com/datasets/pose
"""

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from synth.errors import DataError
from synth.system.pictures import images_in
from synth.system.untrusted import is_hidden, read_untrusted_text

log = logging.getLogger(__name__)
USUAL_SPLITS = ("train", "val", "valid", "validation", "test")
OTHER_KEYS = ("path", "names", "download", "kpt_names")
MAX_LABEL_BYTES = 64 << 20


def image_files(raw: dict[str, Any], folder: Path) -> list[Path]:
    """The images of all splits of `folder`/data.yaml, whose content is `raw`; those of one split by name.

    Where it names no split, those of all folders in images/ or called so. Raises DataError for a split
    outside the folder.
    """
    places = [_find(place, raw.get("path"), folder, split) for split, place in _splits(raw)]
    if not places:
        places = list(_image_folders(folder))
    return list(dict.fromkeys(image for place in places if place for image in _images_at(place, folder)))


def say_what_is_left_out(raw: dict[str, Any], folder: Path, found: list[Path]) -> None:
    """Splits that are not there, and folders of images that no split names."""
    for split, place in _splits(raw):
        if _find(place, raw.get("path"), folder, split) is None:
            log.warning("%s: %s: %s is not there, left out", folder / "data.yaml", split, place)
    used = {picture.parent for picture in found}
    for unnamed in _image_folders(folder):
        if unnamed not in used and images_in(unnamed):
            log.warning("%s: %s left out: data.yaml does not name it", folder, unnamed.relative_to(folder))


def _image_folders(folder: Path) -> list[Path]:
    return sorted(place for place in (*folder.glob("images/*"), *folder.glob("*/images")) if place.is_dir())


def label_file(picture: Path, folder: Path) -> Path:
    """Where the labels of an image lie: in labels/ instead of the last images/ on its way, else beside it."""
    parts = list(picture.relative_to(folder).parts)
    for n in range(len(parts) - 2, -1, -1):
        if parts[n] == "images":
            parts[n] = "labels"
            break
    return folder.joinpath(*parts).with_suffix(".txt")


def _splits(raw: dict[str, Any]) -> list[tuple[str, str]]:
    """Splits with their places: the usual ones, and what else names folders as they do."""
    found = []
    for key, value in raw.items():
        places = value if isinstance(value, list) else [value]
        named = all(isinstance(place, str) and place for place in places)
        if named and (key in USUAL_SPLITS or (key not in OTHER_KEYS and _looks_like_paths(places))):
            found += [(str(key), place) for place in places]
    return found


def _looks_like_paths(places: list[str]) -> bool:
    return all("images" in place.replace("\\", "/").split("/") or place.endswith(".txt") for place in places)


def _find(place: str, root: Any, folder: Path, split: str) -> Path | None:
    """`place` as Ultralytics looks for it: below `path`, with ../ of Roboflow's at its start ignored where
    it leads nowhere. `path` may be of the machine where the data set was made."""
    name = place.replace("\\", "/").removeprefix("./")
    roots = [folder / root.replace("\\", "/")] if isinstance(root, str) and root else []
    names = [name]
    while names[-1].startswith("../"):
        names.append(names[-1].removeprefix("../"))
    outside = False
    for base in (*roots, folder):
        for written in names:
            path = Path(os.path.normpath((base / written).absolute()))
            if not path.exists():
                continue
            if path.is_relative_to(Path(os.path.normpath(folder.absolute()))):
                return folder / path.relative_to(Path(os.path.normpath(folder.absolute())))
            outside = True
    if outside:
        raise DataError(f"{folder / 'data.yaml'}: {split}: {place!r:.80} leaves the data set's folder")
    return None


def _images_at(path: Path, folder: Path) -> Iterator[Path]:
    if path.is_dir():
        inner = sorted(d for d in path.rglob("*") if d.is_dir() and not is_hidden(d))
        for place in (path, *inner):
            yield from images_in(place)
        return
    for n, line in enumerate(read_untrusted_text(path, MAX_LABEL_BYTES, folder=folder).splitlines(), start=1):
        name = line.strip()
        if name:
            found = _find(name, str(path.parent.relative_to(folder)), folder, f"{path.name}: line {n}")
            if found is None:
                tail = name.replace("\\", "/").partition("images/")[2]
                found = _find(f"images/{tail}", None, folder, path.name) if tail else None
            if found is None:
                raise DataError(f"{path}: line {n}: {name!r:.80} is not there")
            yield found

"""Ultralytics' YOLO-pose layout: data.yaml, images/SPLIT/NAME.jpg, labels/SPLIT/NAME.txt.

A label line is `class cx cy w h x y v x y v …`, all but class and v as shares of the image's size, with v as
in COCO; without v where kpt_shape is [K, 2]: then a point at 0 0 or beyond is not labelled, as Ultralytics
takes it, any other visible. data.yaml holds kpt_shape, flip_idx and names, and beyond Ultralytics' keys
kpt_names, skeleton, oks_sigmas, category_ids and flip_defined, so that nothing of the keypoint schema is
lost. Masks, areas and crowds have no place in it.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from synth.dataset.coco import (
    DEFAULT_SIGMA,
    Annotation,
    Category,
    ImageLabels,
    KeypointDataset,
    require_distinct,
)
from synth.dataset.coco_exports import placeholder_names
from synth.dataset.formats.yolo_splits import MAX_LABEL_BYTES, image_files, label_file, say_what_is_left_out
from synth.dataset.labelled import LabelledImages, named_as
from synth.dataset.placing import flat_names, place_sized
from synth.errors import DataError
from synth.system.pictures import header_size, refuse_broken_link
from synth.system.untrusted import read_untrusted_text
from synth.system.yaml_files import read_yaml
from synth.types import NOT_LABELLED, OCCLUDED, VISIBLE, KeypointSchema

DATA = "data.yaml"
SPLITS = ("train", "val", "test")
"""Those that are read; written are the first two."""
VAL_EVERY = 10
MAX_KEYPOINTS = 1000


def finds(path: Path) -> bool:
    return (path / DATA).is_file()


def files(path: Path) -> list[Path]:
    labels = {label_file(picture, path) for picture in image_files(read_yaml(path / DATA, DataError), path)}
    return [path / DATA, *sorted(label for label in labels if label.is_file())]


def write(labelled: LabelledImages, object_: str | None, target: Path) -> None:
    """Every VAL_EVERY-th image goes to val. Raises DataError for categories whose keypoints are
    not alike."""
    dataset = labelled.data
    counts = {len(c.schema) for c in dataset.categories}
    if len(counts) != 1:
        raise DataError(f"categories have {sorted(counts)} keypoints, YOLO-pose needs one number for all")
    schemas = [category.schema for category in dataset.categories]
    if len({(s.skeleton, s.flip_pairs, s.oks_sigmas) for s in schemas}) > 1:
        raise DataError(
            "categories differ in skeleton, flip pairs or sigmas, YOLO-pose needs the same for all"
        )
    (target / DATA).write_text(yaml.safe_dump(_description(dataset, counts.pop()), sort_keys=False))
    classes = {category.id: n for n, category in enumerate(dataset.categories)}
    images = zip(dataset.images, labelled.paths, flat_names(dataset.images), strict=True)
    for n, (image, path, name) in enumerate(images):
        split = SPLITS[n % VAL_EVERY == VAL_EVERY - 1]
        size = place_sized(image, path, target / "images" / split / name)
        label = target / "labels" / split / f"{Path(name).stem}.txt"
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text("".join(_line(a, classes[a.category_id], size) for a in image.annotations))


def read(path: Path, asked: Sequence[Category], object_: str | None) -> LabelledImages:
    """All splits as one data set, file names relative to the folder `path`. Raises DataError naming file and
    line."""
    folder, path = path, path / DATA
    raw = read_yaml(path, DataError)
    categories, with_v = _categories(raw, path)
    images: list[ImageLabels] = []
    pictures = image_files(raw, folder)
    say_what_is_left_out(raw, folder, pictures)
    for picture in pictures:
        width, height = header_size(picture)
        label = label_file(picture, folder)
        annotations = tuple(
            _annotation(line, f"{label}: line {n}", categories, with_v, (width, height))
            for n, line in enumerate(_lines(label, folder), start=1)
            if line.strip()
        )
        name = picture.relative_to(folder).as_posix()
        images.append(ImageLabels(len(images) + 1, name, width, height, annotations))
    if not images:
        raise DataError(f"{path}: no images where it says that its splits lie (train, val, …)")
    data = named_as(KeypointDataset(categories, tuple(images)), asked, str(path))
    return LabelledImages(data, tuple(pictures), path)


def _lines(label: Path, folder: Path) -> list[str]:
    """None for an image without objects, whose label file may be absent."""
    refuse_broken_link(label)
    if not label.exists():
        return []
    return read_untrusted_text(label, MAX_LABEL_BYTES, folder=folder).splitlines()


def _description(dataset: KeypointDataset, k: int) -> dict[str, Any]:
    schema = dataset.categories[0].schema
    flip = list(range(k))
    for a, b in schema.flip_pairs or ():
        flip[a], flip[b] = b, a
    return {
        "train": "images/train",
        "val": "images/val" if len(dataset.images) >= VAL_EVERY else "images/train",
        "kpt_shape": [k, 3],
        **({} if schema.flip_pairs is None else {"flip_idx": flip}),
        "names": {n: category.name for n, category in enumerate(dataset.categories)},
        "kpt_names": {n: list(c.schema.names) for n, c in enumerate(dataset.categories)},
        "skeleton": [list(pair) for pair in schema.skeleton],
        "oks_sigmas": list(schema.oks_sigmas),
        "category_ids": [category.id for category in dataset.categories],
        "flip_defined": schema.flip_pairs is not None,
    }


def _categories(raw: dict[str, Any], path: Path) -> tuple[tuple[Category, ...], bool]:
    """The classes, and whether their keypoints have a v."""
    try:
        k, size = (int(x) for x in raw["kpt_shape"])
        if size not in (2, 3) or not 0 < k <= MAX_KEYPOINTS:
            raise DataError(f"{path}: kpt_shape: {raw['kpt_shape']!r:.60}, expected [K, 3] or [K, 2]")
        names = _names(raw["names"], path)
        flip = [int(x) for x in raw.get("flip_idx") or range(k)]
        if sorted(flip) != list(range(k)) or any(flip[j] != i for i, j in enumerate(flip)):
            raise DataError(f"{path}: flip_idx: {flip}, expected pairs among 0 to {k - 1}")
        pairs = tuple((i, j) for i, j in enumerate(flip) if i < j)
        keypoints = raw.get("kpt_names") or {}
        ids = [int(x) for x in raw.get("category_ids") or range(1, len(names) + 1)]
        for n, name in enumerate(names):
            if len(keypoints.get(n) or range(k)) != k:
                raise DataError(f"{path}: kpt_names: {len(keypoints[n])} of {name!r}, expected {k}")
        if len(ids) != len(names):
            raise DataError(f"{path}: category_ids: {ids}, expected {len(names)} of them (one per name)")
        categories = tuple(
            Category(
                ids[n],
                name,
                KeypointSchema(
                    names=tuple(map(str, keypoints.get(n) or placeholder_names(k))),
                    skeleton=tuple((int(a), int(b)) for a, b in raw.get("skeleton") or ()),
                    flip_pairs=pairs if raw.get("flip_defined", bool(raw.get("flip_idx"))) else None,
                    oks_sigmas=tuple(float(s) for s in _sigmas(raw) or [DEFAULT_SIGMA] * k),
                ),
            )
            for n, name in enumerate(names)
        )
    except DataError:
        raise
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise DataError(f"{path}: expected kpt_shape, names and flip_idx of YOLO-pose: {error!r}") from error
    return require_distinct(categories, str(path)), size == 3


def _sigmas(raw: dict[str, Any]) -> Any:
    """Ours, or those that Ultralytics reads."""
    return raw.get("oks_sigmas") or raw.get("kpt_oks_sigmas")


def _names(raw: Any, path: Path) -> list[str]:
    """A class's number is its place."""
    named = {int(n): name for n, name in raw.items()} if isinstance(raw, dict) else dict(enumerate(raw))
    places = range(len(named))
    if (
        isinstance(raw, str)
        or not named
        or set(named) != set(places)
        or not all(isinstance(name, str | int | float) for name in named.values())
    ):
        raise DataError(f"{path}: names: {raw!r:.60}, expected a list of names, or a mapping from 0, 1, …")
    return [str(named[n]) for n in places]


def _line(annotation: Annotation, class_: int, size_px: tuple[int, int]) -> str:
    size = np.array(size_px, dtype=np.float64)
    x0, y0, x1, y1 = annotation.box_xyxy / np.tile(size, 2)
    shares = annotation.keypoints[:, :2] / size
    words = [str(class_), *(repr(float(v)) for v in ((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0))]
    for (x, y), v in zip(shares.tolist(), annotation.keypoints[:, 2].tolist(), strict=True):
        words += [repr(x), repr(y), str(int(v))]
    return " ".join(words) + "\n"


def _annotation(
    line: str, where: str, categories: tuple[Category, ...], with_v: bool, size_px: tuple[int, int]
) -> Annotation:
    try:
        class_, *numbers = (float(word) for word in line.split())
    except ValueError as error:
        raise DataError(f"{where}: expected numbers") from error
    if class_ not in range(len(categories)):
        raise DataError(f"{where}: class {class_:g}, expected a known class, 0 to {len(categories) - 1}")
    category = categories[int(class_)]
    k, each = len(category.schema), 3 if with_v else 2
    if len(numbers) != 4 + each * k or not all(map(math.isfinite, numbers)):
        raise DataError(f"{where}: {1 + len(numbers)} values, expected {5 + each * k} finite ones")
    cx, cy, w, h = numbers[:4]
    points = np.array(numbers[4:]).reshape(k, each)
    if not with_v:
        absent = (points < 0).any(axis=1) | (points == 0).all(axis=1)
        points = np.column_stack([points, np.where(absent, NOT_LABELLED, VISIBLE)])
    points = points * [*size_px, 1.0]
    if not np.isin(points[:, 2], (NOT_LABELLED, OCCLUDED, VISIBLE)).all():
        raise DataError(f"{where}: v {points[:, 2].tolist()}, expected 0, 1 or 2 for each keypoint")
    box = np.array([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]) * np.tile(size_px, 2)
    return Annotation(category.id, box, points, float(np.prod(box[2:] - box[:2])))

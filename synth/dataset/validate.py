"""Says what is wrong in a labelled data set, whoever wrote it, and how much of it can train.

Unlike the readers of the label formats, which stop at the first fault, this reads on and counts.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from synth.dataset.coco import Category, coco_content
from synth.dataset.coco_exports import placeholder_names, plain_coco
from synth.dataset.faults import FAULTS, FaultCount, FaultLog, is_integer
from synth.dataset.formats import coco, shapes
from synth.dataset.formats.table import find_format
from synth.dataset.log import damages
from synth.dataset.validate_objects import Frame, check_annotations
from synth.errors import DataError
from synth.system.json_files import read_json, safe_relative_path
from synth.system.pictures import find_image, levels_up, upright_size
from synth.system.shards import open_file
from synth.types import KeypointSchema

MAX_DECODED = 2000
COUNTED = ("coco", "shapes")
"""Formats in JSON, of which every fault is counted; of the others the reader names the first."""


@dataclass(frozen=True)
class Report:
    """n_trainable: objects with at least one keypoint, v > 0, inside their box. n_decoded: images whose
    pixels were read; of the others (n_images > MAX_DECODED) only the header was."""

    path: Path
    n_images: int
    n_objects: int
    n_trainable: int
    n_decoded: int
    faults: tuple[FaultCount, ...]

    @property
    def has_errors(self) -> bool:
        return any(fault.level == "error" for fault in self.faults)

    @property
    def trainable_rate(self) -> float:
        return self.n_trainable / self.n_objects if self.n_objects else 0.0


def validate_dataset(path: Path, category: Category | None = None, object_: str | None = None) -> Report:
    """Checks labels of any format (see synth.dataset.formats.table), and folders of several COCO files; of a
    rendered set also that every file is as it was rendered.

    JSON, COCO's or one photo's, is read on after a fault; of the other formats the first is reported.
    category: of the object the data is meant for; None skips the comparison with it. object_: its name or
    folder, for labels that need its mesh.
    Raises DataError only when there is no label file; all other faults are counted.
    """
    schema = category.schema if category else None
    log = FaultLog()
    n_images = n_objects = n_trainable = n_decoded = 0
    for damage in damages(path):
        log.add("damaged", damage)
    label_format = find_format(path)
    counted = label_format.name in COUNTED
    files = _json_files(path) if counted else label_format.files(path)[:1]
    for file in files:
        log.prefix = ""
        try:
            if counted:
                raw = plain_coco(read_json(file, path), str(file))
                raw = shapes.coco_content(raw, file, path, category) if shapes.is_shapes(raw) else raw
            else:
                raw = coco_content(label_format.read(path, (category,) if category else (), object_).data)
        except (DataError, RecursionError) as error:
            log.add("malformed", str(error))
            continue
        rows = {key: raw.get(key) if isinstance(raw, dict) else None for key in _LISTS}
        absent = [key for key, value in rows.items() if not isinstance(value, list)]
        if absent:
            log.add("malformed", f"{file}: no list `{absent[0]}`")
            continue
        log.prefix = f"{file.name}: " if len(files) > 1 else ""
        keypoint_counts = _check_categories(_dicts(rows["categories"], "category", log), schema, log)
        images = list(_dicts(rows["images"], "image", log))
        frames, decoded = _check_images(images, file, log)
        objects = list(_dicts(rows["annotations"], "annotation", log))
        n_trainable += check_annotations(objects, frames, keypoint_counts, log)
        n_images, n_objects, n_decoded = n_images + len(images), n_objects + len(objects), n_decoded + decoded
    log.prefix = ""
    if n_trainable == 0:
        log.add("nothing_to_learn", str(path))
    return Report(path, n_images, n_objects, n_trainable, n_decoded, log.faults())


def print_report(report: Report, console: Console | None = None) -> None:
    """A table of the faults, worst first, and the rate of objects that can train."""
    console = console or Console()
    if report.faults:
        table = Table("level", "count", "what", "for example", box=None, pad_edge=False)
        style = {"error": "red", "warning": "yellow", "info": ""}
        for fault in sorted(report.faults, key=lambda f: list(style).index(f.level)):
            where = escape("; ".join(fault.examples))
            level = fault.level
            table.add_row(level, str(fault.count), FAULTS[fault.kind][1], where, style=style[level])
        console.print(table)
    console.print(
        f"{report.path}: {report.n_images} images, {report.n_objects} objects, of which {report.n_trainable} "
        f"({report.trainable_rate:.1%}) can give a keypoint loss",
        soft_wrap=True,
        markup=False,
        highlight=False,
    )
    if report.n_decoded < report.n_images:
        console.print(f"pixels decoded of {report.n_decoded} images; of the others only the header was read")


_LISTS = ("images", "annotations", "categories")


def _json_files(path: Path) -> list[Path]:
    files = coco.files(path) if coco.finds(path) else shapes.photo_files(path)
    if not files:
        raise DataError(
            f"{path}: expected a COCO file, or a folder with annotations.json, annotations/*.json or *.json"
        )
    return files


def _dicts(rows: Any, where: str, log: FaultLog) -> Iterator[dict[str, Any]]:
    for position, row in enumerate(rows):
        if isinstance(row, dict):
            yield row
        else:
            log.add("malformed", f"{where} number {position + 1} is no object")


def _check_categories(
    rows: Iterable[dict[str, Any]], schema: KeypointSchema | None, log: FaultLog
) -> dict[Any, int]:
    """Category id -> number of keypoints, of the categories that can be used."""
    counts: dict[Any, int] = {}
    for row in rows:
        where = f"category {row.get('id')!r} {row.get('name')!r}"
        names = row.get("keypoints")
        if not is_integer(row.get("id")) or not isinstance(names, list) or not names:
            log.add("malformed", f"{where}: expected an integer id and a list of names in `keypoints`")
            continue
        if row["id"] in counts:
            log.add("duplicate_id", where)
        if row["id"] <= 0:
            log.add("label_0", where)
        counts[row["id"]] = len(names)
        for fault in _schema_faults(row, names):
            log.add("schema", f"{where}: {fault}")
        if schema is not None and tuple(names) not in (schema.names, placeholder_names(len(schema))):
            log.add(
                "other_object", f"{where}: {', '.join(map(str, names))} instead of {', '.join(schema.names)}"
            )
    return counts


def _schema_faults(row: dict[str, Any], names: list[Any]) -> Iterator[str]:
    if len({str(name) for name in names}) < len(names):
        yield "a keypoint name is given twice"
    try:
        for a, b in row.get("skeleton") or []:
            if not (1 <= a <= len(names) and 1 <= b <= len(names)):
                yield f"skeleton {[a, b]} is not between 1 and {len(names)}"
        for a, b in row.get("flip_pairs") or []:
            if a not in names or b not in names:
                yield f"flip_pairs {[a, b]} names an unknown keypoint"
        sigmas = row.get("oks_sigmas")
        if sigmas is not None and len(sigmas) != len(names):
            yield f"oks_sigmas has {len(sigmas)} values, expected {len(names)} (one per keypoint)"
        elif sigmas is not None and not all(sigma > 0 and math.isfinite(sigma) for sigma in sigmas):
            yield f"oks_sigmas {sigmas} are not all greater than 0"
    except (TypeError, ValueError) as error:
        yield f"skeleton, flip_pairs or oks_sigmas is malformed: {error}"


def _check_images(
    rows: list[dict[str, Any]], file: Path, log: FaultLog
) -> tuple[dict[Any, Frame | None], int]:
    """Image id -> size (None where unknown), and how many images' pixels were decoded."""
    frames: dict[Any, Frame | None] = {}
    names: set[str] = set()
    every, decoded = math.ceil(len(rows) / MAX_DECODED), 0
    for position, row in enumerate(rows):
        where = f"image {row.get('id')!r} {row.get('file_name')!r}"
        if not is_integer(row.get("id")):
            log.add("malformed", f"{where}: expected an integer id")
            continue
        if row["id"] in frames:
            log.add("duplicate_id", where)
        if str(row.get("file_name")) in names:
            log.add("duplicate_file", where)
        names.add(str(row.get("file_name")))
        decode = position % every == 0
        decoded += decode
        frames[row["id"]] = _check_image(row, file, decode, where, log)
    return frames, decoded


def _check_image(row: dict[str, Any], file: Path, decode: bool, where: str, log: FaultLog) -> Frame | None:
    declared = (row.get("width"), row.get("height"))
    frame = Frame(float(declared[0]), float(declared[1])) if all(map(_is_size, declared)) else None  # type: ignore[arg-type]
    try:
        name = safe_relative_path(row.get("file_name"), where, levels_up(file))
    except DataError:
        log.add("path_escape", where)
        return frame
    try:
        image_file = find_image(file, name)
        if image_file is None:
            log.add("image_missing", where)
            return frame
        with open_file(image_file) as content, Image.open(content) as image:
            size = upright_size(image)
            if decode:
                image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        log.add("image_unreadable", f"{where}: {error}")
        return frame
    if declared != (None, None) and size != declared:
        log.add("image_size", f"{where}: {declared[0]} x {declared[1]}, the file has {size[0]} x {size[1]}")
    return frame or Frame(*map(float, size))


def _is_size(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and value > 0

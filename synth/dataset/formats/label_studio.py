"""Label Studio's JSON export: a list of tasks, each with the results of its annotators.

Coordinates are in % of the picture. A keypoint belongs to the box that is its parent (`parentID`, or a
relation), else to the one around it; every one drawn is visible (v = 2). https://labelstud.io/guide/export
"""

import logging
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np

from synth.dataset.coco import Category
from synth.dataset.formats.drawn import Box, Drawing, Point, labelled_images, picture_of
from synth.dataset.formats.json_kinds import LABEL_STUDIO, files_of_kind
from synth.dataset.labelled import LabelledImages
from synth.errors import DataError
from synth.system.json_files import read_json
from synth.types import VISIBLE, Array

log = logging.getLogger(__name__)
BOX, POINT, RELATION = "rectanglelabels", "keypointlabels", "relation"
UPLOADED = re.compile(r"[0-9a-f]{8}-")
"""What Label Studio puts before the name of a file that is uploaded."""


def finds(path: Path) -> bool:
    return len(files(path)) == 1


def files(path: Path) -> list[Path]:
    return files_of_kind(path, LABEL_STUDIO)


def read(path: Path, asked: Sequence[Category], object_: str | None) -> LabelledImages:
    """Tasks that nobody annotated are left out, with a word. Raises DataError naming task and result."""
    (file,) = files(path)
    tasks = read_json(file)
    drawings, untouched = [], 0
    for n, task in enumerate(tasks):
        where = f"{file}: task {task.get('id', n) if isinstance(task, dict) else n!r:.40}"
        results = _results(task, where)
        if results is None:
            untouched += 1
        else:
            drawings.append(_drawing(task, results, file, where))
    if untouched:
        log.warning("%s: %d of %d tasks left out: nobody annotated them", file, untouched, len(tasks))
    if not drawings:
        raise DataError(f"{file}: no task in it is annotated, expected `annotations` of Label Studio's JSON")
    return labelled_images(drawings, asked, file, file.parent)


def _results(task: Any, where: str) -> list[dict[str, Any]] | None:
    """Of the last annotation that was not cancelled."""
    if not isinstance(task, dict) or not isinstance(task.get("data"), dict):
        raise DataError(f"{where}: expected a task of Label Studio's JSON with `data`")
    made = task.get("annotations", task.get("completions")) or []
    if not isinstance(made, list) or not all(isinstance(one, dict) for one in made):
        raise DataError(f"{where}: annotations: expected a list")
    made = [one for one in made if not one.get("was_cancelled")]
    if not made:
        return None
    if len(made) > 1:
        log.warning("%s: %d annotations, the last is taken", where, len(made))
    results = made[-1].get("result")
    if not isinstance(results, list) or not all(isinstance(row, dict) for row in results):
        raise DataError(f"{where}: result: expected a list of results")
    return results


def _drawing(task: dict[str, Any], results: list[dict[str, Any]], file: Path, where: str) -> Drawing:
    boxes, points, skipped = [], [], set()
    parents = _parents(results)
    size = (0, 0)
    for n, row in enumerate(results):
        kind, place = row.get("type"), f"{where}: result {row.get('id', n)!r:.40}"
        if kind not in (BOX, POINT):
            skipped |= {str(kind)} - {RELATION}
            continue
        size = _size(row, place)
        name, numbers = _value(row, kind, place)
        if kind == BOX:
            boxes.append(Box(name, _corners(numbers, size), str(row.get("id"))))
        else:
            x, y = numbers["x"] * size[0] / 100, numbers["y"] * size[1] / 100
            points.append(Point(name, x, y, VISIBLE, parents.get(str(row.get("id")))))
    if skipped:
        log.warning("%s: results of %s left out", where, ", ".join(sorted(skipped)))
    return Drawing(_picture(task, file, where), *size, tuple(boxes), tuple(points), where)


def _parents(results: Iterable[dict[str, Any]]) -> dict[str, str]:
    """Point -> its box, by their ids: as `parentID` or a relation, in either direction, says."""
    kinds = {str(row.get("id")): row.get("type") for row in results}
    pairs = [(str(row.get("id")), str(row["parentID"])) for row in results if row.get("parentID")]
    for row in results:
        if row.get("type") == RELATION:
            ends = str(row.get("from_id")), str(row.get("to_id"))
            pairs += [ends, ends[::-1]]
    return {point: box for point, box in pairs if (kinds.get(point), kinds.get(box)) == (POINT, BOX)}


def _size(row: dict[str, Any], where: str) -> tuple[int, int]:
    size = row.get("original_width"), row.get("original_height")
    if not all(isinstance(side, int) and 0 < side < 1_000_000 for side in size):
        raise DataError(f"{where}: original_width, original_height: {size!r:.60}, expected px")
    if row.get("image_rotation"):
        raise DataError(
            f"{where}: image_rotation {row['image_rotation']!r:.20}, expected pictures as they lie"
        )
    return size  # type: ignore[return-value]


def _value(row: dict[str, Any], kind: str, where: str) -> tuple[str, dict[str, float]]:
    """The label and the numbers of a result."""
    value = row.get("value")
    names = value.get(kind) if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(names, list) or len(names) != 1:
        raise DataError(f"{where}: {kind}: {names!r:.60}, expected one label")
    wanted = ("x", "y", "width", "height") if kind == BOX else ("x", "y")
    try:
        numbers = {key: float(value[key]) for key in wanted} | {"rotation": float(value.get("rotation") or 0)}
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{where}: value: {value!r:.80}, expected {', '.join(wanted)} in %") from error
    if not all(map(math.isfinite, numbers.values())):
        raise DataError(f"{where}: a number is not finite")
    return str(names[0]), numbers


def _corners(numbers: dict[str, float], size: tuple[int, int]) -> Array:
    """(4,) xyxy px around the box, which is turned clockwise about its top left corner."""
    scale = np.array(size) / 100
    turn = math.radians(numbers["rotation"])
    right = numbers["width"] * scale[0] * np.array([math.cos(turn), math.sin(turn)])
    down = numbers["height"] * scale[1] * np.array([-math.sin(turn), math.cos(turn)])
    start = np.array([numbers["x"], numbers["y"]]) * scale
    corners = np.stack([start, start + right, start + down, start + right + down])
    return np.concatenate([corners.min(0), corners.max(0)])


def _picture(task: dict[str, Any], file: Path, where: str) -> Path:
    """The one that `data` names: uploaded, in a local folder or at an address."""
    names = [value for value in task["data"].values() if isinstance(value, str) and value]
    for key in ("image", "img"):
        names = [task["data"][key]] if isinstance(task["data"].get(key), str) else names
    if not names:
        raise DataError(f"{where}: data names no image")
    try:
        address = urlsplit(names[0])
    except ValueError as error:
        raise DataError(f"{where}: its image {names[0]!r:.120} is no address") from error
    path = parse_qs(address.query).get("d", [address.path])[0]
    try:
        return picture_of(file, path, where)
    except DataError:
        folder, _, name = path.rpartition("/")
        if UPLOADED.match(name) is None:
            raise
        return picture_of(file, f"{folder}/{UPLOADED.sub('', name, count=1)}", where)

"""What labelling tools write into COCO files beyond or beside COCO keypoints, made plain before it is read.

Everything left out or taken from elsewhere is said once a file.
"""

import logging
from collections import Counter
from typing import Any

from synth.errors import DataError

log = logging.getLogger(__name__)
LISTS = ("images", "annotations", "categories")
LARGEST = 1e15
Row = dict[str, Any]


def plain_coco(raw: Any, where: str) -> Any:
    """The content of a COCO file without what does not concern keypoints; anything else is returned as it is.

    Of Label Studio, boxes and keypoints become one object. Categories without keypoints go, with their
    objects, and so does all but one of a name (Roboflow); names of keypoints that no category gives
    (FiftyOne) become placeholder_names. Objects without a box and without keypoints go (CVAT's empty tracks);
    those without a box get the one around their keypoints. where: the file, for what is said.
    """
    if not isinstance(raw, dict) or not all(isinstance(raw.get(key), list) for key in LISTS):
        return raw
    if not all(isinstance(row, dict) for key in LISTS for row in raw[key]):
        return raw
    rows = {key: list(raw[key]) for key in LISTS}
    if _is_label_studio(raw):
        rows["categories"], rows["annotations"] = _joined(rows["categories"], rows["annotations"], where)
    rows["categories"] = _with_names(rows["categories"], rows["annotations"], where)
    rows["categories"], rows["annotations"] = _with_keypoints(*_distinct(rows), where)
    rows["annotations"] = _with_boxes(rows["annotations"], where)
    return {**raw, **rows}


def placeholder_names(count: int) -> tuple[str, ...]:
    """What keypoints are called whose names the labels do not give."""
    return tuple(f"keypoint_{n}" for n in range(count))


def _distinct(rows: dict[str, list[Row]]) -> tuple[list[Row], list[Row]]:
    """Categories and annotations with one category of each name, where no other says anything else."""
    used = Counter(_key(row.get("category_id")) for row in rows["annotations"])
    kept: dict[str, Row] = {}
    renamed: dict[Any, Any] = {}
    for row in rows["categories"]:
        name, first = str(row.get("name")), kept.get(str(row.get("name")))
        if first is None or _key(row.get("id")) == _key(first.get("id")):
            kept.setdefault(name, row)
        elif not used[_key(row.get("id"))] or row.get("keypoints") == first.get("keypoints"):
            renamed[_key(row.get("id"))] = first.get("id")
        elif not used[_key(first.get("id"))]:
            renamed[_key(first.get("id"))], kept[name] = row.get("id"), row
        else:
            return rows["categories"], rows["annotations"]
    if not renamed:
        return rows["categories"], rows["annotations"]
    annotations = [
        {**row, "category_id": renamed[_key(row.get("category_id"))]}
        if _key(row.get("category_id")) in renamed
        else row
        for row in rows["annotations"]
    ]
    return list(kept.values()), annotations


def _with_names(categories: list[Row], annotations: list[Row], where: str) -> list[Row]:
    """Categories with placeholder_names where all their objects have equally many keypoints of no name."""
    nameless = {_key(row.get("id")) for row in categories if not row.get("keypoints")}
    counts: dict[Any, set[int]] = {}
    for row in annotations:
        values, category = row.get("keypoints"), _key(row.get("category_id"))
        if category in nameless and isinstance(values, list) and values:
            counts.setdefault(category, set()).add(len(values))
    found = []
    for row in categories:
        sizes = counts.get(_key(row.get("id")), set())
        if len(sizes) == 1 and min(sizes) % 3 == 0:
            names = list(placeholder_names(min(sizes) // 3))
            log.warning(
                "%s: category %r names no keypoints: its %d are taken in their order",
                where,
                row.get("name"),
                len(names),
            )
            row = {**row, "keypoints": names}
        found.append(row)
    return found


def _with_keypoints(categories: list[Row], annotations: list[Row], where: str) -> tuple[list[Row], list[Row]]:
    """Without the categories that have no keypoints and their objects, if any category has some."""
    bare = [row for row in categories if row.get("keypoints") in (None, [])]
    if len(bare) == len(categories):
        return categories, annotations
    ids = {_key(row.get("id")) for row in bare}
    kept = [row for row in annotations if _key(row.get("category_id")) not in ids]
    if len(kept) < len(annotations):
        names = ", ".join(repr(row.get("name")) for row in bare)
        count = len(annotations) - len(kept)
        log.warning("%s: %d objects of %s left out: they have no keypoints", where, count, names)
    return [row for row in categories if row not in bare], kept


def _with_boxes(annotations: list[Row], where: str) -> list[Row]:
    kept, boxed = [], 0
    for row in annotations:
        if row.get("bbox") not in (None, [], [0, 0, 0, 0]):
            kept.append(row)
            continue
        points = _labelled(row.get("keypoints"))
        if points is None:
            kept.append(row)  # whoever reads it says what is wrong
        elif points and row.get("bbox"):
            kept.append(row)
        elif points:
            boxed += 1
            kept.append({**row, "bbox": _around(points)})
    if boxed:
        log.warning("%s: %d objects have no bbox: taken around their keypoints", where, boxed)
    if len(kept) < len(annotations):
        count = len(annotations) - len(kept)
        log.warning("%s: %d objects left out: neither box nor keypoint (empty tracks?)", where, count)
    return kept


def _is_label_studio(raw: Row) -> bool:
    info = raw.get("info")
    return isinstance(info, dict) and info.get("contributor") == "Label Studio"


def _joined(categories: list[Row], annotations: list[Row], where: str) -> tuple[list[Row], list[Row]]:
    """Label Studio's COCO: boxes of one category, all keypoints of an image in one row of another.

    Each row of keypoints is given to the box around all of them. Raises DataError where no box is: the file
    then mixes the keypoints of several objects.
    """
    named = [row for row in categories if row.get("keypoints")]
    boxed = [row for row in categories if not row.get("keypoints")]
    if len(named) != 1 or not boxed:
        return categories, annotations
    points_id = _key(named[0].get("id"))
    empty = [0] * 3 * len(named[0]["keypoints"])
    merged: list[Row] = []
    places: dict[Any, list[int]] = {}
    for row in annotations:
        if _key(row.get("category_id")) != points_id:
            places.setdefault(_key(row.get("image_id")), []).append(len(merged))
            merged.append({**row, "keypoints": empty})
    for row in annotations:
        if _key(row.get("category_id")) == points_id:
            points = _labelled(row.get("keypoints")) or []
            around = [
                n
                for n in places.get(_key(row.get("image_id")), [])
                if merged[n]["keypoints"] is empty and _holds(merged[n].get("bbox"), points)
            ]
            if not around:
                raise DataError(
                    f"{where}: image {row.get('image_id')!r:.40}: no box holds its keypoints; Label Studio's "
                    "COCO mixes those of several objects, export JSON"
                )
            least = min(around, key=lambda n: merged[n]["bbox"][2] * merged[n]["bbox"][3])
            merged[least]["keypoints"] = row["keypoints"]
    names = {"keypoints": named[0]["keypoints"], "skeleton": named[0].get("skeleton") or []}
    return [{**row, **names} for row in boxed], merged


def _labelled(values: Any) -> list[tuple[float, float]] | None:
    """x, y of the keypoints with v > 0; None for what is no list of numbers, three a keypoint."""
    values = [] if values is None else values
    if not isinstance(values, list) or len(values) % 3 or not all(map(_is_number, values)):
        return None
    return [(x, y) for x, y, v in zip(values[::3], values[1::3], values[2::3], strict=True) if v > 0]


def _is_box(box: Any) -> bool:
    return isinstance(box, list) and len(box) == 4 and all(map(_is_number, box))


def _holds(box: Any, points: list[tuple[float, float]], slack: float = 1.0) -> bool:
    """slack: px; Label Studio rounds the keypoints."""
    if not _is_box(box):
        return False
    x0, y0, w, h = box
    return all(-slack <= x - x0 <= w + slack and -slack <= y - y0 <= h + slack for x, y in points)


def _around(points: list[tuple[float, float]]) -> list[float]:
    xs, ys = zip(*points, strict=True)
    return [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -LARGEST < value < LARGEST


def _key(value: Any) -> Any:
    """An id as it can be looked up, also where it is none."""
    return value if isinstance(value, int | str) else repr(value)

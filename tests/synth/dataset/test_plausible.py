"""Sets whose labels cannot be meant are refused at once, by whatever reads them; single odd ones are not."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image

from synth.dataset.coco import read_coco
from synth.dataset.formats.table import read_labels
from synth.errors import DataError
from train.cli import main

WIDTH, HEIGHT = 320, 240
BOXES = ((115, 49, 188, 146), (72, 10, 214, 131), (20, 120, 100, 60))
Change = Callable[[list[dict[str, Any]]], object]


def labelled(folder: Path, change: Change = lambda rows: None, sized: bool = True) -> Path:
    """Photos with one box each and a keypoint near each of its corners."""
    rows = []
    size = {"width": WIDTH, "height": HEIGHT} if sized else {}
    for n, (x, y, w, h) in enumerate(BOXES, start=1):
        Image.new("RGB", (WIDTH, HEIGHT)).save(folder / f"{n}.jpg")
        points = [c for px in (x + 2, x + w - 2) for py in (y + 2, y + h - 2) for c in (px, py, 2)]
        rows.append({"id": n, "image_id": n, "category_id": 1, "bbox": [x, y, w, h], "keypoints": points})
    change(rows)
    images = [{"id": n, "file_name": f"{n}.jpg", **size} for n in range(1, len(BOXES) + 1)]
    categories = [{"id": 1, "name": "part", "keypoints": list("abcd")}]
    content = {"images": images, "annotations": rows, "categories": categories}
    (folder / "annotations.json").write_text(json.dumps(content))
    return folder


def corners(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        x, y, w, h = row["bbox"]
        row["bbox"] = [x, y, x + w, y + h]


def middles(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        x, y, w, h = row["bbox"]
        row["bbox"] = [x + w / 2, y + h / 2, w, h]


def swapped(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        points = row["keypoints"]
        row["keypoints"] = [points[i + j] for i in range(0, len(points), 3) for j in (1, 0, 2)]


def doubled(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        row["bbox"] = [2 * side for side in row["bbox"]]
        row["keypoints"] = [2 * c if i % 3 < 2 else c for i, c in enumerate(row["keypoints"])]


@pytest.mark.parametrize("sized", [True, False])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (corners, r"boxes look like corners x1, y1, x2, y2, such as \[115, 49, 303, 195\] of .*1\.jpg"),
        (middles, "keypoints lie outside their boxes in . of 3 objects|boxes leave their picture"),
        (swapped, "keypoints lie outside their boxes in . of 3 objects"),
        (doubled, r"2 of 3 boxes leave their picture|lies outside the 320x240 image"),
    ],
)
def test_sets_of_another_convention_are_refused(
    tmp_path: Path, change: Change, message: str, sized: bool
) -> None:
    with pytest.raises(DataError, match=message):
        read_labels(labelled(tmp_path, change, sized))


def test_one_odd_object_among_others_is_read(tmp_path: Path) -> None:
    def one(rows: list[dict[str, Any]]) -> None:
        corners(rows[:1])
        swapped(rows[1:2])

    assert len(read_labels(labelled(tmp_path, one)).data.images) == 3


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"keypoints": [9, 9, 0.87] * 4}, r"annotation 1: v 0\.87 of a keypoint, expected 0, 1 or 2"),
        ({"keypoints": [9, 9, 3] * 4}, "annotation 1: v 3"),
        ({"area": "12"}, "annotation 1: area: '12', expected a number"),
        ({"area": True}, "annotation 1: area: True"),
        ({"area": -4}, "annotation 1: area -4"),
        ({"visible_fraction": 7}, "visible_fraction 7"),
        ({"visible_fraction": [1]}, r"visible_fraction: \[1\], expected a number"),
        ({"bbox": [5, 5, 0, 9]}, r"1\.jpg: box \[5, 5, 5, 14\] is empty"),
        ({"bbox": [0.1, 0.1, 0.5, 0.5]}, "looks normalised"),
    ],
)
def test_values_that_mean_nothing_are_named(tmp_path: Path, edit: dict[str, Any], message: str) -> None:
    folder = labelled(tmp_path, lambda rows: rows[0].update(edit))
    with pytest.raises(DataError, match=message):
        read_labels(folder)


def test_converting_passes_on_no_area_that_no_object_has(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    folder = labelled(tmp_path / "in", lambda rows: [row.update(area=1) for row in rows[:2]])
    done = CliRunner().invoke(main, ["convert", str(folder), str(tmp_path / "out"), "--to", "coco"])
    assert done.exit_code == 0, done.output
    assert "2 labels with an `area` that no object in their box has" in done.output
    areas = [i.annotations[0].area for i in read_coco(tmp_path / "out" / "annotations.json").images]
    assert areas == [w * h for _, _, w, h in BOXES]


def test_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    file = labelled(tmp_path) / "annotations.json"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert len(read_coco(file).images) == 3

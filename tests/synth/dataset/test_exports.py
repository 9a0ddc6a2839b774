"""What labelling tools export, as they write it: read by one reader, nothing dropped without a word."""

import json
import logging
import os
import resource
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

from synth.dataset.coco import Category
from synth.dataset.formats.table import label_files, read_labels
from synth.dataset.labelled import LabelledImages
from synth.errors import DataError
from synth.types import KeypointSchema
from train.cli import main
from train.data.samples import read_samples

NAMES = ("tip", "end")
TUBE = Category(1, "tube", KeypointSchema(NAMES, (), None, (0.05, 0.05)))
SIZE = (64, 48)
BOX, POINTS = (10, 12, 30, 20), [12, 14, 2, 36, 28, 2]


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", SIZE, (90, 90, 90)).save(path)
    return path


def coco(names: list[str], **changes: Any) -> dict[str, Any]:
    """A COCO file's content: one tube in every image."""
    images = [{"id": n, "file_name": name, "width": 64, "height": 48} for n, name in enumerate(names)]
    annotations = [
        {"id": n, "image_id": n, "category_id": 1, "bbox": list(BOX), "keypoints": POINTS, "area": 600}
        for n in range(len(names))
    ]
    categories = [{"id": 1, "name": "tube", "keypoints": list(NAMES), "skeleton": [[1, 2]]}]
    return {"images": images, "annotations": annotations, "categories": categories} | changes


def write(path: Path, content: Any, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding=encoding)
    return path


def is_sound(path: Path, images: int = 1) -> LabelledImages:
    """Every command reads `path`, each image with its tube, and finds every picture."""
    labelled = read_labels(path, (TUBE,))
    assert all(file.is_file() for file in labelled.paths)
    assert len(labelled.paths) == len(labelled.data.images) == images
    for sample in read_samples(path, TUBE):
        assert sample.boxes.tolist() == [[10, 12, 40, 32]]
        assert sample.keypoints.tolist() == [[[12, 14, 2], [36, 28, 2]]]
    assert label_files(path)
    for arguments in (["validate"], ["preview", "--out", str(path.parent / "sheet.jpg")]):
        done = CliRunner().invoke(main, [arguments[0], str(path), *arguments[1:]])
        assert done.exit_code == 0, done.output
    out = path.parent / "converted"
    done = CliRunner().invoke(main, ["convert", str(path), str(out), "--to", "coco"])
    assert done.exit_code == 0, done.output
    assert len(list((out / "images").iterdir())) == images
    return labelled


@pytest.mark.parametrize(
    ("labels", "image", "name"),
    [
        ("annotations/person_keypoints_val2017.json", "val2017/a.png", "a.png"),
        ("annotations/person_keypoints_default.json", "images/default/a.png", "a.png"),
        ("annotations/person_keypoints_train.json", "images/train/cam 1/a.png", "cam 1/a.png"),
        ("labels.json", "data/a.png", "a.png"),
        ("train/_annotations.coco.json", "train/a.png", "a.png"),
        ("annotations.json", "images/a.png", "images\\a.png"),
        ("annotations.json", "images/a.png", ".\\images\\a.png"),
        ("annotations.json", "images/a.png", "./images/a.png"),
        ("annotations.json", "images/a.png", "images/../images/a.png"),
        ("annotations.json", "images/a b.png", "images/a%20b.png"),
        ("annotations.json", "images/a%20b.png", "images/a%20b.png"),
        ("annotations/instances.json", "images/a.png", "../images/a.png"),
        ("labels/coco.json", "images/a.png", "..\\images\\a.png"),
    ],
)
def test_images_are_found_where_tools_put_them(tmp_path: Path, labels: str, image: str, name: str) -> None:
    picture(tmp_path / "set" / image)
    file = write(tmp_path / "set" / labels, coco([name]))
    is_sound(file if labels.startswith("labels/") else tmp_path / "set")


@pytest.mark.parametrize("name", ["../a.png", "/etc/a.png", "C:\\a.png", "..\\..\\a.png", "b/../../a.png"])
def test_names_that_leave_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    picture(tmp_path / "a.png")
    write(tmp_path / "set" / "annotations.json", coco([name]))
    with pytest.raises(DataError, match=r"leaves the data set's folder|is not a relative path"):
        read_labels(tmp_path / "set")


def test_files_of_macs_and_byte_order_marks_are_passed_over(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    picture(folder / "images" / "a.png")
    for name in ("images/._a.png", "._labels.json", "images/.DS_Store"):
        (folder / name).write_bytes(b"\0\5\x16\7")
    write(folder / "labels.json", coco(["images/a.png"]), "utf-8-sig")
    is_sound(folder)


def test_the_parts_of_a_set_are_read_as_one(tmp_path: Path) -> None:
    for n, part in enumerate(("train", "valid")):
        content = coco(["a.png"])
        content["categories"].insert(0, {"id": 0, "name": f"set-{n}", "supercategory": "none"})
        picture(tmp_path / "roboflow" / part / "a.png")
        write(tmp_path / "roboflow" / part / "_annotations.coco.json", content)
        picture(tmp_path / "cvat" / "images" / part / f"{part}.png")
        write(tmp_path / "cvat" / "annotations" / f"person_keypoints_{part}.json", coco([f"{part}.png"]))
        write(tmp_path / "cvat" / "annotations" / f"instances_{part}.json", coco([f"{part}.png"]))
    labelled = is_sound(tmp_path / "roboflow", images=2)
    assert [image.file_name for image in labelled.data.images] == ["train/a.png", "valid/a.png"]
    assert len(label_files(tmp_path / "roboflow")) == 2
    assert read_labels(tmp_path / "cvat").data.images[1].file_name == "images/valid/valid.png"


def test_categories_without_keypoints_are_left_out_with_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = coco(["a.png"])
    content["categories"].append({"id": 2, "name": "hand", "keypoints": [], "skeleton": []})
    content["annotations"].append({"id": 9, "image_id": 0, "category_id": 2, "bbox": [1, 1, 5, 5]})
    picture(tmp_path / "set" / "a.png")
    write(tmp_path / "set" / "labels.json", content)
    is_sound(tmp_path / "set")
    assert "1 objects of 'hand' left out: they have no keypoints" in caplog.text


@pytest.mark.parametrize("id_", [0, 1, 5])
def test_categories_of_one_name_are_one(tmp_path: Path, id_: int) -> None:
    other = {"id": 0, "name": "tube", "supercategory": "none", "keypoints": list(NAMES)}
    content = coco(["a.png"])
    content["categories"][0]["id"] = content["annotations"][0]["category_id"] = id_ or 7
    content["categories"].insert(id_ % 2, other)
    content["annotations"][0]["category_id"] = id_ or 0
    picture(tmp_path / "set" / "a.png")
    write(tmp_path / "set" / "labels.json", content)
    assert len(is_sound(tmp_path / "set").data.categories) == 1


def test_categories_count_from_0_too(tmp_path: Path) -> None:
    content = coco(["a.png"])
    content["categories"][0]["id"] = content["annotations"][0]["category_id"] = 0
    picture(tmp_path / "set" / "a.png")
    write(tmp_path / "set" / "labels.json", content)
    is_sound(tmp_path / "set")


def test_empty_tracks_go_and_absent_boxes_are_taken_from_the_keypoints(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = coco(["a.png"])
    del content["annotations"][0]["bbox"]
    for empty in ({"keypoints": [], "bbox": [0, 0, 0, 0]}, {"keypoints": [0] * 6, "bbox": [0.0] * 4}):
        content["annotations"].append({"id": 9, "image_id": 0, "category_id": 1} | empty)
    picture(tmp_path / "a.png")
    file = write(tmp_path / "labels.json", content)
    (own,) = read_labels(file).data.images[0].annotations
    assert own.box_xyxy.tolist() == [12, 14, 36, 28]
    assert "2 objects left out: neither box nor keypoint" in caplog.text
    assert "1 objects have no bbox: taken around their keypoints" in caplog.text


def test_a_malformed_annotation_is_named(tmp_path: Path) -> None:
    content = coco(["a.png"])
    content["annotations"][0] |= {"id": 41, "bbox": [1, 2, 3]}
    with pytest.raises(DataError, match="annotation 41 is malformed"):
        read_labels(write(tmp_path / "labels.json", content))


def test_keypoints_without_names_take_those_of_the_object(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = coco(["a.png"])
    content["categories"] = [{"id": 1, "name": "tube", "supercategory": None}]
    picture(tmp_path / "set" / "data" / "a.png")
    write(tmp_path / "set" / "labels.json", content)
    is_sound(tmp_path / "set")
    assert read_labels(tmp_path / "set").data.categories[0].schema.names == ("keypoint_0", "keypoint_1")
    assert "'tube' names no keypoints: taken as those of tube" in caplog.text


def label_studio_coco(points: list[list[float]], boxes: list[tuple[int, ...]]) -> dict[str, Any]:
    annotations: list[dict[str, Any]] = [
        {"id": n, "image_id": 0, "category_id": 0, "segmentation": [], "bbox": list(box), "area": 600}
        for n, box in enumerate(boxes)
    ]
    annotations += [
        {"id": 9, "image_id": 0, "category_id": 1, "keypoints": row, "bbox": [12, 14, 24, 14]}
        for row in points
    ]
    default = {"id": 1, "name": "default", "supercategory": "default", "keypoints": list(NAMES)}
    return coco(
        ["images/a.png"],
        annotations=annotations,
        categories=[{"id": 0, "name": "tube"}, default],
        info={"contributor": "Label Studio"},
    )


def test_label_studios_boxes_and_keypoints_become_one_object(tmp_path: Path) -> None:
    picture(tmp_path / "set" / "images" / "a.png")
    content = label_studio_coco([[12, 14, 2, 36, 28, 2]], [BOX])
    is_sound(write(tmp_path / "set" / "result.json", content))
    two = label_studio_coco([[12, 14, 2, 36, 28, 2]], [BOX, (0, 0, 64, 48)])
    labelled = read_labels(write(tmp_path / "set" / "two.json", two))
    assert [a.keypoints[:, 2].sum() for a in labelled.data.images[0].annotations] == [4, 0]


def test_label_studios_mixed_keypoints_are_refused(tmp_path: Path) -> None:
    content = label_studio_coco([[2, 2, 2, 36, 28, 2]], [BOX, (0, 0, 5, 5)])
    with pytest.raises(DataError, match=r"image 0: no box holds its keypoints; .* export JSON"):
        read_labels(write(tmp_path / "result.json", content))


def task(image: str, results: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    return {"id": 3, "data": {"image": image}, "annotations": [{"result": results}]} | changes


def result(id_: str, kind: str, label: str, value: dict[str, float], **changes: Any) -> dict[str, Any]:
    side = {"original_width": 64, "original_height": 48, "image_rotation": 0}
    return {"id": id_, "type": kind, "value": {**value, kind: [label]}, **side} | changes


def tube_results(tie: str) -> list[dict[str, Any]]:
    x, y, w, h = BOX
    box = {"x": x / 0.64, "y": y / 0.48, "width": w / 0.64, "height": h / 0.48, "rotation": 0}
    results = [result("b", "rectanglelabels", "tube", box)]
    for n, name in enumerate(NAMES):
        at = {"x": POINTS[3 * n] / 0.64, "y": POINTS[3 * n + 1] / 0.48, "width": 0.5}
        more = {"parentID": "b"} if tie == "parentID" else {}
        results.append(result(f"p{n}", "keypointlabels", name, at, **more))
        if tie == "relation":
            results.append({"type": "relation", "from_id": f"p{n}", "to_id": "b", "direction": "right"})
    return results


def near(labelled: LabelledImages) -> None:
    (own,) = labelled.data.images[0].annotations
    assert own.box_xyxy == pytest.approx([10, 12, 40, 32])
    assert own.keypoints.ravel() == pytest.approx(POINTS)


@pytest.mark.parametrize("tie", ["parentID", "relation", "box"])
@pytest.mark.parametrize(
    ("image", "file"),
    [
        ("/data/local-files/?d=photos/images/a%20b.png", "images/a b.png"),
        ("/data/upload/1/1a2b3c4d-a.png", "a.png"),
        ("/data/upload/1/1a2b3c4d-a.png", "images/1a2b3c4d-a.png"),
        ("s3://bucket/photos/a.png", "a.png"),
        ("https://example.org/a.png?size=1", "images/a.png"),
    ],
)
def test_label_studio_tasks_are_read(tmp_path: Path, tie: str, image: str, file: str) -> None:
    picture(tmp_path / "set" / file)
    path = write(tmp_path / "set" / "project-1.json", [task(image, tube_results(tie))])
    near(read_labels(path, (TUBE,)))
    near(read_labels(path.parent))
    done = CliRunner().invoke(main, ["validate", str(path)])
    assert done.exit_code == 0, done.output


def test_label_studio_tasks_without_annotation_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    picture(tmp_path / "a.png")
    cancelled = task("a.png", [], annotations=[{"result": [], "was_cancelled": True}])
    tasks = [task("a.png", tube_results("box")), task("b.png", [], annotations=[]), cancelled]
    near(read_labels(write(tmp_path / "p.json", tasks)))
    assert "2 of 3 tasks left out: nobody annotated them" in caplog.text
    with pytest.raises(DataError, match="no task in it is annotated"):
        read_labels(write(tmp_path / "q.json", tasks[1:]))


def test_a_turned_box_of_label_studio_is_the_one_around_it(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    results = tube_results("parentID")
    results[0]["value"] |= {"x": 40 / 0.64, "rotation": 90, "width": 20 / 0.64, "height": 30 / 0.48}
    near(read_labels(write(tmp_path / "p.json", [task("a.png", results)])))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": None}, "task 3: result 'b': value: .*expected x, y, width, height"),
        ({"x": float("inf")}, "a number is not finite"),
        ({"rectanglelabels": []}, "expected one label"),
        ({"x": 1e400}, "a number is not finite"),
    ],
)
def test_faulty_label_studio_results_are_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    picture(tmp_path / "a.png")
    results = tube_results("parentID")
    results[0]["value"] |= change
    with pytest.raises(DataError, match=message):
        read_labels(write(tmp_path / "p.json", [task("a.png", results)]))


def labelme(image: str, groups: tuple[int | None, ...] = (None,)) -> dict[str, Any]:
    x, y, w, h = BOX
    shapes: list[dict[str, Any]] = []
    for group in groups:
        rectangle = {"label": "tube", "points": [[x + w, y + h], [x, y]], "shape_type": "rectangle"}
        shapes.append({**rectangle, "group_id": group, "flags": {}})
        for n, name in enumerate(NAMES):
            at = [POINTS[3 * n], POINTS[3 * n + 1]]
            shapes.append({"label": name, "points": [at], "shape_type": "point", "group_id": group})
    size = {"imageWidth": 64, "imageHeight": 48}
    return {"version": "5.4.1", "shapes": shapes, "imagePath": image, "imageData": None} | size


@pytest.mark.parametrize("group", [None, 1])
@pytest.mark.parametrize("image", ["a.png", "..\\images\\a.png", "..\\labelme\\a.png"])
def test_labelme_files_are_read(tmp_path: Path, group: int | None, image: str) -> None:
    picture(tmp_path / "set" / ("images/a.png" if "images" in image else "a.png"))
    write(tmp_path / "set" / "a.json", labelme(image, (group,)))
    is_sound(tmp_path / "set")
    near(read_labels(tmp_path / "set" / "a.json"))


def test_shapes_of_labelme_that_tell_no_objects_apart_are_refused(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    with pytest.raises(DataError, match="two rectangles have the same group_id"):
        read_labels(write(tmp_path / "a.json", labelme("a.png", (1, 1))))
    loose = labelme("a.png", (None,))
    loose["shapes"][1]["points"] = [[1, 1]]
    with pytest.raises(DataError, match="point 'tip' belongs to no box"):
        read_labels(write(tmp_path / "b.json", loose))


@pytest.mark.parametrize("skeleton", [False, True])
def test_datumaro_files_are_read(tmp_path: Path, skeleton: bool) -> None:
    xy = [[12.0, 14.0], [36.0, 28.0]]
    if skeleton:
        labels = ["tube", *NAMES]
        elements = [
            {"type": "points", "label_id": n + 1, "points": point, "visibility": [2]}
            for n, point in enumerate(xy)
        ]
        own: dict[str, Any] = {"type": "skeleton", "label_id": 0, "group": 1, "elements": elements}
    else:
        labels = ["tube"]
        own = {"type": "points", "label_id": 0, "group": 1, "points": [*xy[0], *xy[1]], "visibility": [2, 2]}
    box = {"type": "bbox", "label_id": 0, "group": 1, "bbox": list(BOX)}
    item = {"id": "a", "annotations": [own, box], "image": {"path": "a.png", "size": [48, 64]}}
    content = {
        "info": {},
        "categories": {
            "label": {"labels": [{"name": name, "parent": ""} for name in labels]},
            "points": {"items": [{"label_id": 0, "labels": list(NAMES), "joints": [[1, 2]]}]},
        },
        "items": [item],
    }
    picture(tmp_path / "set" / "images" / "default" / "a.png")
    write(tmp_path / "set" / "annotations" / "default.json", content)
    is_sound(tmp_path / "set")


def yolo(folder: Path, data: dict[str, Any], images: list[str], with_v: bool = True) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    shape = [2, 3 if with_v else 2]
    (folder / "data.yaml").write_text(
        yaml.safe_dump({"kpt_shape": shape, "names": ["tube"]} | data, sort_keys=False)
    )
    points = np.array(POINTS, float).reshape(2, 3) / [64, 48, 1]
    values = [0, 25 / 64, 22 / 48, 30 / 64, 20 / 48, *points[:, : shape[1]].ravel().tolist()]
    for name in images:
        picture(folder / name)
        label = folder / name.replace("images", "labels").replace(".png", ".txt")
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text(" ".join(map(str, values)), encoding="utf-8-sig")
    return folder


@pytest.mark.parametrize("with_v", [True, False])
@pytest.mark.parametrize(
    ("data", "images"),
    [
        (
            {"train": "../train/images", "val": "../valid/images"},
            ["train/images/a.png", "valid/images/b.png"],
        ),
        ({"train": "images/train", "test": "images/test"}, ["images/train/a.png", "images/test/b.png"]),
        ({"train": ["images/one", "images/two"]}, ["images/one/a.png", "images/two/b.png"]),
        ({"path": "data", "train": "images", "val": "images"}, ["data/images/a.png", "data/images/x/b.png"]),
        (
            {"path": "/gone/data", "train": "images/fit", "holdout": "images/h"},
            ["images/fit/a.png", "images/h/b.png"],
        ),
        ({"train": ".\\images\\train"}, ["images/train/a.png", "images/train/b.png"]),
        ({}, ["images/a/a.png", "images/b/b.png"]),
    ],
)
def test_ultralytics_data_sets_are_read(
    tmp_path: Path, data: dict[str, Any], images: list[str], with_v: bool
) -> None:
    folder = yolo(tmp_path / "set", data, images, with_v)
    labelled = read_labels(folder, (TUBE,))
    assert [image.file_name for image in labelled.data.images] == images
    for image in labelled.data.images:
        assert image.annotations[0].keypoints.ravel() == pytest.approx(POINTS)
    assert labelled.data.categories[0].schema.names == NAMES
    assert len(read_samples(folder, TUBE)) == 2
    assert CliRunner().invoke(main, ["validate", str(folder)]).exit_code == 0


@pytest.mark.parametrize("line", ["images/train/a.png", "./images/train/a.png", "data/images/train/a.png"])
def test_lists_of_images_are_followed(tmp_path: Path, line: str) -> None:
    folder = yolo(tmp_path / "set", {"train": "train.txt"}, ["images/train/a.png", "images/train/b.png"])
    (folder / "train.txt").write_text(f"{line}\n")
    assert [path.name for path in read_labels(folder, (TUBE,)).paths] == ["a.png"]


def test_splits_that_are_absent_unnamed_or_outside_are_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = {"train": "images/train", "val": "images/val"}
    folder = yolo(tmp_path / "set", names, ["images/train/a.png", "images/test/b.png"])
    assert len(read_labels(folder).paths) == 1
    assert "val: images/val is not there, left out" in caplog.text
    assert "images/test left out: data.yaml does not name it" in caplog.text
    picture(tmp_path / "other" / "c.png")
    yolo(folder, {"train": str(tmp_path / "other")}, [])
    with pytest.raises(DataError, match=r"train: .* leaves the data set's folder"):
        read_labels(folder)


def test_points_without_v_at_the_origin_are_not_labelled(tmp_path: Path) -> None:
    folder = yolo(tmp_path / "set", {"train": "images"}, ["images/a.png"], with_v=False)
    (folder / "labels" / "a.txt").write_text("0 .5 .5 .2 .2 0 0 .5 .5")
    (own,) = read_labels(folder).data.images[0].annotations
    assert own.keypoints.tolist() == [[0, 0, 0], [32, 24, 2]]


def test_what_is_left_out_is_said_on_the_command_line(tmp_path: Path) -> None:
    folder = yolo(tmp_path / "set", {"train": "images", "val": "none"}, ["images/a.png"])
    done = CliRunner().invoke(main, ["convert", str(folder), str(tmp_path / "out"), "--to", "coco"])
    assert "val: none is not there, left out" in done.stderr
    assert logging.getLogger("synth").handlers


@pytest.mark.parametrize(
    "rle",
    [
        {"size": [1_000_000, 1_000_000], "counts": "0"},
        {"size": [65_536, 65_536], "counts": "0"},
        {"size": [48, -64], "counts": "0"},
        {"size": [48, 64.0], "counts": "0"},
        {"size": [48, 64], "counts": [48 * 64 + 1]},
        {"size": [48, 64], "counts": [-1, 48 * 64 + 1]},
        {"size": [48, 64], "counts": 7},
    ],
)
def test_masks_that_no_picture_has_are_refused_and_counted(tmp_path: Path, rle: dict[str, Any]) -> None:
    content = coco(["a.png"])
    content["annotations"][0]["segmentation"] = rle
    picture(tmp_path / "a.png")
    file = write(tmp_path / "labels.json", content)
    with pytest.raises(DataError, match="annotation 0: segmentation is neither run lengths nor polygons"):
        read_labels(file)
    done = CliRunner().invoke(main, ["validate", str(file)])
    assert done.exit_code == 2
    assert "segmentation" in done.stdout


def test_label_files_that_lead_out_of_the_folder_are_not_opened(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("guest:x:0:0:/home/guest")
    for make in (
        lambda folder: (folder / "annotations.json").symlink_to(secret),
        lambda folder: (yolo(folder, {"train": "images"}, ["images/a.png"]) / "labels/a.txt").unlink(),
    ):
        folder = tmp_path / "set"
        folder.mkdir()
        make(folder)
        if (folder / "labels").is_dir():
            (folder / "labels" / "a.txt").symlink_to(secret)
        done = CliRunner().invoke(main, ["convert", str(folder), str(tmp_path / "out"), "--to", "coco"])
        assert done.exit_code == 2
        assert "is a link that leads out of" in done.stderr
        assert "guest:" not in done.output
        shutil.rmtree(folder)


def test_a_pipe_among_the_images_is_an_error_and_no_wait(tmp_path: Path) -> None:
    write(tmp_path / "set" / "annotations.json", coco(["a.png"]))
    os.mkfifo(tmp_path / "set" / "a.png")
    for command in (["convert", "out", "--to", "coco"], ["preview"], ["validate"]):
        arguments = [
            command[0],
            str(tmp_path / "set"),
            *(str(tmp_path / a) if a == "out" else a for a in command[1:]),
        ]
        done = CliRunner().invoke(main, arguments)
        assert done.exit_code == 2


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    picture(tmp_path / "set" / "a.png")
    write(tmp_path / "set" / "annotations.json", coco(["a.png"]))
    free = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, free[1]))
    try:
        done = CliRunner().invoke(
            main, ["convert", str(tmp_path / "set"), str(tmp_path / "out"), "--to", "coco"]
        )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, free)
    assert done.exit_code == 2
    assert done.stderr.endswith(": File too large\n")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["set"]

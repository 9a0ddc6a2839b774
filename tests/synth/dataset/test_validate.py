"""Each fault of a data set, made one at a time in a sound one, is found and named."""

import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from synth.dataset import validate as validate_module
from synth.dataset.coco import Annotation, Category, ImageLabels, write_coco
from synth.dataset.convert import convert
from synth.dataset.validate import Report, print_report, validate_dataset
from synth.errors import DataError
from synth.types import KeypointSchema

SCHEMA = KeypointSchema(("head", "tail"), ((0, 1),), ((0, 1),), (0.05, 0.05))
TUBE = Category(1, "tube", SCHEMA)
SIZE = (80, 60)

Document = dict[str, Any]


def sound_dataset(folder: Path, images: int = 3) -> Path:
    """Two objects in every image but the last, which has none."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(1, images + 1):
        pixels = rng.integers(0, 255, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
        (folder / "images").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"images/{i}.jpg")
        objects = tuple(
            Annotation(
                1, np.array([x, 20.0, x + 30, 34]), np.array([[x + 3, 25, 2], [x + 25, 30, 1.0]]), 420.0
            )
            for x in (5.0, 45.0)
        )
        rows.append(ImageLabels(i, f"images/{i}.jpg", *SIZE, objects if i < images else ()))
    write_coco(folder / "annotations.json", [TUBE], rows)
    return folder


def edit(folder: Path, change: Callable[[Document], object]) -> None:
    path = folder / "annotations.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def kinds(report: Report) -> dict[str, int]:
    return {fault.kind: fault.count for fault in report.faults}


def first(document: Document, key: str = "annotations") -> Document:
    row: Document = document[key][0]
    return row


def to_xyxy(document: Document) -> None:
    for row in document["annotations"]:
        x, y, w, h = row["bbox"]
        row["bbox"] = [x, y, x + w, y + h]


def to_middles(document: Document) -> None:
    """Middle and size, as YOLO has them."""
    for row in document["annotations"]:
        x, y, w, h = row["bbox"]
        row["bbox"] = [x + w / 2, y + h / 2, w, h]


def normalise(document: Document) -> None:
    for row in document["annotations"]:
        row["bbox"] = [c / s for c, s in zip(row["bbox"], SIZE * 2, strict=True)]
        row["keypoints"] = [c / s for c, s in zip(row["keypoints"], (*SIZE, 1) * 2, strict=True)]


def swap_xy(document: Document) -> None:
    for row in document["annotations"]:
        a = row["keypoints"]
        row["keypoints"] = [a[1], a[0], a[2], a[4], a[3], a[5]]


FAULTS: list[tuple[str, int, Callable[[Document], object]]] = [
    (
        "label_0",
        1,
        lambda d: (first(d, "categories").update(id=0), [r.update(category_id=0) for r in d["annotations"]]),
    ),
    ("schema", 1, lambda d: first(d, "categories").update(keypoints=["head", "head"], flip_pairs=None)),
    ("schema", 1, lambda d: first(d, "categories").update(skeleton=[[1, 3]])),
    ("schema", 1, lambda d: first(d, "categories").update(flip_pairs=[["head", "foot"]])),
    ("schema", 1, lambda d: first(d, "categories").update(oks_sigmas=[0.05])),
    ("schema", 1, lambda d: first(d, "categories").update(oks_sigmas=[0.05, 0])),
    ("other_object", 1, lambda d: first(d, "categories").update(keypoints=["bow", "stern"], flip_pairs=None)),
    ("malformed", 1, lambda d: first(d, "categories").update(keypoints="all")),
    ("unknown_category", 1, lambda d: first(d).update(category_id=7)),
    ("unknown_image", 1, lambda d: first(d).update(image_id=99)),
    ("duplicate_id", 1, lambda d: first(d).update(id=2)),
    ("duplicate_id", 1, lambda d: first(d, "images").update(id=2)),
    ("duplicate_file", 1, lambda d: first(d, "images").update(file_name="images/2.jpg")),
    ("path_escape", 1, lambda d: first(d, "images").update(file_name="../images/1.jpg")),
    ("path_escape", 1, lambda d: first(d, "images").update(file_name="/etc/hostname")),
    ("path_escape", 1, lambda d: first(d, "images").update(file_name=None)),
    ("image_missing", 1, lambda d: first(d, "images").update(file_name="images/9.jpg")),
    ("image_unreadable", 1, lambda d: first(d, "images").update(file_name="annotations.json")),
    ("image_size", 1, lambda d: first(d, "images").update(width=SIZE[1], height=SIZE[0])),
    ("keypoint_count", 1, lambda d: first(d)["keypoints"].extend([1, 1, 2])),
    ("malformed", 1, lambda d: first(d).update(bbox=[1, 2, 3])),
    ("malformed", 1, lambda d: first(d).update(bbox="all")),
    ("malformed", 1, lambda d: first(d).pop("image_id")),
    ("malformed", 1, lambda d: d["annotations"].append(None)),
    ("malformed", 1, lambda d: d.pop("categories")),
    ("not_finite", 1, lambda d: first(d).update(bbox=[1, 2, 3, float("nan")])),
    ("not_finite", 1, lambda d: first(d).update(keypoints=[1, float("inf"), 2, 1, 1, 0])),
    ("visibility", 1, lambda d: first(d)["keypoints"].__setitem__(2, 3)),
    ("area", 1, lambda d: first(d).update(area=1)),
    ("area", 1, lambda d: first(d).update(area=900)),
    ("not_a_number", 1, lambda d: first(d).update(area="big")),
    ("not_a_number", 1, lambda d: first(d).update(area=True)),
    ("not_a_number", 1, lambda d: first(d).update(area=-1)),
    ("not_a_number", 1, lambda d: first(d).update(visible_fraction=1.5)),
    ("not_a_number", 1, lambda d: first(d).update(visible_fraction="all")),
    ("boxes", 1, to_xyxy),
    ("boxes", 1, to_middles),
    ("normalised", 4, normalise),
    ("empty_box", 1, lambda d: first(d).update(bbox=[5, 20, 0, 14])),
    ("empty_box", 1, lambda d: first(d).update(bbox=[35, 34, -30, -14])),
    ("xyxy", 2, to_xyxy),
    ("swapped", 4, swap_xy),
    ("no_loss", 1, lambda d: first(d).update(bbox=[5, 40, 20, 10])),
    ("nothing_to_learn", 1, lambda d: d.update(annotations=[])),
    ("box_outside", 1, lambda d: first(d).update(bbox=[-10, 20, 45, 14])),
    ("outside_box", 1, lambda d: first(d).update(bbox=[5, 20, 15, 14])),
    ("outside_image", 1, lambda d: first(d)["keypoints"].__setitem__(0, -4)),
    ("unlabelled", 1, lambda d: first(d).update(keypoints=[0] * 6)),
    ("no_objects", 2, lambda d: d.update(annotations=d["annotations"][2:])),
]


def test_sound_dataset_has_no_errors_and_trains_whole(tmp_path: Path) -> None:
    report = validate_dataset(sound_dataset(tmp_path), TUBE)
    assert kinds(report) == {"no_objects": 1}
    assert not report.has_errors
    assert (report.n_images, report.n_objects, report.n_trainable, report.n_decoded) == (3, 4, 4, 3)
    assert report.trainable_rate == 1


@pytest.mark.parametrize(("kind", "count", "change"), FAULTS)
def test_fault_is_found_and_counted(
    tmp_path: Path, kind: str, count: int, change: Callable[[Document], object]
) -> None:
    folder = sound_dataset(tmp_path)
    edit(folder, change)
    report = validate_dataset(folder, TUBE)
    assert kinds(report)[kind] == count
    assert report.has_errors == any(f.level == "error" for f in report.faults)


def test_every_kind_of_fault_has_a_test() -> None:
    assert {kind for kind, _, _ in FAULTS} | {"damaged"} == set(validate_module.FAULTS)


@pytest.mark.parametrize(
    "change",
    [
        normalise,
        swap_xy,
        lambda d: [r.update(keypoints=[0] * 6) for r in d["annotations"]],
        lambda d: [r.update(bbox=[1, 1, 2, 2]) for r in d["annotations"]],
    ],
)
def test_set_that_would_give_zero_keypoint_loss_is_an_error(
    tmp_path: Path, change: Callable[[Document], object]
) -> None:
    folder = sound_dataset(tmp_path)
    edit(folder, change)
    report = validate_dataset(folder)
    assert report.n_trainable == 0
    assert "nothing_to_learn" in kinds(report)
    assert report.has_errors


def test_truncated_jpeg_is_unreadable(tmp_path: Path) -> None:
    image = sound_dataset(tmp_path) / "images/1.jpg"
    image.write_bytes(image.read_bytes()[:-600])
    assert kinds(validate_dataset(tmp_path))["image_unreadable"] == 1


def test_faults_do_not_hide_each_other(tmp_path: Path) -> None:
    folder = sound_dataset(tmp_path)
    edit(
        folder,
        lambda d: (d["annotations"][0].update(image_id=99), d["annotations"][1].update(bbox=[0, 0, 0, 0])),
    )
    assert {"unknown_image", "empty_box"} <= set(kinds(validate_dataset(folder)))


def test_large_set_has_a_sample_decoded_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validate_module, "MAX_DECODED", 4)
    report = validate_dataset(sound_dataset(tmp_path, images=9))
    assert report.n_decoded == 3
    assert "pixels decoded of 3 images" in printed(report)


def test_coco_layout_with_annotations_folder_is_read(tmp_path: Path) -> None:
    folder = sound_dataset(tmp_path)
    (folder / "annotations").mkdir()
    (folder / "annotations.json").rename(folder / "annotations/train.json")
    report = validate_dataset(folder)
    assert (report.n_images, report.has_errors) == (3, False)


def per_image(folder: Path) -> Path:
    """The sound data set, one JSON an image."""
    convert(sound_dataset(folder / "coco"), folder / "shapes", "shapes", None, None)
    return folder / "shapes"


def test_one_json_an_image_is_read_with_and_without_names(tmp_path: Path) -> None:
    folder = per_image(tmp_path)
    assert kinds(validate_dataset(folder, TUBE)) == {"no_objects": 1}
    (folder / "schema.json").unlink()
    for category in (TUBE, None):
        report = validate_dataset(folder, category)
        assert (report.n_images, report.n_objects, report.n_trainable) == (3, 4, 4)
    (folder / "annotations/1.json").write_text(
        '{"bboxes": [[5, 20, 35, 54]], "keypoints": [[[8, 25, 1], [30, 30, 0]]]}'
    )
    assert validate_dataset(folder, TUBE).n_trainable == 3
    (folder / "images/1.jpg").rename(folder / "images/1.JPG")
    (folder / "images/2.jpg").rename(folder / "images/2.png")
    assert not validate_dataset(folder, TUBE).has_errors


def test_objects_of_another_name_are_left_out_as_in_training(tmp_path: Path) -> None:
    folder = per_image(tmp_path)
    (folder / "schema.json").unlink()
    labels = folder / "annotations/2.json"
    labels.write_text(labels.read_text().replace("tube", "boat", 1))
    assert validate_dataset(folder, TUBE).n_objects == 3
    assert kinds(validate_dataset(folder))["malformed"] == 1


def test_yolo_pose_is_read_and_its_first_fault_named(tmp_path: Path) -> None:
    convert(sound_dataset(tmp_path / "coco"), tmp_path / "yolo", "yolo-pose", None, None)
    report = validate_dataset(tmp_path / "yolo", TUBE)
    assert (report.n_images, report.n_objects, kinds(report)) == (3, 4, {"no_objects": 1})
    (tmp_path / "yolo/labels/train/1.txt").write_text("0 1 1")
    (found,) = (f for f in validate_dataset(tmp_path / "yolo").faults if f.kind == "malformed")
    assert "1.txt: line 1: 3 values" in found.examples[0]


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ('[{"box": [5, 20, 35], "keypoints": [[8, 25, 1], [30, 30, 1]]}]', "malformed"),
        ('[{"box": [5, 20, 35, 54]}]', "malformed"),
        ('[{"box": [5, 20, 35, 54], "keypoints": [[8, 25], [30, 30]]}]', "malformed"),
        ('[{"box": [5, 20, 35, 54], "keypoints": null}]', "malformed"),
        (
            '[{"box": [5, 20, 35, 54], "keypoints": [[8, 25, 1], [30, 30, 1]], "category": "boat"}]',
            "malformed",
        ),
        ('{"bboxes": [[5, 20, 35, 54]], "keypoints": []}', "malformed"),
        ("[7]", "malformed"),
        ('[{"box": [5, 20, 35, 54], "keypoints": [[8, 25, 1]]}]', "keypoint_count"),
        ('[{"box": [5, 20, 5, 54], "keypoints": [[8, 25, 1], [30, 30, 1]]}]', "empty_box"),
        ('[{"box": [0.1, 0.2, 0.5, 0.6], "keypoints": [[0.2, 0.3, 1], [0.3, 0.4, 1]]}]', "normalised"),
        ('[{"box": [5, 20, 35, 54], "keypoints": [[70, 5, 1], [72, 6, 1]]}]', "no_loss"),
    ],
)
def test_faults_of_one_json_an_image_name_the_file(tmp_path: Path, content: str, kind: str) -> None:
    folder = per_image(tmp_path)
    (folder / "annotations/2.json").write_text(content)
    (found,) = (f for f in validate_dataset(folder, TUBE).faults if f.level == "error")
    assert found.kind == kind
    assert "2.json" in found.examples[0]


def test_file_that_is_no_json_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "annotations.json").write_text('{"images": [')
    assert kinds(validate_dataset(tmp_path))["malformed"] == 1


def test_folder_without_annotations_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected a COCO file, or a folder with annotations\.json"):
        validate_dataset(tmp_path)


def test_object_with_other_keypoints_is_only_compared_when_asked(tmp_path: Path) -> None:
    folder = sound_dataset(tmp_path)
    other = Category(1, "boat", KeypointSchema(("bow", "stern", "mast"), (), None, (0.05,) * 3))
    assert "other_object" in kinds(validate_dataset(folder, other))
    assert "other_object" not in kinds(validate_dataset(folder))


def test_printed_report_names_the_place_and_the_rate(tmp_path: Path) -> None:
    folder = sound_dataset(tmp_path)
    edit(folder, lambda d: first(d).update(bbox=[5, 20, 0, 14]))
    text = printed(validate_dataset(folder))
    assert "annotation 1 of image 1" in text
    assert "3 images, 4 objects, of which 3 (75.0%) can give a keypoint loss" in text


def printed(report: Report) -> str:
    stream = StringIO()
    print_report(report, Console(file=stream, width=250))
    return stream.getvalue()

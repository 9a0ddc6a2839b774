import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from synth.dataset.coco import Annotation, Category, ImageLabels, KeypointDataset, read_coco, write_coco
from synth.dataset.formats.table import read_labels
from synth.dataset.placing import place
from synth.errors import DataError
from synth.types import KeypointSchema
from train.cli import main

NAMES = ("left", "right", "tip")
CATEGORY = Category(7, "claw", KeypointSchema(NAMES, ((0, 2), (1, 2)), ((0, 1),), (0.05, 0.05, 0.1)))
SIZES = ((64, 48), (100, 30))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["convert", *(str(a) for a in arguments)])


def folder_of(root: Path, objects: list[list[Annotation]]) -> Path:
    (root / "images").mkdir(parents=True)
    images = []
    for n, annotations in enumerate(objects):
        width, height = SIZES[n % 2]
        Image.new("RGB", (width, height), (n, 90, 120)).save(root / "images" / f"{n}.png")
        images.append(ImageLabels(n + 1, f"images/{n}.png", width, height, tuple(annotations)))
    write_coco(root / "annotations.json", [CATEGORY], images)
    return root


def annotation(rng: np.random.Generator) -> Annotation:
    low, extent = rng.uniform(0, 15, 2), rng.uniform(1, 12, 2)
    points = np.column_stack([low + rng.uniform(0, 1, (3, 2)) * extent, rng.integers(0, 3, 3)]).round(3)
    box = np.concatenate([low, low + extent]).round(3)
    return Annotation(CATEGORY.id, box, points, float(np.prod(box[2:] - box[:2])))


def labels_of(dataset: KeypointDataset) -> dict[str, list[Annotation]]:
    return {Path(i.file_name).name: list(i.annotations) for i in dataset.images}


def same_labels(a: KeypointDataset, b: KeypointDataset) -> None:
    one, other = labels_of(a), labels_of(b)
    assert one.keys() == other.keys()
    for name, annotations in one.items():
        assert len(annotations) == len(other[name])
        for x, y in zip(annotations, other[name], strict=True):
            assert x.category_id == y.category_id
            assert x.box_xyxy == pytest.approx(y.box_xyxy, abs=1e-9)
            assert x.keypoints == pytest.approx(y.keypoints, abs=1e-9)
    assert a.categories == b.categories


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), counts=st.lists(st.integers(0, 3), min_size=1, max_size=12))
@pytest.mark.parametrize("to", ["coco", "yolo-pose", "shapes"])
def test_round_trips_keep_names_visibility_and_coordinates(
    tmp_path_factory: pytest.TempPathFactory, to: str, seed: int, counts: list[int]
) -> None:
    rng, root = np.random.default_rng(seed), tmp_path_factory.mktemp("trip")
    source = folder_of(root / "source", [[annotation(rng) for _ in range(n)] for n in counts])
    assert run(source, root / "there", "--to", to).exit_code == 0
    same_labels(read_coco(source / "annotations.json"), read_labels(root / "there").data)
    assert run(root / "there", root / "back", "--to", "coco").exit_code == 0
    same_labels(read_coco(source / "annotations.json"), read_coco(root / "back" / "annotations.json"))
    pictures = sorted((root / "back" / "images").iterdir())
    assert len(pictures) == len(counts)
    for picture in pictures:
        assert picture.read_bytes() == (source / "images" / picture.name).read_bytes()


def test_yolo_files_are_as_ultralytics_documents_them(tmp_path: Path) -> None:
    box, points = np.array([16.0, 12.0, 48.0, 36.0]), np.array([[16, 12, 2], [48, 12, 1], [0, 0, 0.0]])
    source = folder_of(tmp_path / "source", [[Annotation(7, box, points, 768.0)]])
    assert run(source, tmp_path / "yolo", "--to", "yolo-pose").exit_code == 0
    line = (tmp_path / "yolo" / "labels" / "train" / "0.txt").read_text().split()
    assert [float(x) for x in line] == [0, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 2, 0.75, 0.25, 1, 0, 0, 0]
    raw = yaml.safe_load((tmp_path / "yolo" / "data.yaml").read_text())
    assert (raw["kpt_shape"], raw["flip_idx"], raw["names"]) == ([3, 3], [1, 0, 2], {0: "claw"})
    assert (tmp_path / "yolo" / raw["train"] / "0.png").is_file()
    assert (tmp_path / "yolo" / raw["val"]).is_dir()


def faulty(content: dict[str, str], tmp_path: Path) -> Path:
    folder = tmp_path / "faulty"
    (folder / "images" / "train").mkdir(parents=True)
    Image.new("RGB", (10, 10)).save(folder / "images" / "train" / "a.png")
    for name, text in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


GOOD = "kpt_shape: [1, 3]\nnames: {0: dot}\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"data.yaml": "names: [dot]"}, "data.yaml: expected kpt_shape"),
        ({"data.yaml": "kpt_shape: [1, 4]\nnames: [dot]"}, r"kpt_shape: \[1, 4\], expected \[K, 3\]"),
        ({"data.yaml": GOOD + "flip_idx: [4]"}, "flip_idx"),
        ({"data.yaml": GOOD, "labels/train/a.txt": "0 1 1"}, "a.txt: line 1: 3 values, expected 8"),
        ({"data.yaml": GOOD, "labels/train/a.txt": "3 0 0 1 1 0 0 2"}, "expected a known class"),
        ({"data.yaml": GOOD, "labels/train/a.txt": "0 0 0 nan 1 0 0 2"}, "finite"),
        *(
            ({"data.yaml": GOOD, "labels/train/a.txt": f"{c} 0 0 1 1 0 0 2"}, "line 1: class .*, expected a")
            for c in ("inf", "nan", "0.5", "-1")
        ),
        *(
            (
                {"data.yaml": GOOD, "labels/train/a.txt": f"0 0 0 1 1 0 0 {v}"},
                "line 1: v .*, expected 0, 1 or 2",
            )
            for v in ("3", "0.5", "-1")
        ),
        *(
            ({"data.yaml": f"kpt_shape: [1, 3]\nnames: {names}"}, "data.yaml: names: .*, expected a list")
            for names in ("dot", "[[1]]", "[null]", "{0: a, 2: b}", "[]")
        ),
        *(
            ({"data.yaml": f"kpt_shape: [1, 3]\nnames: [a, b]\n{more}"}, f"data.yaml: {message}")
            for more, message in (
                ("category_ids: [1]", r"category_ids: \[1\], expected 2"),
                ("category_ids: [1, 2, 3]", "category_ids: .*, expected 2"),
                ("category_ids: [1, 1]", "category id 1 is given 2 times"),
                ("category_ids: [1, .inf]", ".*cannot convert float infinity"),
                ("skeleton: [[0, 1]]", ".*skeleton joins keypoint 2, counted from 1, of 1"),
                ("kpt_names: {1: [x, y]}", ".*kpt_names: 2 of 'b', expected 1"),
            )
        ),
        *(
            ({"schema.json": schema}, "schema.json: expected a list of categories")
            for schema in ("5", "{}", "[]", "[5]", '{"a": 1}')
        ),
        ({"a.json": '[{"box": [0, 0, 1]}]'}, "no schema.json"),
    ],
)
def test_faulty_folders_are_refused_and_leave_nothing(
    tmp_path: Path, content: dict[str, str], message: str
) -> None:
    done = run(faulty(content, tmp_path), tmp_path / "out", "--to", "coco")
    assert done.exit_code == 2
    assert re.search(message, done.output), done.output
    assert sorted(p.name for p in tmp_path.iterdir()) == ["faulty"]


@pytest.mark.parametrize(
    ("came", "instead", "message"),
    [
        ('"id": 7', '"id": 1e400', "category 'claw' is malformed: cannot convert float infinity"),
        ("[[1, 3]", "[[1, 4]", "skeleton joins keypoint 4, counted from 1, of 3"),
        ("[[1, 3]", "[[0, 3]", "skeleton joins keypoint 0, counted from 1, of 3"),
        ('["left", "right"]]', '["left", "paw"]]', "flip_pairs: 'paw' is not a keypoint"),
        ('"categories": [', '"categories": [5, ', "expected a list of categories"),
        ('{"id": 1, "file', '{"id": 1e400, "file', "image id inf, expected a whole number"),
        ('{"id": 1, "file', f'{{"id": {10**400}, "file', "image_id 1 is not in"),
        ('{"id": 1, "file', f'{{"id": {"9" * 5000}, "file', "not valid JSON: Exceeds the limit"),
        ('"bbox": [', '"bbox": [1e400, ', "malformed|not finite"),
        ('"iscrowd": 0', '"iscrowd": 1e400', "malformed: OverflowError"),
        ('{"images"', "[" * 100_000 + '{"images"', "not valid JSON: nested too deeply"),
    ],
)
def test_faulty_coco_files_are_refused(tmp_path: Path, came: str, instead: str, message: str) -> None:
    source = folder_of(tmp_path / "coco", [[annotation(np.random.default_rng(0))]])
    text = (source / "annotations.json").read_text()
    assert came in text
    (source / "annotations.json").write_text(text.replace(came, instead, 1))
    done = run(source, tmp_path / "out", "--to", "coco")
    assert done.exit_code == 2, done.exception
    assert re.search(message, done.output), done.output


def test_paths_that_leave_the_folder_and_taken_targets_are_refused(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "source", [[]])
    document: Any = json.loads((source / "annotations.json").read_text())
    document["images"][0]["file_name"] = "../../etc/passwd"
    (source / "annotations.json").write_text(json.dumps(document))
    assert "leaves the data set's folder" in run(source, tmp_path / "out", "--to", "shapes").output
    assert "exists already" in run(source, source, "--to", "shapes").output


def test_a_schemaless_folder_takes_its_names_from_the_object(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    (folder / "images").mkdir(parents=True)
    (folder / "annotations").mkdir()
    Image.new("RGB", (40, 30)).save(folder / "images" / "a.jpg")
    labels = {"bboxes": [[1, 2, 30, 20]], "keypoints": [[[5, 5, 1], [20, 15, 0]]]}
    (folder / "annotations" / "a.json").write_text(json.dumps(labels))
    done = run(folder, tmp_path / "out", "--to", "coco", "--object", "glue_tube")
    assert done.exit_code == 0, done.output
    (image,) = read_coco(tmp_path / "out" / "annotations.json").images
    assert image.annotations[0].keypoints.tolist() == [[5, 5, 2], [20, 15, 0]]


def test_links_are_followed_and_names_that_differ_in_their_suffix_stay_apart(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "coco", [[], []])
    (source / "store").mkdir()
    (source / "images" / "0.png").rename(source / "store" / "a.png")
    (source / "images" / "0.png").symlink_to("../store/a.png")
    Image.open(source / "images" / "1.png").save(source / "images" / "0.jpg")
    raw = json.loads((source / "annotations.json").read_text())
    raw["images"][1]["file_name"] = "images/0.jpg"
    (source / "annotations.json").write_text(json.dumps(raw))
    assert run(source, tmp_path / "out", "--to", "shapes").exit_code == 0
    files = sorted((tmp_path / "out" / "images").iterdir())
    assert [file.suffix for file in files] == [".png", ".jpg"]
    assert not any(file.is_symlink() for file in files)
    assert len(list((tmp_path / "out" / "annotations").iterdir())) == 2


def test_turned_photos_keep_their_coordinates(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "coco", [[annotation(np.random.default_rng(0))]])
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (48, 64)).save(source / "images" / "0.png", exif=exif)
    for kind in ("yolo-pose", "shapes"):
        assert run(source, tmp_path / kind, "--to", kind).exit_code == 0
        back = tmp_path / f"{kind}-coco"
        assert run(tmp_path / kind, back, "--to", "coco").exit_code == 0
        after = read_coco(back / "annotations.json")
        same_labels(read_coco(source / "annotations.json"), after)
        assert (after.images[0].width, after.images[0].height) == (64, 48)


def test_yolo_pose_takes_a_missing_size_from_the_picture(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "coco", [[annotation(np.random.default_rng(0))]])
    raw = json.loads((source / "annotations.json").read_text())
    del raw["images"][0]["width"]
    (source / "annotations.json").write_text(json.dumps(raw))
    assert run(source, tmp_path / "yolo", "--to", "yolo-pose").exit_code == 0
    same_labels(read_coco(source / "annotations.json"), read_labels(tmp_path / "yolo").data)


def test_yolo_pose_refuses_categories_that_mirror_differently(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "coco", [[]])
    raw = json.loads((source / "annotations.json").read_text())
    raw["categories"].append({**raw["categories"][0], "id": 8, "name": "other", "flip_pairs": None})
    (source / "annotations.json").write_text(json.dumps(raw))
    done = run(source, tmp_path / "yolo", "--to", "yolo-pose")
    assert done.exit_code == 2
    assert "flip pairs" in done.output


def test_an_image_is_never_written_through_a_link_to_another(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 8), (len(name), 0, 0)).save(tmp_path / name)
    before = (tmp_path / "a.png").read_bytes()
    place(tmp_path / "a.png", tmp_path / "out" / "x.png")
    with pytest.raises(DataError, match="two images would have this name"):
        place(tmp_path / "b.png", tmp_path / "out" / "x.png")
    assert (tmp_path / "a.png").read_bytes() == before


def test_shapes_of_an_unknown_category_are_refused(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "coco", [[annotation(np.random.default_rng(0))]])
    assert run(source, tmp_path / "shapes", "--to", "shapes").exit_code == 0
    labels = tmp_path / "shapes" / "annotations" / "0.json"
    labels.write_text(labels.read_text().replace("claw", "paw"))
    done = run(tmp_path / "shapes", tmp_path / "back", "--to", "coco")
    assert done.exit_code == 2
    assert "paw" in done.output


def test_yolo_pose_names_no_mirror_where_none_is_defined(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "coco", [[annotation(np.random.default_rng(0))]])
    raw = json.loads((source / "annotations.json").read_text())
    raw["categories"][0]["flip_pairs"] = None
    (source / "annotations.json").write_text(json.dumps(raw))
    assert run(source, tmp_path / "yolo", "--to", "yolo-pose").exit_code == 0
    described = yaml.safe_load((tmp_path / "yolo" / "data.yaml").read_text())
    assert "flip_idx" not in described  # Ultralytics mirrors where it is there
    assert "path" not in described  # and looks beside data.yaml where that is absent
    assert read_labels(tmp_path / "yolo").data.categories[0].schema.flip_pairs is None


@pytest.mark.parametrize("field", ["id", "name"])
def test_categories_alike_are_refused(tmp_path: Path, field: str) -> None:
    rng = np.random.default_rng(0)
    source = folder_of(tmp_path / "coco", [[annotation(rng), annotation(rng)]])
    raw = json.loads((source / "annotations.json").read_text())
    other = {**raw["categories"][0], "id": 8, "name": "paw", "keypoints": ["left", "right", "nail"]}
    raw["annotations"][1]["category_id"] = 8
    raw["categories"].append({**other, field: raw["categories"][0][field]})
    (source / "annotations.json").write_text(json.dumps(raw))
    done = run(source, tmp_path / "out", "--to", "coco")
    assert done.exit_code == 2
    assert f"category {field} {raw['categories'][0][field]!r} is given 2 times" in done.output


@pytest.mark.parametrize("to", ["yolo-pose", "shapes"])
def test_images_of_another_size_than_declared_are_refused(tmp_path: Path, to: str) -> None:
    source = folder_of(tmp_path / "coco", [[annotation(np.random.default_rng(0))]])
    Image.new("RGB", (128, 96)).save(source / "images" / "0.png")
    done = run(source, tmp_path / "out", "--to", to)
    assert done.exit_code == 2
    assert "0.png: declared 64 x 48 px, upright it is 128 x 96 px" in done.output


@pytest.mark.parametrize("to", ["yolo-pose", "shapes"])
@pytest.mark.parametrize("suffix", [".bmp", ".webp", ".tif", ".TIFF", ".Png", ".gif"])
def test_images_of_every_suffix_come_back_or_are_refused(tmp_path: Path, to: str, suffix: str) -> None:
    source = folder_of(tmp_path / "coco", [[annotation(np.random.default_rng(0))]])
    text = (source / "annotations.json").read_text()
    (source / "annotations.json").write_text(text.replace("0.png", f"0{suffix}"))
    Image.new("RGB", SIZES[0]).save(source / "images" / f"0{suffix}")
    done = run(source, tmp_path / "there", "--to", to)
    if suffix == ".gif":
        assert "suffix '.gif', expected .jpg" in done.output
    else:
        same_labels(read_coco(source / "annotations.json"), read_labels(tmp_path / "there").data)


@pytest.mark.parametrize(
    ("to", "link"),
    [
        ("yolo-pose", "images/train/0.png"),
        ("yolo-pose", "images/train/more.jpg"),
        ("yolo-pose", "labels/train/0.txt"),
        ("shapes", "images/0.png"),
        ("shapes", "images/more.jpg"),
    ],
)
def test_broken_links_are_errors(tmp_path: Path, to: str, link: str) -> None:
    source = folder_of(tmp_path / "coco", [[annotation(np.random.default_rng(0))]])
    run(source, tmp_path / "there", "--to", to)
    (tmp_path / "there" / link).unlink(missing_ok=True)
    (tmp_path / "there" / link).symlink_to("nowhere")
    done = run(tmp_path / "there", tmp_path / "back", "--to", "coco")
    assert done.exit_code == 2
    assert f"{link}: is a broken link, to nowhere" in done.output


def test_yolo_labels_that_are_no_text_are_refused(tmp_path: Path) -> None:
    folder = faulty({"data.yaml": GOOD, "labels/train/a.txt": ""}, tmp_path)
    (folder / "labels" / "train" / "a.txt").write_bytes("0 0 0".encode("utf-16"))
    done = run(folder, tmp_path / "out", "--to", "coco")
    assert done.exit_code == 2
    assert "a.txt: expected text in UTF-8" in done.output

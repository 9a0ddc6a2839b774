import json
import shutil
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from synth.dataset.coco import Category
from synth.dataset.convert import convert
from synth.errors import AssetError, DataError
from synth.system.pictures import read_image
from synth.system.shards import END, pack
from synth.types import KeypointSchema
from train.data.samples import hold_out, read_samples
from train.data.transforms import objects_of

Maker = Callable[..., Path]


def edit(path: Path, change: Callable[[Any], Any]) -> None:
    raw = json.loads(path.read_text())
    path.write_text(json.dumps(change(raw) or raw))


def test_coco_folder_and_its_file_read_alike_and_keep_negatives(
    coco_folder: Maker, category: Category
) -> None:
    folder = coco_folder(n=6)
    samples = read_samples(folder, category)
    assert [s.image_path for s in samples] == [
        s.image_path for s in read_samples(folder / "annotations.json", category)
    ]
    assert [len(s.boxes) for s in samples] == [1, 2, 1, 2, 0, 2]
    assert samples[4].boxes.shape == (0, 4)
    assert samples[4].keypoints.shape == (0, 2, 3)


def test_both_shapes_of_one_json_per_image_read_alike(photo_folder: Maker, category: Category) -> None:
    folder = photo_folder(n=2)
    as_dict = read_samples(folder, category)
    for file in (folder / "annotations").iterdir():
        edit(
            file,
            lambda r: [{"box": b, "keypoints": k} for b, k in zip(r["bboxes"], r["keypoints"], strict=True)],
        )
    as_list = read_samples(folder, category)
    for a, b in zip(as_dict, as_list, strict=True):
        np.testing.assert_array_equal(a.boxes, b.boxes)
        np.testing.assert_array_equal(a.keypoints, b.keypoints)


def test_json_may_lie_beside_its_image(photo_folder: Maker, category: Category, tmp_path: Path) -> None:
    folder = photo_folder(n=2)
    flat = tmp_path / "flat"
    flat.mkdir()
    for file in [*(folder / "annotations").iterdir(), *(folder / "images").iterdir()]:
        file.rename(flat / file.name)
    assert len(read_samples(flat, category)) == 2


def test_visible_flag_becomes_coco_visibility(photo_folder: Maker, category: Category) -> None:
    folder = photo_folder(n=1)

    def hide_tail(raw: Any) -> None:
        raw["keypoints"][0][1][2] = 0

    edit(folder / "annotations" / "p0.json", hide_tail)
    (sample,) = read_samples(folder, category)
    assert sample.keypoints[0, :, 2].tolist() == [2, 0]


def test_empty_json_is_a_negative(photo_folder: Maker, category: Category) -> None:
    folder = photo_folder(n=1)
    (folder / "annotations" / "p0.json").write_text("[]")
    (sample,) = read_samples(folder, category)
    assert sample.boxes.shape == (0, 4)


def test_keypoints_are_reordered_by_name(coco_folder: Maker, category: Category) -> None:
    folder = coco_folder(n=1)
    schema = category.schema
    swapped = Category(1, "bug", KeypointSchema(schema.names[::-1], (), (), schema.oks_sigmas))
    (own,), (other,) = read_samples(folder, category), read_samples(folder, swapped)
    np.testing.assert_array_equal(own.keypoints[:, ::-1], other.keypoints)


def test_only_category_is_taken_whatever_its_name(coco_folder: Maker, category: Category) -> None:
    renamed = Category(9, "beetle", category.schema)
    assert len(read_samples(coco_folder(n=2), renamed)) == 2


def test_other_categories_are_left_out(coco_folder: Maker, category: Category) -> None:
    folder = coco_folder(n=1)

    def add(raw: Any) -> None:
        raw["categories"].append({"id": 5, "name": "cup", "keypoints": ["rim"]})
        raw["annotations"].append(
            {"id": 99, "image_id": 1, "category_id": 5, "bbox": [1, 1, 5, 5], "keypoints": [2, 2, 2]}
        )

    edit(folder / "annotations.json", add)
    (sample,) = read_samples(folder, category)
    assert len(sample.boxes) == 1


def test_other_keypoint_names_are_an_error_that_lists_both(coco_folder: Maker, category: Category) -> None:
    folder = coco_folder(n=1)
    schema = KeypointSchema(("nose", "wing"), (), (), (0.1, 0.1))
    with pytest.raises(DataError, match=r"\[nose, tail\].*\[nose, wing\]"):
        read_samples(folder, Category(1, "bug", schema))


def test_wrong_number_of_keypoints_is_an_error(photo_folder: Maker) -> None:
    schema = KeypointSchema(("a", "b", "c"), (), (), (0.1,) * 3)
    with pytest.raises(DataError, match=r"object 0 has 2 keypoints, expected 3 \(a, b, c\)"):
        read_samples(photo_folder(n=1), Category(1, "bug", schema))


def test_truncated_jpeg_is_named(photo_folder: Maker, category: Category) -> None:
    folder = photo_folder(n=2)
    image = folder / "images" / "p1.jpg"
    image.write_bytes(image.read_bytes()[:-600])
    with pytest.raises(DataError, match=r"p1\.jpg: not readable as an image: .*truncated"):
        read_samples(folder, category)


def test_file_that_is_no_image_is_named(photo_folder: Maker, category: Category) -> None:
    folder = photo_folder(n=1)
    (folder / "images" / "p0.jpg").write_text("hello")
    with pytest.raises(DataError, match=r"p0\.jpg: not readable as an image"):
        read_samples(folder, category)


def test_annotation_of_an_absent_image_is_named(
    photo_folder: Maker, coco_folder: Maker, category: Category
) -> None:
    folder = photo_folder(n=1)
    (folder / "images" / "p0.jpg").unlink()
    with pytest.raises(DataError, match=r"p0\.json: its image is absent"):
        read_samples(folder, category)
    rendered = coco_folder(n=1)
    (rendered / "images" / "000.jpg").unlink()
    with pytest.raises(DataError, match=r"000\.jpg is absent"):
        read_samples(rendered, category)


def test_path_that_leaves_the_folder_is_refused(coco_folder: Maker, category: Category) -> None:
    folder = coco_folder(n=1)

    def escape(raw: Any) -> None:
        raw["images"][0]["file_name"] = "../secret.jpg"

    edit(folder / "annotations.json", escape)
    with pytest.raises(DataError, match="leaves the data set's folder"):
        read_samples(folder, category)


@pytest.mark.parametrize("make", ["empty", "missing"])
def test_folder_without_labels_is_an_error(tmp_path: Path, category: Category, make: str) -> None:
    folder = tmp_path / "nothing"
    if make == "empty":
        folder.mkdir()
    with pytest.raises(DataError, match="nothing"):
        read_samples(folder, category)


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ([80, 60, 40, 30], "corners, not sizes"),
        ([0.1, 0.2, 0.5, 0.6], "looks normalised"),
        ([400, 300, 500, 400], "lies outside"),
    ],
)
def test_boxes_that_would_train_on_nothing_are_refused(
    photo_folder: Maker, category: Category, box: list[float], message: str
) -> None:
    folder = photo_folder(n=1)

    def put(raw: Any) -> None:
        raw["bboxes"][0] = box

    edit(folder / "annotations" / "p0.json", put)
    with pytest.raises(DataError, match=message):
        read_samples(folder, category)


def test_declared_size_must_be_the_images(coco_folder: Maker, category: Category) -> None:
    folder = coco_folder(n=1)

    def lie(raw: Any) -> None:
        raw["images"][0]["width"] = 999

    edit(folder / "annotations.json", lie)
    with pytest.raises(DataError, match="declared 999x120, upright it is 160x120"):
        read_samples(folder, category)


def test_exif_orientation_is_applied_to_size_and_pixels(tmp_path: Path, category: Category) -> None:
    stored = np.zeros((60, 100, 3), dtype=np.uint8)
    stored[:30, :50] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "images").mkdir()
    Image.fromarray(stored).save(tmp_path / "images" / "a.jpg", exif=exif, quality=95)
    (tmp_path / "images" / "a.json").write_text("[]")
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "a.json").write_text("[]")
    (sample,) = read_samples(tmp_path, category)
    assert (sample.width, sample.height) == (60, 100)
    upright = read_image(sample.image_path)
    assert upright.shape == (100, 60, 3)
    assert upright[10, 50].min() > 200
    assert upright[10, 10].max() < 50


@pytest.mark.parametrize("tag", [0x011A, 0x0128, 0x0100])
def test_a_turned_photo_with_odd_tags_is_read(tmp_path: Path, tag: int) -> None:
    """The tag is a number by the standard, and here a word."""
    turned, word = struct.pack("<HHII", 0x0112, 3, 1, 6), struct.pack("<HHI4s", tag, 2, 4, b"abc")
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + b"".join(sorted([turned, word])) + bytes(4)
    Image.new("RGB", (100, 60)).save(tmp_path / "a.jpg", exif=exif)
    assert read_image(tmp_path / "a.jpg").shape == (100, 60, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_as_pil_shows_it(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.random.default_rng(0).integers(0, 256, (6, 10, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    assert (read_image(tmp_path / "a.png") == expected).all()


@pytest.mark.parametrize("outline", [[], [[]], [[1, 2, 3, 4, 5, 6]], None])
def test_an_empty_outline_is_none(coco_folder: Maker, category: Category, outline: Any) -> None:
    folder = coco_folder(n=1)
    edit(folder / "annotations.json", lambda raw: raw["annotations"][0].update(segmentation=outline))
    (sample,) = read_samples(folder, category)
    assert len(objects_of(sample).extents[0]) >= 3


@pytest.mark.parametrize("outline", [[[1, 2, 3]], {"counts": "abc"}, [7], "x", [["a", "b"]]])
def test_a_malformed_outline_is_named(coco_folder: Maker, category: Category, outline: Any) -> None:
    folder = coco_folder(n=1)
    edit(folder / "annotations.json", lambda raw: raw["annotations"][0].update(segmentation=outline))
    with pytest.raises(DataError, match="annotation 1: segmentation is neither"):
        read_samples(folder, category)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_images_of_other_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    Image.new("RGB", (8, 6), (200, 10, 10)).convert(mode).save(path)
    assert read_image(path).shape == (6, 8, 3)


def test_held_out_images_are_the_same_every_time_and_not_trained_on(
    coco_folder: Maker, category: Category
) -> None:
    samples = read_samples(coco_folder(n=6), category)
    kept, out = hold_out(samples, 0.3, seed=5)
    assert (len(kept), len(out)) == (5, 1)
    assert {s.image_path for s in kept}.isdisjoint(s.image_path for s in out)
    assert out[0].image_path == hold_out(samples, 0.3, seed=5)[1][0].image_path


def into_shard(folder: Path) -> Path:
    """Moves a COCO folder's images into one tar shard beside its annotations."""
    files = sorted((folder / "images").iterdir())
    (folder / "shard-00000.tar").write_bytes(b"".join(pack(f.name, f.read_bytes()) for f in files) + END)
    shutil.rmtree(folder / "images")

    def rename(raw: Any) -> None:
        for image in raw["images"]:
            image["file_name"] = image["file_name"].replace("images/", "shard-00000.tar/")

    edit(folder / "annotations.json", rename)
    return folder


def test_images_in_a_shard_read_like_files(coco_folder: Maker, category: Category) -> None:
    files = read_samples(coco_folder("files"), category)
    packed = read_samples(into_shard(coco_folder("packed")), category)
    assert [s.image_path.name for s in packed] == [s.image_path.name for s in files]
    for a, b in reversed(list(zip(packed, files, strict=True))):
        assert (a.width, a.height) == (b.width, b.height)
        np.testing.assert_array_equal(a.keypoints, b.keypoints)
        np.testing.assert_array_equal(read_image(a.image_path), read_image(b.image_path))


def test_an_image_absent_from_its_shard_is_named(coco_folder: Maker, category: Category) -> None:
    folder = into_shard(coco_folder(n=2))
    (folder / "shard-00000.tar").write_bytes(END)
    with pytest.raises(DataError, match=r"shard-00000\.tar/000\.jpg is absent"):
        read_samples(folder, category)


def test_a_truncated_shard_is_named(coco_folder: Maker, category: Category) -> None:
    folder = into_shard(coco_folder(n=2))
    shard = folder / "shard-00000.tar"
    shard.write_bytes(shard.read_bytes()[:-3000])
    with pytest.raises(DataError, match=r"shard-00000\.tar: truncated in '001\.jpg'"):
        read_samples(folder, category)


def test_sixteen_bits_of_grey_become_eight(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    Image.fromarray(ramp).save(tmp_path / "a.png")
    assert (read_image(tmp_path / "a.png") == (ramp >> 8)[:, :, None]).all()


def test_shapes_with_a_schema_tell_objects_and_keypoints_apart(
    coco_folder: Maker, category: Category, tmp_path: Path
) -> None:
    source = coco_folder(n=4)

    def two_kinds(raw: Any) -> None:
        raw["categories"].append({**raw["categories"][0], "id": 2, "name": "other"})
        raw["annotations"][0]["category_id"] = 2

    edit(source / "annotations.json", two_kinds)
    convert(source, tmp_path / "shapes", "shapes", None, None)
    swapped = replace(category, schema=KeypointSchema(("tail", "nose"), ((0, 1),), (), (0.08, 0.08)))
    for wanted in ((category,), (swapped,), (category, replace(category, id=2, name="other"))):
        of_coco, of_shapes = (read_samples(folder, *wanted) for folder in (source, tmp_path / "shapes"))
        for a, b in zip(of_coco, of_shapes, strict=True):
            np.testing.assert_array_equal(a.labels, b.labels)
            np.testing.assert_allclose(a.keypoints, b.keypoints)


def test_yolo_pose_reads_as_the_coco_it_came_from(
    coco_folder: Maker, category: Category, tmp_path: Path
) -> None:
    source = coco_folder(n=12)
    convert(source, tmp_path / "yolo", "yolo-pose", None, None)
    by_name = {s.image_path.name: s for s in read_samples(tmp_path / "yolo", category)}
    for sample in read_samples(source, category):
        found = by_name[sample.image_path.name]
        np.testing.assert_allclose(found.keypoints, sample.keypoints)
        np.testing.assert_allclose(found.boxes, sample.boxes)


def test_bop_of_an_object_that_is_not_there_says_so(category: Category, tmp_path: Path) -> None:
    (tmp_path / "scene_gt.json").write_text("{}")
    with pytest.raises(AssetError, match=r"bug: no object\.yaml there"):
        read_samples(tmp_path, category)
    with pytest.raises(DataError, match="name it with --object"):
        read_samples(tmp_path, category, replace(category, name="other"))


def test_objects_of_another_name_are_not_this_one(photo_folder: Maker, category: Category) -> None:
    folder = photo_folder(n=1)
    named = {"box": [1, 2, 30, 40], "keypoints": [[5, 5, 1], [9, 9, 1]]}
    rows = [named, {**named, "category": "bug"}, {**named, "category": "wasp"}]
    (folder / "annotations" / "p0.json").write_text(json.dumps(rows))
    assert len(read_samples(folder, category)[0].boxes) == 2


def test_cvats_layout_of_coco_is_read_by_its_folder_and_its_file(
    coco_folder: Maker, category: Category
) -> None:
    folder = coco_folder(n=3)
    file = folder / "annotations" / "person_keypoints_default.json"
    file.parent.mkdir()
    (folder / "annotations.json").rename(file)
    file.write_text(file.read_text().replace("images/", ""))
    for path in (folder, file):
        assert [s.image_path.parent.name for s in read_samples(path, category)] == ["images"] * 3


@pytest.mark.parametrize("key", ["width", "visible_fraction", "area", "iscrowd"])
def test_numbers_of_coco_that_are_none_are_named(coco_folder: Maker, category: Category, key: str) -> None:
    folder = coco_folder(n=1)
    edit(
        folder / "annotations.json",
        lambda raw: raw["images" if key == "width" else "annotations"][0].update({key: "big"}),
    )
    with pytest.raises(DataError, match=f"{key}|big"):
        read_samples(folder, category)

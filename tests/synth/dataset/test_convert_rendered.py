import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from pycocotools import mask as coco_mask

from synth.config import load_synth_config
from synth.dataset.coco import object_category, read_coco
from synth.dataset.formats import bop
from synth.dataset.log import read_log
from synth.errors import DataError
from synth.generate.job import RenderJob
from synth.generate.run import generate
from synth.objects.load import ASSETS, load_object
from train.cli import main
from train.data.samples import read_samples


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["convert", *(str(a) for a in arguments)])


@pytest.fixture(scope="module")
def boards(opengl: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("boards") / "synth"
    generate(RenderJob("chessboard", load_synth_config("clean"), None, 5), folder, 3, 1)
    return folder


def test_bop_files_hold_the_poses_in_millimetres(boards: Path, tmp_path: Path) -> None:
    assert run(boards, tmp_path / "bop", "--to", "bop", "--object", "chessboard").exit_code == 0
    poses = list(bop.read_poses(tmp_path / "bop"))
    rows = [(row["scene"]["camera"]["K"], a) for row in read_log(boards) for a in row["annotations"]]
    assert len(poses) == len(rows) == 3
    for pose, (K, labelled) in zip(poses, rows, strict=True):
        assert pytest.approx(np.array(K)) == pose.K
        truth = np.array(labelled["T_camera_from_object"])
        assert pose.T_camera_from_object == pytest.approx(truth, abs=1e-9)
    raw = json.loads((tmp_path / "bop" / "scene_gt.json").read_text())
    assert raw["0"][0]["cam_t_m2c"][2] > 100
    assert (tmp_path / "bop" / "rgb" / "000002.jpg").is_file()
    models = json.loads((tmp_path / "bop" / "models_info.json").read_text())
    assert 200 < models["1"]["size_x"] < 500


@pytest.mark.parametrize("with_info", [True, False])
def test_bop_poses_become_the_keypoints_they_came_from(boards: Path, tmp_path: Path, with_info: bool) -> None:
    run(boards, tmp_path / "bop", "--to", "bop", "--object", "chessboard")
    if not with_info:
        (tmp_path / "bop" / "scene_gt_info.json").unlink()
    done = run(tmp_path / "bop", tmp_path / "coco", "--to", "coco", "--object", "chessboard")
    assert done.exit_code == 0, done.output
    before = read_coco(boards / "annotations.json")
    after = read_coco(tmp_path / "coco" / "annotations.json")
    assert after.categories == before.categories
    for old, new in zip(before.images, after.images, strict=True):
        for a, b in zip(old.annotations, new.annotations, strict=True):
            seen = a.keypoints[:, 2] > 0
            assert b.keypoints[seen, :2] == pytest.approx(a.keypoints[seen, :2], abs=2e-3)
            assert (b.keypoints[:, 2] == np.where(seen, 2, 0)).all()
            points = b.keypoints[seen, :2]
            assert (points >= b.box_xyxy[:2] - 1).all()
            assert (points <= b.box_xyxy[2:] + 1).all()
            if with_info:
                assert b.box_xyxy == pytest.approx(a.box_xyxy, abs=0.01)
    assert "--object" in run(tmp_path / "bop", tmp_path / "other", "--to", "coco").output


def test_every_command_reads_a_bop_scene(boards: Path, tmp_path: Path) -> None:
    run(boards, tmp_path / "bop", "--to", "bop", "--object", "chessboard")
    assert len(read_samples(tmp_path / "bop", object_category("chessboard")[0])) == 3
    for command in ("validate", "preview"):
        done = CliRunner().invoke(main, [command, str(tmp_path / "bop"), "--object", "chessboard"])
        assert done.exit_code == 0, done.output
    assert (tmp_path / "bop" / "preview.jpg").is_file()
    elsewhere = shutil.copytree(ASSETS / "chessboard", tmp_path / "elsewhere")
    (elsewhere / "object.yaml").write_text(
        (elsewhere / "object.yaml").read_text().replace("name: chessboard", "name: plate")
    )
    models = tmp_path / "bop" / "models_info.json"
    models.write_text(models.read_text().replace('"chessboard"', '"plate"'))
    plate = object_category(str(elsewhere))[0]
    assert len(read_samples(tmp_path / "bop", plate, object_=str(elsewhere))) == 3


def test_rendered_sets_load_unmodified_in_supervision(boards: Path, tmp_path: Path) -> None:
    import supervision

    dataset = supervision.DetectionDataset.from_coco(str(boards / "images"), str(boards / "annotations.json"))
    assert (len(dataset), dataset.classes) == (3, ["chessboard"])


def test_objects_that_a_bop_scene_hides_wholly_are_left_out(boards: Path, tmp_path: Path) -> None:
    run(boards, tmp_path / "bop", "--to", "bop", "--object", "chessboard")
    info = tmp_path / "bop" / "scene_gt_info.json"
    raw = json.loads(info.read_text())
    first = next(rows for rows in raw.values() if rows)
    first[0] |= {"bbox_visib": [-1, -1, -1, -1], "visib_fract": 0.0}
    info.write_text(json.dumps(raw))
    assert run(tmp_path / "bop", tmp_path / "coco", "--to", "coco", "--object", "chessboard").exit_code == 0
    before, after = (
        sum(len(image.annotations) for image in read_coco(folder / "annotations.json").images)
        for folder in (boards, tmp_path / "coco")
    )
    assert after == before - 1


def test_bop_boxes_are_those_of_the_masks_and_moved_joints_are_refused(boards: Path) -> None:
    row = next(row for row in read_log(boards) if row["annotations"])
    labelled = row["annotations"][0]
    wide = {**labelled, "box_xyxy": [0.0, 0.0, 640.0, 480.0]}
    info = bop._info(wide, row["scene"], load_object("chessboard"))
    assert info["bbox_visib"] == coco_mask.toBbox(labelled["segmentation"]).tolist()
    row["scene"]["objects"][0]["joints"] = {"rudder": 0.1}
    with pytest.raises(DataError, match="joints"):
        bop._check(row, load_object("chessboard"), "here")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"asset": "boat"}, "here: shows boat, expected chessboard"),
        ({"mesh": 99}, "here: shows mesh 100 of chessboard, which has only"),
        ({"category_id": 7}, "here: shows an object of category id 7, expected 1 of chessboard"),
    ],
)
def test_poses_of_another_object_are_refused(boards: Path, changes: dict[str, Any], message: str) -> None:
    row = next(row for row in read_log(boards) if row["annotations"])
    for part in (row["scene"]["objects"][0], row["annotations"][0]):
        part |= changes
    with pytest.raises(DataError, match=message):
        bop._check(row, load_object("chessboard"), "here")


@pytest.mark.parametrize("to", ["bop", "coco", "yolo-pose", "shapes"])
def test_rendered_sets_of_another_object_are_refused(boards: Path, tmp_path: Path, to: str) -> None:
    done = run(boards, tmp_path / "out", "--to", to, "--object", "glue_tube")
    assert done.exit_code == 2
    assert re.search("(shows|holds) chessboard.*, expected glue_tube", done.output), done.output


def edited(boards: Path, folder: Path, name: str, change: Callable[[Any], Any]) -> Path:
    """A BOP scene of `boards` with one file's content changed."""
    run(boards, folder, "--to", "bop", "--object", "chessboard")
    (folder / name).write_text(json.dumps(change(json.loads((folder / name).read_text()))))
    return folder


def with_object(**fields: Any) -> Callable[[Any], Any]:
    return lambda raw: {**raw, "1": [{**raw["1"][0], **fields}]}


NUMBER = "expected finite numbers, {} of them"


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("scene_gt.json", lambda raw: [raw], "scene_gt.json: a list, expected a mapping from numbers"),
        ("scene_gt.json", lambda raw: {**raw, "last": []}, "scene_gt.json: 'last', expected a number"),
        ("scene_gt.json", lambda raw: {**raw, "1": {}}, "scene_gt.json: image 1: {}, expected a list"),
        ("scene_gt.json", lambda raw: {**raw, "1": [5]}, "scene_gt.json: image 1: cam_R_m2c: None"),
        ("scene_gt.json", with_object(cam_t_m2c=[0, 0, math.nan]), NUMBER.format(3)),
        ("scene_gt.json", with_object(cam_R_m2c=[0] * 9), "image 1: cam_R_m2c: .* is no rotation"),
        ("scene_gt.json", with_object(obj_id="board"), "image 1: obj_id: 'board', " + NUMBER.format(1)),
        ("scene_gt.json", with_object(obj_id=math.inf), NUMBER.format(1)),
        (
            "scene_gt.json",
            lambda raw: {"1": [{**raw["1"][0], "obj_id": 7}]},
            "obj_id 7, expected 1 for chessboard",
        ),
        ("scene_camera.json", lambda raw: {"0": raw["0"]}, "image 1: is not in scene_camera.json"),
        ("scene_camera.json", lambda raw: {**raw, "1": [1.0] * 9}, "scene_camera.json: image 1: cam_K"),
        ("scene_camera.json", lambda raw: {**raw, "1": {"cam_K": [1.0] * 8}}, NUMBER.format(9)),
        ("scene_camera.json", lambda raw: {**raw, "1": {"cam_K": [math.nan] * 9}}, NUMBER.format(9)),
        ("scene_gt_info.json", lambda raw: {**raw, "1": []}, "image 1: object 0 is absent"),
        ("scene_gt_info.json", with_object(bbox_visib=[1, 2, 3]), NUMBER.format(4)),
        ("scene_gt_info.json", with_object(visib_fract=math.nan), NUMBER.format(1)),
        ("models_info.json", lambda raw: {"1": {**raw["1"], "name": "boat"}}, "'boat', expected chessboard"),
    ],
)
def test_faulty_bop_scenes_are_refused(
    boards: Path, tmp_path: Path, name: str, change: Callable[[Any], Any], message: str
) -> None:
    folder = edited(boards, tmp_path / "bop", name, change)
    done = run(folder, tmp_path / "out", "--to", "coco", "--object", "chessboard")
    assert done.exit_code == 2, done.exception
    assert re.search(message, done.output), done.output


def test_bop_boxes_of_objects_reach_beyond_what_hides_and_cuts_them(boards: Path) -> None:
    asset = load_object("chessboard")
    for row in read_log(boards):
        (labelled,) = row["annotations"]
        info = bop._info(labelled, row["scene"], asset)
        assert info["bbox_obj"] == pytest.approx(info["bbox_visib"], abs=1)
    x, y, w, h = info["bbox_obj"]
    row["scene"]["camera"]["K"][0][2] -= x + w / 2
    moved = bop._info(labelled, row["scene"], asset)
    assert moved["bbox_obj"] == pytest.approx([-w / 2, y, w, h], abs=1)


def test_bop_boxes_hold_the_labelled_keypoints(boards: Path, tmp_path: Path) -> None:
    seen = with_object(bbox_visib=[300, 200, 4, 4])
    folder = edited(boards, tmp_path / "bop", "scene_gt_info.json", seen)
    (found,) = bop.read(folder, (), "chessboard").data.images[1].annotations
    points = found.keypoints[found.keypoints[:, 2] > 0, :2]
    corners = np.concatenate([points, [[300, 200], [304, 204]]])
    assert found.box_xyxy == pytest.approx(np.concatenate([corners.min(0), corners.max(0)]))


def test_bop_objects_behind_the_camera_have_no_hull_in_the_image(boards: Path, tmp_path: Path) -> None:
    folder = edited(boards, tmp_path / "bop", "scene_gt.json", with_object(cam_t_m2c=[0, 0, -500]))
    (folder / "scene_gt_info.json").unlink()
    with pytest.raises(DataError, match="image 1: an object reaches behind the camera"):
        bop.read(folder, (), "chessboard")

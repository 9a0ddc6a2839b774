import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from synth.config import load_synth_config
from synth.dataset.coco import object_category
from synth.dataset.log import read_log
from synth.errors import ConfigError, DataError
from synth.generate.job import RenderJob
from synth.generate.run import generate
from synth.geometry import project, transform_points
from synth.scene.scene_json import scene_from_json
from train.cli import main
from train.detect.pose_files import camera_for
from train.runtime import Detection
from train.score import pose_eval
from train.score.pose_eval import evaluate_poses


class Oracle:
    """A detector that answers with the labels of the images it is shown, in order."""

    def __init__(self, answers: list[list[Detection]]) -> None:
        self.categories = (object_category("chessboard")[0],)
        self._answers = iter(answers)

    def narrow(self, *_: Any) -> None:
        pass

    def __call__(self, _: Any) -> list[Detection]:
        return next(self._answers)

    def n_tiles(self, width: int, height: int) -> int:
        return 0


@pytest.fixture(scope="module")
def rendered(opengl: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pose") / "synth"
    generate(RenderJob("chessboard", load_synth_config("clean"), None, 5), folder, 6, 1)
    return folder


def answers(folder: Path) -> list[list[Detection]]:
    category, points = object_category("chessboard")
    found = []
    for row in read_log(folder):
        scene = scene_from_json(row["scene"])
        uv = [
            project(scene.camera, transform_points(o.T_world_from_object, points))[0] for o in scene.objects
        ]
        found.append(
            [
                Detection(np.array(a["box_xyxy"]), 1.0, category.name, p, *np.ones((2, len(points))))
                for a, p in zip(row["annotations"], uv, strict=True)
            ]
        )
    return found


def test_true_keypoints_of_rendered_images_give_their_true_poses(
    rendered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pose_eval.Detector, "load", lambda *_: Oracle(answers(rendered)))
    result = evaluate_poses(tmp_path, rendered, "chessboard", tmp_path / "out", 6, "cpu")
    assert (result["n_objects"], result["n_posed"]) == (6, 6)
    assert result["p90"]["rotation_deg"] < 1e-3
    assert result["p90"]["translation_share"] < 1e-5
    assert result["add_within_a_tenth"] == 1.0
    assert json.loads((tmp_path / "out" / "poses.json").read_text()) == result


def test_poses_of_photos_are_written_with_overlays(
    rendered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from train.detect import predict

    monkeypatch.setattr(predict.Detector, "load", lambda *_: Oracle(answers(rendered)))
    arguments = ["pose", str(tmp_path), str(rendered / "images"), "--object", "chessboard", "--fov-deg", "50"]
    done = CliRunner().invoke(main, [*arguments, "--out", str(tmp_path / "out"), "--device", "cpu"])
    assert done.exit_code == 0, done.output
    rows = [json.loads(line) for line in (tmp_path / "out" / "poses.jsonl").read_text().splitlines()]
    assert len(rows) == 6
    T = np.array(rows[0]["objects"][0]["T_camera_from_object"])
    assert T[:3, :3] @ T[:3, :3].T == pytest.approx(np.eye(3), abs=1e-9)
    shown = cv2.imread(str(tmp_path / "out" / "overlays" / "0000000.jpg"))
    assert f"6 poses in 6 pictures, read whole: {tmp_path}" in done.output
    assert "without a pose" not in done.output
    assert (shown != cv2.imread(str(rendered / "images" / "0000000.jpg"))).any()


def test_objects_without_a_pose_are_counted_and_say_why(
    rendered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from train.detect import predict

    true = answers(rendered)
    true[0] = [replace(found, keypoints=found.keypoints * 0 + found.box_xyxy[:2]) for found in true[0]]
    true[1] = [replace(found, box_xyxy=np.array([0.0, 0, 5, 5])) for found in true[1]]
    monkeypatch.setattr(predict.Detector, "load", lambda *_: Oracle(true))
    arguments = ["pose", str(tmp_path), str(rendered / "images"), "--object", "chessboard", "--fov-deg", "50"]
    done = CliRunner().invoke(main, [*arguments, "--out", str(tmp_path / "out"), "--device", "cpu"])
    assert "4 poses in 6 pictures" in done.output
    why = "1 × keypoints coincide, 1 × the object would not fill its box"
    assert f"2 objects found without a pose: {why}" in done.output
    rows = [json.loads(line) for line in (tmp_path / "out" / "poses.jsonl").read_text().splitlines()]
    assert rows[0]["objects"][0]["T_camera_from_object"] is None
    assert rows[0]["objects"][0]["reason"].startswith("keypoints coincide: they lie within 0 px")

    monkeypatch.setattr(pose_eval.Detector, "load", lambda *_: Oracle(true))
    result = evaluate_poses(tmp_path, rendered, "chessboard", tmp_path / "out", 6, "cpu")
    assert (result["n_objects"], result["n_found"], result["n_posed"]) == (6, 5, 4)
    assert result["no_pose"] == {"keypoints coincide": 1}


def test_a_camera_is_named_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="either --camera"):
        camera_for(640, 480, None, None, "x.jpg")
    assert camera_for(640, 480, None, 90.0, "x.jpg").K[0, 0] == pytest.approx(320.0)
    storage = cv2.FileStorage(str(tmp_path / "c.yaml"), cv2.FILE_STORAGE_WRITE)
    storage.write("image_width", 1280)
    storage.write("image_height", 960)
    storage.write("camera_matrix", np.diag([900.0, 900, 1]))
    storage.write("distortion_coefficients", np.zeros((1, 5)))
    storage.release()
    assert camera_for(640, 480, tmp_path / "c.yaml", None, "x.jpg").K[0, 0] == pytest.approx(450.0)
    with pytest.raises(DataError, match=r"x\.jpg: 640x360 px, .*c\.yaml is of 1280x960"):
        camera_for(640, 360, tmp_path / "c.yaml", None, "x.jpg")


CAMERA = "{K: [[300, 0, 120], [0, 310, 90], [0, 0, 1]], image_width: 320, image_height: 240}"


@pytest.mark.parametrize(
    ("orientation", "size", "centre"),
    [
        (1, (320, 240), (120.5, 90.5)),
        (3, (320, 240), (199.5, 149.5)),
        (6, (240, 320), (149.5, 120.5)),
        (8, (240, 320), (90.5, 199.5)),
        (6, (320, 240), (120.5, 90.5)),  # a calibration of photos that were turned
    ],
)
def test_a_photos_camera_is_turned_with_it(
    tmp_path: Path, orientation: int, size: tuple[int, int], centre: tuple[float, float]
) -> None:
    (tmp_path / "c.yaml").write_text(CAMERA)
    camera = camera_for(*size, tmp_path / "c.yaml", None, "x.jpg", orientation)
    assert (camera.width_px, camera.height_px) == size
    assert camera.K[:2, 2] == pytest.approx(centre)
    assert camera.K[0, 0] == (310 if orientation in (6, 8) and size == (240, 320) else 300)


def test_mirrored_photos_have_no_camera(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(CAMERA)
    with pytest.raises(DataError, match=r"x\.jpg: EXIF orientation 2 mirrors it"):
        camera_for(320, 240, tmp_path / "c.yaml", None, "x.jpg", 2)
    assert camera_for(320, 240, None, 60.0, "x.jpg", 2).width_px == 320


def test_a_folder_without_scenes_is_refused(tmp_path: Path) -> None:
    arguments = ["eval-pose", tmp_path, "--synth", tmp_path, "--object", "chessboard", "--out", tmp_path]
    done = CliRunner().invoke(main, [str(a) for a in arguments])
    assert done.exit_code == 2


@pytest.mark.gl
@pytest.mark.slow
def test_objects_that_are_all_scaled_are_said_to_be_so(tmp_path: Path) -> None:
    generate(RenderJob("glue_tube", load_synth_config("default"), None, 0), tmp_path / "synth", 2, 1)
    with pytest.raises(DataError, match="no object to judge in its first 2 images: all are scaled"):
        evaluate_poses(tmp_path, tmp_path / "synth", "glue_tube", tmp_path / "out", 5, "cpu")

from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from synth.config import load_synth_config
from synth.errors import ConfigError
from synth.objects.library import Library
from synth.scene.sample import sample_scene
from train.cli import main

K = np.array([[1210.5, 0.0, 645.25], [0.0, 1208.0, 350.75], [0.0, 0.0, 1.0]])
LENS = np.array([[-0.21, 0.08, 0.001, -0.002, 0.01]])


def written_by_opencv(path: Path, **fields: object) -> Path:
    """A calibration file from OpenCV's own writer."""
    content = {"image_width": 1280, "image_height": 720, "camera_matrix": K, "distortion_coefficients": LENS}
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    for name, value in (content | fields).items():
        storage.write(name, value)
    storage.release()
    return path


def config_with(folder: Path, calibration: str = "camera.yaml") -> Path:
    path = folder / "mine.yaml"
    path.write_text(f"camera: {{width_px: 640, height_px: 480, calibration: {calibration}}}\n")
    return path


def test_images_are_as_the_calibrated_camera_takes_them(tmp_path: Path, box_library: Library) -> None:
    written_by_opencv(tmp_path / "camera.yaml")
    camera = sample_scene(load_synth_config(config_with(tmp_path)), box_library, 0, 3).camera
    assert (camera.width_px, camera.height_px) == (640, 360)
    assert pytest.approx(np.array([[605.25, 0, 322.875], [0, 604.0, 175.625], [0, 0, 1]])) == camera.K
    assert camera.distortion is not None
    assert camera.distortion.model == "brown-conrady"
    assert camera.distortion.coefficients == pytest.approx(tuple(LENS[0]))


@pytest.mark.parametrize("key", ["fisheye", "fisheye_model"])
def test_a_fisheye_file_keeps_its_model(tmp_path: Path, key: str) -> None:
    lens = np.array([-0.01, 0.02, 0.0, 0.001])
    written_by_opencv(tmp_path / "camera.yaml", **{key: 1}, distortion_coefficients=lens)
    calibration = load_synth_config(config_with(tmp_path)).camera.calibration
    assert calibration is not None
    assert calibration.model == "fisheye"


def test_a_file_from_ros_is_read_too(tmp_path: Path) -> None:
    (tmp_path / "camera.yaml").write_text(
        "image_width: 640\nimage_height: 480\ndistortion_model: equidistant\n"
        "camera_matrix: {rows: 3, cols: 3, data: [300, 0, 320, 0, 300, 240, 0, 0, 1]}\n"
        "distortion_coefficients: {rows: 1, cols: 4, data: [0.01, 0, 0, 0]}\n"
    )
    calibration = load_synth_config(config_with(tmp_path)).camera.calibration
    assert calibration is not None
    assert calibration.model == "fisheye"
    assert calibration.matrix == (300.0, 300.0, 320.5, 240.5)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"camera_matrix": np.eye(2)}, "camera_matrix: expected 9 numbers"),
        ({"camera_matrix": np.full((3, 3), np.nan)}, "camera_matrix: expected finite numbers"),
        ({"distortion_coefficients": np.zeros(3)}, "coefficients: 3 values, expected 4 or 5"),
        ({"image_width": 12.5}, "image_width: expected a whole number"),
        ({"image_height": -480}, "height_px: Input should be greater than"),
    ],
)
def test_a_faulty_file_is_named_with_its_field(
    tmp_path: Path, fields: dict[str, object], message: str
) -> None:
    written_by_opencv(tmp_path / "camera.yaml", **fields)
    with pytest.raises(ConfigError, match=message) as raised:
        load_synth_config(config_with(tmp_path))
    assert "camera.yaml" in str(raised.value)


def test_a_missing_calibration_is_a_user_error(tmp_path: Path) -> None:
    config = config_with(tmp_path, "nowhere.yaml")
    arguments = ["render", "--object", "chessboard", "--config", str(config), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert "nowhere.yaml: no such file" in result.output

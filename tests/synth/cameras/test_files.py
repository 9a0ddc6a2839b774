"""Cameras' files, whoever wrote them, are read or refused by name."""

import os
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from synth.cameras.calibration import Calibration, calibrated_camera, turned
from synth.cameras.files import read_calibration
from synth.config import load_synth_config
from synth.errors import ConfigError
from synth.geometry import project
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


# --- other tools' files -----------------------------------------------------------------------------------

MATRIX = "[300, 0, 160, 0, 310, 120, 0, 0, 1]"
ROS = f"image_width: 320\nimage_height: 240\ncamera_matrix: {{rows: 3, cols: 3, data: {MATRIX}}}\n"
LENS5 = "distortion_coefficients: {rows: 1, cols: 5, data: [-0.1, 0.01, 0, 0, 0]}\n"
BENT_ROS = ROS + LENS5
INFO = f"height: 240\nwidth: 320\ndistortion_model: plumb_bob\nd: [-0.1, 0.01, 0.0, 0.0, 0.0]\nk: {MATRIX}\n"
STRAIGHT = (320, 240, (300.0, 310.0, 160.5, 120.5), ())
BENT = (*STRAIGHT[:3], (-0.1, 0.01, 0.0, 0.0, 0.0))
SHORT = (*STRAIGHT[:3], (-0.1, 0.01, 0.0, 0.0))
CORNER = (320, 240, (300.0, 310.0, 160.0, 120.0), (-0.1, 0.01, 0.0, 0.0))
"""From pixels that are continuous already."""
RADIAL = (320, 240, (310, 310, 160, 120), (0.2, 0.0, 0.0, 0.0))
XML = (
    '<?xml version="1.0"?>\n<opencv_storage>\n'
    "<image_Width>320</image_Width><image_Height>240</image_Height>\n"
    '<Camera_Matrix type_id="opencv-matrix"><rows>3</rows><cols>3</cols><dt>d</dt><data>\n'
    "300. 0. 160. 0. 310. 120. 0. 0. 1.</data></Camera_Matrix>\n"
    '<Distortion_Coefficients type_id="opencv-matrix"><rows>5</rows><cols>1</cols><dt>d</dt>'
    "<data>-1.0e-01 0.01 0 0 0</data></Distortion_Coefficients></opencv_storage>\n"
)
KALIBR = (
    "cam0:\n  cam_overlaps: []\n  camera_model: pinhole\n  distortion_coeffs: [-0.1, 0.01, 0.0, 0.0]\n"
    "  distortion_model: radtan\n  intrinsics: [300.0, 310.0, 160.0, 120.0]\n  resolution: [320, 240]\n"
)
OPEN3D = '{"width": 320, "height": 240, "intrinsic_matrix": [300, 0, 0, 0, 310, 0, 160, 120, 1]}'


def read(folder: Path, name: str, text: str) -> Calibration:
    (folder / name).write_text(text)
    return read_calibration(folder / name)


def refusal(folder: Path, name: str, text: str) -> str:
    with pytest.raises(ConfigError) as raised:
        read(folder, name, text)
    message = str(raised.value)
    assert message.startswith(f"{folder / name}: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("ros.yaml", ROS, STRAIGHT),
        ("ros.yaml", ROS + LENS5, BENT),
        ("info.yaml", "header:\n  stamp: {sec: 1, nanosec: 0}\n" + INFO + "---\n", BENT),
        ("infos.yaml", "---\n" + INFO + "---\n" + INFO, BENT),
        ("info.yaml", INFO.replace("d:", "D:").replace("\nk:", "\nK:"), BENT),
        ("kalibr.yaml", KALIBR, SHORT),
        ("opencv.xml", XML, BENT),
        ("cameras.txt", "# Camera list\n1 OPENCV 320 240 300 310 160 120 -0.1 0.01 0 0\n", CORNER),
        ("cameras.txt", "7 PINHOLE 320 240 300 310 160 120\n", (*CORNER[:3], ())),
        ("cameras.txt", "1 SIMPLE_RADIAL 320 240 310 160 120 0.2", RADIAL),
        ("open3d.json", OPEN3D, STRAIGHT),
        ("view.json", '{"class_name": "PinholeCameraParameters", "intrinsic": ' + OPEN3D + "}", STRAIGHT),
        (
            "camera.json",
            '{"cx": 160, "cy": 120, "depth_scale": 0.1, "fx": 300, "fy": 310, "height": 240, "width": 320}',
            STRAIGHT,
        ),
        (
            "realsense.json",
            '{"width": 320, "height": 240, "ppx": 160, "ppy": 120, "fx": 300, "fy": 310, '
            '"model": "distortion.inverse_brown_conrady", "coeffs": [0, 0, 0, 0, 0]}',
            (*STRAIGHT[:3], (0.0,) * 5),
        ),
        (
            "transforms.json",
            '{"fl_x": 300, "fl_y": 310, "cx": 160, "cy": 120, "w": 320, "h": 240, "k1": -0.1, "k2": 0.01, '
            '"p1": 0, "p2": 0, "camera_model": "OPENCV", "frames": []}',
            (*CORNER[:3], (-0.1, 0.01, 0.0, 0.0, 0.0)),
        ),
        ("k.json", '{"K": [[300, 0, 160], [0, 310, 120], [0, 0, 1]], "width": 320, "height": 240}', STRAIGHT),
        ("k.yaml", "K: [[300, 0, 160], [0, 310, 120], [0, 0, 1]]\nresolution: [320, 240]\n", STRAIGHT),
        ("mtx.json", '{"mtx": [[300, 0, 160], [0, 310, 120], [0, 0, 1]], "dist": [[-0.1, 0.01, 0, 0, 0]], '
         '"image_size": [320, 240]}', BENT),
    ],
)  # fmt: skip
def test_files_of_other_tools_give_the_same_camera(
    tmp_path: Path, name: str, text: str, expected: tuple
) -> None:
    found = read(tmp_path, name, text)
    assert (found.width_px, found.height_px) == expected[:2]
    assert found.matrix == pytest.approx(expected[2])
    assert found.coefficients == pytest.approx(expected[3])
    assert found.model == "brown-conrady"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.yaml", ROS + f"distortion_model: {model}\ndistortion_coefficients: [0.01, 0.02, 0.0, 0.0]\n")
        for model in ("equidistant", "fisheye", "kannala_brandt", "Kannala-Brandt4")
    ]
    + [
        ("kalibr.yaml", KALIBR.replace("radtan", "equidistant").replace("-0.1, 0.01", "0.01, 0.02")),
        ("cameras.txt", "1 OPENCV_FISHEYE 320 240 300 310 160 120 0.01 0.02 0 0"),
        ("cameras.txt", "1 RADIAL_FISHEYE 320 240 300 160 120 0.01 0.02"),
    ],
)
def test_fisheyes_by_all_their_names(tmp_path: Path, name: str, text: str) -> None:
    found = read(tmp_path, name, text)
    assert found.model == "fisheye"
    assert found.coefficients == (0.01, 0.02, 0.0, 0.0)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.yaml", BENT_ROS + "distortion_model: division\n", "distortion_model: 'division' is not known"),
        ("a.yaml", BENT_ROS + "distortion_model: thin_prism_fisheye\n", "'thin_prism_fisheye' is not known"),
        ("a.yaml", BENT_ROS + "distortion_model: inverse_brown_conrady\n", "'inverse_brown_conrady' is not"),
        ("a.yaml", ROS + LENS5 + "xi: 1.2\n", "xi: parameter of a projection"),
        ("a.yaml", ROS.replace("300, 0,", "300, 25,"), "camera_matrix: skew 25, expected 0"),
        ("a.yaml", ROS.replace("0, 0, 1]", "7, 8, 9]"), r"camera_matrix: last row \[7\.0, 8\.0, 9\.0\]"),
        ("a.json", '{"K": [[300, 0, 160], [0, 310, 120], [0, 0, 1]]}', "the picture's size is absent"),
        ("a.json", '{"fx": 1, "fy": 1, "width": 320, "height": 240}', "cx and cy are absent"),
        ("k.txt", "300 0 160\n0 310 120\n0 0 1\n", "no camera's fields, expected .*K: "),
        ("a.yaml", "fov: 60\nlens: wide\n", "its fields are fov, lens; expected those of OpenCV"),
        ("a.yml", f"%YAML:1.0\n---\nM1: !!opencv-matrix\n   rows: 3\n   cols: 3\n   data: {MATRIX}\n",
         "M1: one of several cameras"),
        ("a.yaml", KALIBR + KALIBR.replace("cam0", "cam1"), "several cameras: cam0, cam1"),
        ("a.yaml", KALIBR.replace("pinhole", "omni"), "camera_model: 'omni' is not known"),
        ("a.yaml", KALIBR.replace("radtan", "fov"), "distortion_model: 'fov' is not known"),
        ("cameras.txt", "1 FOV 320 240 300 310 160 120 0.9", "FOV: not known here"),
        ("cameras.txt", "1 PINHOLE 320 240 300 310 160", "PINHOLE: 3 parameters, expected 4"),
        ("cameras.txt", "1 PINHOLE 320 240 3 3 1 1\n2 PINHOLE 320 240 3 3 1 1", "2 cameras, expected one"),
        ("a.npz", "PK", r"\.npz files are not read"),
        ("a.xml", "<calibration><width>3", "not valid YAML, JSON or XML"),
        ("a.xml", "<calibration><projection>frame</projection></calibration>", "its fields are projection"),
        ("a.json", '{"left": {"K": [1]}, "right": {"K": [1]}}', "2 cameras, expected one"),
        ("a.json", "[1, 2]", "no camera's fields"),
        ("a.yaml", "- 1\n", "no camera's fields"),
        ("a.yaml", "a: [", "not valid YAML"),
        ("a.yaml", INFO.replace("[-0.1, 0.01, 0.0, 0.0, 0.0]", "[0.1, 0.2]"), "coefficients: 2 values"),
    ],
)  # fmt: skip
def test_what_is_not_known_is_refused_by_name(tmp_path: Path, name: str, text: str, message: str) -> None:
    assert re.search(message, refusal(tmp_path, name, text))


def test_pictures_show_the_region_of_interest_binned(tmp_path: Path) -> None:
    roi = "roi: {x_offset: 40, y_offset: 20, height: 120, width: 160, do_rectify: false}\n"
    found = read(tmp_path, "a.yaml", ROS + "binning_x: 2\nbinning_y: 2\n" + roi)
    assert (found.width_px, found.height_px) == (80, 60)
    assert found.matrix == pytest.approx((150, 155, (160.5 - 40) / 2, (120.5 - 20) / 2))
    whole = read(
        tmp_path, "a.yaml", ROS + "binning_x: 0\nbinning_y: 0\nroi: {x_offset: 0, height: 0, width: 0}\n"
    )
    assert (whole.width_px, whole.matrix) == (320, STRAIGHT[2])


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("roi: {x_offset: 300, y_offset: 0, height: 120, width: 160}", "roi: .*expected a part of 320 x 240"),
        ("roi: {x_offset: 0, y_offset: 0, height: 240, width: 320, do_rectify: true}", "roi.do_rectify"),
        ("binning_x: 1.5", "binning_x: 1.5, expected a whole number"),
    ],
)
def test_regions_that_are_none_are_refused(tmp_path: Path, field: str, message: str) -> None:
    assert re.search(message, refusal(tmp_path, "a.yaml", ROS + field + "\n"))


LENSES = [
    ("brown-conrady", ()),
    ("brown-conrady", (-0.1, 0.02, 0.003, -0.002, 0.01)),
    ("brown-conrady", (-0.1, 0.02, 0.003, -0.002, 0.01, 0.0, 0.0, 0.0, 0.001, 0.002, -0.003, 0.004)),
    ("fisheye", (0.01, 0.02, 0.0, 0.001)),
]


@pytest.mark.parametrize(("model", "coefficients"), LENSES)
@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_turned_camera_sees_what_the_turned_picture_shows(
    model: str, coefficients: tuple, quarters: int
) -> None:
    known = Calibration(
        width_px=320, height_px=240, matrix=(300, 310, 120.5, 90.5), model=model, coefficients=coefficients
    )  # type: ignore[arg-type]
    points = np.random.default_rng(0).uniform((-0.3, -0.3, 1), (0.4, 0.4, 2), (20, 3))
    uv, _ = project(calibrated_camera(known, 320, np.eye(4)), points)
    angle = np.pi / 2 * quarters
    again, _ = project(
        calibrated_camera(turned(known, quarters), 320, np.eye(4)),
        points
        @ np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]).T,
    )
    x, y = uv.T
    moved = {1: (240 - y, x), 2: (320 - x, 240 - y), 3: (y, 320 - x)}[quarters]
    np.testing.assert_allclose(again, np.column_stack(moved), atol=1e-6)


def test_a_tilted_sensor_cannot_be_turned() -> None:
    known = Calibration(
        width_px=320, height_px=240, matrix=(3, 3, 1, 1), coefficients=(*[0.0] * 12, 0.1, 0.0)
    )
    with pytest.raises(ValueError, match="tilted"):
        turned(known, 1)


def test_a_pipe_is_no_calibration(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "camera.yaml")
    with pytest.raises(ConfigError, match=r"camera\.yaml: is a pipe, expected a regular file"):
        read_calibration(tmp_path / "camera.yaml")

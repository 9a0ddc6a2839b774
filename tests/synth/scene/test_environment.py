"""Environment maps: what is read, what is refused, and what light comes out."""

from pathlib import Path

import cv2
import numpy as np
import OpenEXR
import pytest
from PIL import Image

from synth.errors import DataError
from synth.scene.background import crop_photo
from synth.scene.environment import (
    LEVELS_PX,
    Surround,
    directions,
    map_surround,
    open_environments,
    photo_key,
    photo_radiance,
    read_panorama,
    small_photo,
    surround,
    white,
)
from synth.system.pool import Pool
from synth.types import Background, Camera


def write_exr(path: Path, rgb: np.ndarray) -> Path:
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    with OpenEXR.File(header, {"RGB": np.ascontiguousarray(rgb, np.float32)}) as file:
        file.write(str(path))
    return path


def panorama(color: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> np.ndarray:
    return np.tile(np.array(color, np.float32), (64, 128, 1))


def arriving(light: Surround, n: tuple[float, float, float]) -> np.ndarray:
    h = np.array([*n, 1.0])
    return h @ light.irradiance @ h


@pytest.mark.parametrize("suffix", [".exr", ".hdr"])
def test_maps_are_read_in_linear_rgb(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"sky{suffix}"
    rgb = panorama((4.0, 2.0, 1.0))
    if suffix == ".exr":
        write_exr(path, rgb)
    else:
        assert cv2.imwrite(str(path), rgb[:, :, ::-1])
    assert read_panorama(path)[5, 7] == pytest.approx([4.0, 2.0, 1.0], rel=0.02)
    assert open_environments(tmp_path).names == (path.name,)


def test_values_that_are_not_finite_become_finite(tmp_path: Path) -> None:
    rgb = panorama()
    rgb[0, 0], rgb[1, 1] = np.nan, np.inf
    assert np.isfinite(map_surround(write_exr(tmp_path / "sky.exr", rgb)).levels[0]).all()


@pytest.mark.parametrize("name", ["sky.exr", "sky.hdr"])
def test_a_file_that_is_no_map_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"no map")
    with pytest.raises(DataError, match=f"{name}: not a readable environment map"):
        read_panorama(tmp_path / name)


def test_a_picture_of_another_shape_is_refused(tmp_path: Path) -> None:
    path = write_exr(tmp_path / "ball.exr", np.ones((64, 64, 3)))
    with pytest.raises(DataError, match=r"ball\.exr: .*64x64 px, expected a panorama twice as wide as high"):
        read_panorama(path)


def test_a_black_map_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"night\.exr: the map is black"):
        map_surround(write_exr(tmp_path / "night.exr", 0 * panorama()))


def test_a_folder_without_maps_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no environment maps \(\.exr, \.hdr\) in it"):
        open_environments(tmp_path)


def test_white_all_around_renders_white_from_every_side() -> None:
    for n in ((0.0, 0.0, 1.0), (0.6, 0.0, -0.8), (0.0, -1.0, 0.0)):
        assert arriving(white(), n) == pytest.approx([1, 1, 1], abs=0.01)
    assert all(level == pytest.approx(1) for level in white().levels)


def test_irradiance_is_that_of_the_integral_over_the_hemisphere() -> None:
    """Three coefficients of spherical harmonics a band: within 4 % for a sky brighter towards one side."""
    d, weight = directions(LEVELS_PX[0])
    sky = (1 + d @ [0.5, 0.2, 0.7])[:, None] ** 2 * [1.0, 0.8, 0.6]
    light = surround(sky.reshape(LEVELS_PX[0], LEVELS_PX[0], 3).astype(np.float32))
    sky /= (weight @ sky).mean() / weight.sum()
    for n in ((0.0, 0.0, 1.0), (0.6, 0.0, 0.8), (-0.8, 0.6, 0.0)):
        expected = (np.maximum(d @ n, 0) * weight) @ sky / np.pi
        assert arriving(light, n) == pytest.approx(expected, rel=0.04)


def test_the_brightest_side_of_a_map_faces_x(tmp_path: Path) -> None:
    rgb = 0.1 * panorama()
    rgb[20:30, 100:110] = 5.0
    light = map_surround(write_exr(tmp_path / "sky.exr", rgb))
    forwards, backwards, left, right = (
        arriving(light, n).mean() for n in ((1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0))
    )
    assert forwards > 1.5 * max(backwards, left, right)
    assert left == pytest.approx(right, rel=0.05)


def test_up_in_a_map_is_up_and_its_right_is_clockwise(tmp_path: Path) -> None:
    rgb = 0.1 * panorama()
    rgb[:32, :, 2] = 3.0
    rgb[28:36, 60:68] = 20.0  # faces +X once turned; 90 degrees to its right, at -Y, it is red
    rgb[20:44, 92:100, 0] = 5.0
    light = map_surround(write_exr(tmp_path / "sky.exr", rgb))
    assert arriving(light, (0, 0, 1))[2] > 2 * arriving(light, (0, 0, -1))[2]
    assert arriving(light, (0, -1, 0))[0] > 1.3 * arriving(light, (0, 1, 0))[0]


def test_a_sun_does_not_outshine_the_sky(tmp_path: Path) -> None:
    rgb = panorama()
    rgb[20, 40] = 60000.0
    assert map_surround(write_exr(tmp_path / "sky.exr", rgb)).levels[0].max() < 30


def test_rough_levels_are_blurred_and_as_bright() -> None:
    noise = np.random.default_rng(0).uniform(0, 2, (LEVELS_PX[0], LEVELS_PX[0], 3)).astype(np.float32)
    levels = surround(noise).levels
    spread = [level.std() for level in levels]
    assert spread == sorted(spread, reverse=True)
    assert [level.mean() for level in levels] == pytest.approx([1.0] * len(levels), abs=0.05)


def photo_bright_at(x: int, y: int) -> np.ndarray:
    photo = np.full((24, 32, 3), 0.05, np.float32)
    photo[y - 2 : y + 2, x - 3 : x + 3] = [0.9, 0.6, 0.3]
    return photo


def test_a_photo_lights_from_the_side_on_which_it_is_bright() -> None:
    """The camera's frame: x to the right, y down."""
    light = surround(photo_radiance(photo_bright_at(27, 4)))
    assert arriving(light, (1, 0, 0)).mean() > 1.3 * arriving(light, (-1, 0, 0)).mean()
    assert arriving(light, (0, -1, 0)).mean() > 1.3 * arriving(light, (0, 1, 0)).mean()


def test_a_photos_key_light_has_its_place_and_colour() -> None:
    place, color, luminance = photo_key(photo_bright_at(27, 4))
    assert place[0] > 0.5
    assert place[1] < -0.4
    assert color[0] == 1.0 > color[1] > color[2] > 0.4
    assert 0.05 < luminance < 0.15


@pytest.mark.parametrize("size", [(640, 480), (360, 640)])
def test_light_comes_from_what_the_image_shows_of_its_photo(tmp_path: Path, size: tuple[int, int]) -> None:
    photo = np.zeros((300, 400, 3), np.uint8)
    photo[:, 300:] = 255
    Image.fromarray(photo).save(tmp_path / "a.png")
    background = Background("photo", "a.png", (0.0, 0.0, 1.0, 1.0), False, 0, 1.0, 0.5, False)
    small = small_photo(Pool(tmp_path, ("a.png",)), background, Camera(*size, np.eye(3), np.eye(4)))
    shown = crop_photo(photo, background.crop, background.flip, *size)
    assert small.shape[0] / small.shape[1] == pytest.approx(size[1] / size[0], rel=0.05)
    assert (small.max() > 0.5) == bool(shown.max() > 128)

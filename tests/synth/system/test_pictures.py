"""Pictures of any depth are seen as people see them; those that are not read are named."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from synth.errors import DataError
from synth.system.pictures import eight_bits, images_in, left_out, load_rgb, read_image, unread_below
from synth.system.pool import open_pool

RAMP = np.linspace(0, 1, 48).reshape(6, 8)


@pytest.mark.parametrize("read", [read_image, load_rgb])
@pytest.mark.parametrize("most", [255, 4095, 65535])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_grey_of_8_12_or_16_bits_in_16(tmp_path: Path, most: int, suffix: str, read) -> None:
    Image.fromarray((RAMP * most).astype(np.uint16)).save(tmp_path / f"a.{suffix}")
    found = read(tmp_path / f"a.{suffix}")
    assert found.shape == (6, 8, 3)
    np.testing.assert_allclose(found[:, :, 1], RAMP * 255, atol=1)


@pytest.mark.parametrize("read", [read_image, load_rgb])
@pytest.mark.parametrize("most", [1, 1.2, 255, 4095, 65535])
def test_grey_in_floats(tmp_path: Path, most: float, read) -> None:
    values = (RAMP * most).astype(np.float32)
    values[0, 0] = np.nan
    Image.fromarray(values).save(tmp_path / "a.tiff")
    found = read(tmp_path / "a.tiff")
    white = 1 if most < 2 else most
    np.testing.assert_allclose(found[:, :, 0], np.clip(RAMP * most / white, 0, 1) * 255, atol=1)


def test_larger_values_than_any_white_are_refused(tmp_path: Path) -> None:
    Image.fromarray((RAMP * 1e6).astype(np.float32)).save(tmp_path / "a.tiff")
    with pytest.raises(DataError, match=r"a\.tiff.*values up to 1e\+06, expected 65535 at most"):
        read_image(tmp_path / "a.tiff")


@pytest.mark.parametrize("read", [read_image, load_rgb])
@pytest.mark.parametrize("most", [4095, 65535])
@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_colour_of_12_or_16_bits_in_16(tmp_path: Path, most: int, suffix: str, read) -> None:
    bgr = np.stack([RAMP * 0.25, RAMP * 0.5, RAMP], axis=2)
    assert cv2.imwrite(str(tmp_path / f"a.{suffix}"), (bgr * most).astype(np.uint16))
    np.testing.assert_allclose(read(tmp_path / f"a.{suffix}"), bgr[:, :, ::-1] * 255, atol=1)


@pytest.mark.parametrize("orientation", [3, 6])
def test_deep_pictures_are_turned_too(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray((RAMP * 4095).astype(np.uint16)).save(tmp_path / "a.png", exif=exif)
    turned = np.rot90(RAMP, {3: 2, 6: -1}[orientation])
    np.testing.assert_allclose(read_image(tmp_path / "a.png")[:, :, 0], turned * 255, atol=1)


def test_negative_values_are_black() -> None:
    assert eight_bits(np.array([[-5, 255]], np.int32)).tolist() == [[0, 255]]
    assert eight_bits(np.array([[-5.0, 1.0]])).tolist() == [[0, 255]]


@pytest.mark.parametrize("suffix", [".avif", ".jfif", ".jpe", ".jp2", ".AVIF"])
def test_further_kinds_of_files_are_read(tmp_path: Path, suffix: str) -> None:
    Image.new("RGB", (16, 8), (200, 40, 40)).save(tmp_path / f"a{suffix}")
    (path,) = images_in(tmp_path)
    for read in (read_image, load_rgb):
        assert np.abs(read(path).astype(int) - (200, 40, 40)).max() < 12


def test_what_is_left_out_is_counted_and_named(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.jpg")
    assert left_out(tmp_path) == []
    for name in ("1.HEIC", "2.heif", "raw.DNG", "g.gif", "._a.jpg", "._b.heic", "notes.txt"):
        (tmp_path / name).write_bytes(b"\0")
    (tmp_path / "empty").mkdir()
    (tmp_path / "more").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "more" / "b.png")
    assert [path.name for path in images_in(tmp_path)] == ["a.jpg"]
    unread, folders = left_out(tmp_path)
    assert unread == "4 pictures (1.HEIC, 2.heif, g.gif, …) not read: convert to JPEG or PNG"
    assert folders == "1 folder (more) of pictures not looked into: name them too"
    assert unread_below(tmp_path) == [unread]
    assert open_pool(tmp_path, (".jpg", ".png"), "photos").names == ("a.jpg", "more/b.png")

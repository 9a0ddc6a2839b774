import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from synth.errors import DataError
from synth.scene.background import crop_photo, load_photo, open_photos
from synth.scene.surfaces import SURFACES, surface


@pytest.mark.parametrize("kind", SURFACES)
def test_surface_is_reproducible_and_differs_by_seed(kind: str) -> None:
    first = surface(kind, 5).copy()
    surface.cache_clear()
    assert (surface(kind, 5) == first).all()
    assert (surface(kind, 6) != first).any()


@pytest.mark.parametrize("kind", ["stone", "metal", "plain", "speckle"])
def test_surface_tiles_without_a_seam(kind: str) -> None:
    tile = surface(kind, 2).astype(float)
    inner = np.abs(np.diff(tile, axis=1)).mean()
    seam = np.abs(tile[:, 0] - tile[:, -1]).mean()
    assert seam < 2 * inner + 1


def test_crop_has_the_images_size_and_its_flip_is_mirrored() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (90, 160, 3), dtype=np.uint8)
    plain = crop_photo(photo, (0.1, 0.2, 0.5, 0.5), False, 64, 48)
    assert plain.shape == (48, 64, 3)
    mirrored = crop_photo(photo, (0.1, 0.2, 0.5, 0.5), True, 64, 48)
    assert np.abs(mirrored.astype(int) - plain[:, ::-1].astype(int)).max() <= 1


def test_pool_lists_photos_in_sorted_order(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "notes.txt"):
        if name.endswith("txt"):
            (tmp_path / name).write_text("x")
        else:
            Image.new("RGB", (8, 8)).save(tmp_path / name, "PNG" if name.endswith("png") else "JPEG")
    assert open_photos(tmp_path).names == ("a.JPG", "b.png")
    assert load_photo(tmp_path / "b.png").shape == (8, 8, 3)


def test_missing_or_empty_pool_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no background photos"):
        open_photos(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        open_photos(tmp_path / "absent")


def test_broken_photo_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    for read in (load_photo, lambda path: open_photos(path.parent)):
        with pytest.raises(DataError, match=r"bad\.jpg"):
            read(tmp_path / "bad.jpg")


def test_names_that_are_not_utf8_are_refused_and_folders_are_no_photos(tmp_path: Path) -> None:
    (tmp_path / "folder.jpg").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    assert open_photos(tmp_path).names == ("a.png",)
    (tmp_path / "a.png").rename(os.fsdecode(os.fsencode(tmp_path / "caf") + b"\xe9.png"))
    with pytest.raises(DataError, match=r"'caf\\udce9\.png' is not UTF-8"):
        open_photos(tmp_path)

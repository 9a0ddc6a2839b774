"""The downloaded photos and their truth; and what happens where nothing can be downloaded."""

import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from synth.dataset.coco import Category, KeypointDataset, read_coco
from synth.dataset.validate import validate_dataset
from synth.errors import DataError, EnvironmentProblem
from synth.fetch import chessboards, pools
from synth.fetch.corners import KEYPOINT_AT
from synth.fetch.pins import BACKGROUND_SHA256, CHESSBOARD_SHA256, ENVIRONMENT_SHA256
from synth.objects.load import load_schema


@pytest.fixture(scope="module")
def boards() -> tuple[Path, KeypointDataset]:
    folder = chessboards.chessboard_photos()
    return folder, read_coco(folder / "annotations.json")


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MESHMARK_CACHE", str(tmp_path))
    return tmp_path


def test_26_photos_each_hold_one_whole_board(boards: tuple[Path, KeypointDataset]) -> None:
    _, dataset = boards
    assert len(dataset.images) == 26
    for image in dataset.images:
        (board,) = image.annotations
        assert (board.keypoints[:, 2] == 2).all(), image.file_name


def test_photo_labels_follow_the_object(boards: tuple[Path, KeypointDataset]) -> None:
    folder, dataset = boards
    name, category_id, schema, _ = load_schema("chessboard")
    assert dataset.categories == (Category(category_id, name, schema),)
    assert set(schema.names) == set(KEYPOINT_AT)
    report = validate_dataset(folder, dataset.categories[0])
    assert report.faults == ()
    assert report.trainable_rate == 1


def test_photo_boards_are_never_mirrored(boards: tuple[Path, KeypointDataset]) -> None:
    _, dataset = boards
    names = dataset.categories[0].schema.names
    for image in dataset.images:
        at = dict(zip(names, image.annotations[0].keypoints[:, :2], strict=True))
        (ax, ay), (bx, by) = at["tr"] - at["tl"], at["bl"] - at["tl"]
        assert ax * by - ay * bx > 0, image.file_name


def test_photo_square_next_to_tl_and_bl_is_black_and_next_to_tr_and_br_is_white(
    boards: tuple[Path, KeypointDataset],
) -> None:
    """The grey value just outside each corner, diagonally: the board's own corner squares."""
    folder, dataset = boards
    names = dataset.categories[0].schema.names
    for image in dataset.images:
        gray = cv2.imread(str(folder / image.file_name), cv2.IMREAD_GRAYSCALE)
        assert gray is not None
        at = dict(zip(names, image.annotations[0].keypoints[:, :2], strict=True))
        right, left = (at["tr"] - at["tm"]) / 4, (at["tl"] - at["tm"]) / 4
        down_left, down_right = (at["bl"] - at["tl"]) / 5, (at["br"] - at["tr"]) / 5
        values = {}
        for name, along, across in (
            ("tl", left, -down_left),
            ("tr", right, -down_right),
            ("br", right, down_right),
            ("bl", left, down_left),
        ):
            x, y = at[name] + 0.2 * along + 0.2 * across
            values[name] = int(gray[int(y), int(x)])
        assert max(values["tl"], values["bl"]) + 40 < min(values["tr"], values["br"]), (
            image.file_name,
            values,
        )


def test_photo_of_the_same_moment_shows_the_same_board_in_both_cameras(
    boards: tuple[Path, KeypointDataset],
) -> None:
    """left07 and right07 are one board seen from two places: its top row points the same way in both."""
    _, dataset = boards
    by_name = {Path(i.file_name).stem: i.annotations[0].keypoints[:, :2] for i in dataset.images}
    names = dataset.categories[0].schema.names
    tl, tr = names.index("tl"), names.index("tr")
    for number in ("01", "02", "05", "07", "12", "13"):
        left, right = (by_name[f"{side}{number}"] for side in ("left", "right"))
        a, b = left[tr] - left[tl], right[tr] - right[tl]
        assert a @ b > 0.9 * np.linalg.norm(a) * np.linalg.norm(b), number


def test_second_call_downloads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = chessboards.chessboard_photos()
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: pytest.fail("a process was started"))
    assert chessboards.chessboard_photos() == folder


@pytest.mark.slow
def test_stale_labels_are_made_anew(empty_cache: Path, boards: tuple[Path, KeypointDataset]) -> None:
    images = empty_cache / "chessboards-v1/images"
    images.parent.mkdir()
    images.symlink_to(boards[0] / "images")
    (images.parent / "annotations.json").write_text('{"images": [], "annotations": [], "categories": []}')
    assert len(read_coco(chessboards.chessboard_photos() / "annotations.json").images) == 26


def test_altered_photo_is_refused(empty_cache: Path) -> None:
    images = empty_cache / "chessboards-v1/images"
    images.mkdir(parents=True)
    for name in CHESSBOARD_SHA256:
        (images / name).write_bytes(b"no photo")
    with pytest.raises(
        EnvironmentProblem, match=r"left01\.jpg: absent or altered; delete .* to fetch it again"
    ):
        chessboards.chessboard_photos()


def test_without_any_source_the_user_is_told_what_to_do_and_nothing_stays(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr(chessboards, "CHESSBOARD_URL", "http://127.0.0.1:9/")
    with pytest.raises(
        EnvironmentProblem, match=r"copy left01\.jpg .* into .*chessboards-v1/images"
    ) as caught:
        chessboards.chessboard_photos()
    assert "\n" not in str(caught.value)
    assert list(empty_cache.iterdir()) == []


def test_without_packages_there_is_no_pool_but_a_hint(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert pools.background_photos() is None
    assert "BACKGROUNDS=folder" in capsys.readouterr().err
    assert list(empty_cache.iterdir()) == []


def test_pool_is_flat_small_jpegs_with_their_sources(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Two photos of a made-up package: one as pinned, one altered."""
    unpacked = tmp_path_factory.mktemp("package")
    (unpacked / "usr/share/doc/photos").mkdir(parents=True)
    (unpacked / "usr/share/doc/photos/copyright").write_text("free")
    Image.fromarray(np.zeros((1000, 2000, 4), dtype=np.uint8)).save(unpacked / "lake.png")
    (unpacked / "hill.png").write_bytes(b"other")
    pins = {"photos": {"lake.png": pools.sha256_of(unpacked / "lake.png"), "hill.png": "0" * 64}}
    monkeypatch.setattr(pools, "BACKGROUND_SHA256", pins)
    monkeypatch.setattr(pools, "unpack_debian", lambda package, scratch: unpacked)
    pool = pools.background_photos()
    assert pool is not None
    assert sorted(p.name for p in pool.iterdir()) == ["SOURCE.md", "lake.jpg", "photos.copyright"]
    with Image.open(pool / "lake.jpg") as image:
        assert (image.size, image.mode) == ((1280, 640), "RGB")
    assert "lake.jpg: photos, lake.png" in (pool / "SOURCE.md").read_text()


def test_environment_maps_are_copied_with_their_sources(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    unpacked = tmp_path_factory.mktemp("package")
    (unpacked / "usr/share/doc/maps").mkdir(parents=True)
    (unpacked / "usr/share/doc/maps/copyright").write_text("free")
    (unpacked / "sky.exr").write_bytes(b"light")
    monkeypatch.setattr(
        pools, "ENVIRONMENT_SHA256", {"maps": {"sky.exr": pools.sha256_of(unpacked / "sky.exr")}}
    )
    monkeypatch.setattr(pools, "unpack_debian", lambda package, scratch: unpacked)
    pool = pools.environment_maps()
    assert pool is not None
    assert sorted(p.name for p in pool.iterdir()) == ["SOURCE.md", "maps.copyright", "sky.exr"]
    assert (pool / "sky.exr").read_bytes() == b"light"


def test_without_packages_there_are_no_maps_but_a_hint(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert pools.environment_maps() is None
    assert "ENVIRONMENTS=folder" in capsys.readouterr().err


@pytest.mark.parametrize("pins", [BACKGROUND_SHA256, ENVIRONMENT_SHA256])
def test_pool_names_are_unique_once_flat(pins: dict[str, dict[str, str]]) -> None:
    names = [Path(name).stem.lower() for files in pins.values() for name in files]
    assert len(names) == len(set(names))


def test_photo_without_a_board_is_a_named_error(tmp_path: Path) -> None:
    name, category_id, schema, _ = load_schema("chessboard")
    Image.new("L", (320, 240), 128).save(tmp_path / "wall.jpg")
    with pytest.raises(DataError, match=r"wall\.jpg: no chessboard found"):
        chessboards.label_chessboard(tmp_path / "wall.jpg", 1, Category(category_id, name, schema))

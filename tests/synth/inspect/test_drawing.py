"""Pictures of labels: points land where labels say, sheets hold every image, files are whole."""

import io
from pathlib import Path

import cv2
import numpy as np
import pytest

from synth.errors import UserError
from synth.inspect.drawing import PALETTE, contact_sheet, draw_objects, write_image
from synth.system import progress
from synth.system.progress import clock, track
from synth.types import KeypointSchema

SCHEMA = KeypointSchema(("a", "b"), ((0, 1),), None, (0.05, 0.05))
BLANK = np.full((60, 80, 3), 128, dtype=np.uint8)


def centre_of_change(picture: np.ndarray) -> np.ndarray:
    """Middle of all changed pixels, in continuous pixels."""
    rows, columns = np.nonzero((picture != BLANK).any(axis=2))
    weight = np.abs(picture[rows, columns].astype(float) - 128).sum(1)
    return np.average(np.column_stack([columns, rows]) + 0.5, axis=0, weights=weight)


@pytest.mark.parametrize("at", [(40.5, 30.5), (40.0, 30.0), (20.25, 41.75)])
def test_keypoint_is_drawn_around_its_continuous_pixel_position(at: tuple[float, float]) -> None:
    one = KeypointSchema(("a",), (), None, (0.05,))
    picture = draw_objects(BLANK, one, [[-50, -50, -40, -40]], [[[*at, 2]]])
    assert centre_of_change(picture) == pytest.approx(at, abs=0.1)


def test_visible_keypoint_is_filled_and_occluded_one_is_hollow() -> None:
    boxes, points = [[-50, -50, -40, -40]], [[[20.5, 30.5, 2], [60.5, 30.5, 1]]]
    picture = draw_objects(BLANK, KeypointSchema(("a", "b"), (), None, (0.1, 0.1)), boxes, points)
    assert tuple(picture[30, 20]) == PALETTE[0]
    assert tuple(picture[30, 60]) == (128, 128, 128)


def test_unlabelled_keypoint_and_its_skeleton_line_are_not_drawn() -> None:
    picture = draw_objects(BLANK, SCHEMA, [[-50, -50, -40, -40]], [[[20, 30, 0], [60, 30, 0]]])
    assert (picture == BLANK).all()


def test_skeleton_line_joins_labelled_keypoints() -> None:
    picture = draw_objects(
        BLANK, SCHEMA, [[-50, -50, -40, -40]], [[[20, 30, 2], [60, 30, 1]]], color=(255, 0, 0)
    )
    assert picture[29:31, 40, 0].max() > 200


def test_drawing_leaves_the_given_image_unchanged() -> None:
    image = BLANK.copy()
    draw_objects(image, SCHEMA, [[10, 10, 50, 50]], [[[20, 30, 2], [60, 30, 1]]], names=True)
    assert (image == BLANK).all()


def test_keypoints_far_outside_the_image_are_no_error() -> None:
    draw_objects(BLANK, SCHEMA, [[-1e9, 10, 1e9, 50]], [[[-1e9, 30, 2], [1e9, 30, 1]]], names=True)


def test_no_objects_gives_an_equal_copy() -> None:
    picture = draw_objects(BLANK, SCHEMA, np.zeros((0, 4)), np.zeros((0, 2, 3)))
    assert (picture == BLANK).all()
    assert picture is not BLANK


def test_wrong_number_of_keypoints_is_named() -> None:
    with pytest.raises(ValueError, match=r"shape \(1, 3, 3\), expected \(1, 2, 3\)"):
        draw_objects(BLANK, SCHEMA, [[0, 0, 1, 1]], np.zeros((1, 3, 3)))


def test_contact_sheet_shows_every_image_in_its_tile() -> None:
    colors = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255)]
    shapes = [(30, 60), (60, 30), (50, 50), (200, 100), (7, 9)]
    images = [np.full((*s, 3), c, dtype=np.uint8) for s, c in zip(shapes, colors, strict=True)]
    sheet = contact_sheet(images, columns=3, tile_px=100)
    assert sheet.shape == (200, 300, 3)
    assert contact_sheet(images[:1], columns=3, tile_px=100).shape == (50, 100, 3)
    middles = [(50, 50), (50, 150), (50, 250), (150, 50), (150, 150)]
    assert [tuple(sheet[m]) for m in middles] == colors


def test_captions_add_a_strip_below_each_row() -> None:
    plain = contact_sheet([BLANK] * 3, columns=2, tile_px=100)
    captioned = contact_sheet([BLANK] * 3, columns=2, tile_px=100, captions=["one", "two", "three"])
    assert captioned.shape[0] > plain.shape[0]
    assert captioned[plain.shape[0] // 2 :][:20].max() > 200


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_written_picture_reads_back_in_rgb_order(tmp_path: Path, suffix: str) -> None:
    rgb = np.zeros((16, 16, 3), dtype=np.uint8)
    rgb[:, :, 0] = 250
    write_image(tmp_path / f"new/x{suffix}", rgb)
    read = cv2.cvtColor(cv2.imread(str(tmp_path / f"new/x{suffix}")), cv2.COLOR_BGR2RGB)
    assert np.abs(read.astype(int) - rgb).max() < 10
    assert [f.name for f in (tmp_path / "new").iterdir()] == [f"x{suffix}"]


def test_unknown_picture_suffix_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"x\.tiff: pictures are written as \.png or \.jpg"):
        write_image(tmp_path / "x.tiff", BLANK)


def test_clock_shows_hours_when_needed() -> None:
    assert [clock(5), clock(223), clock(3700)] == ["0:05", "3:43", "1:01:40"]


def test_track_yields_everything_and_prints_one_last_line_off_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    assert list(track("abc", total=5, label="work", start=2)) == ["a", "b", "c"]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("work: 5/5 ")


def test_track_prints_a_line_at_every_interval(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    list(track("ab", total=2, label="work"))
    assert [text.split()[1] for text in capsys.readouterr().err.splitlines()] == ["1/2", "2/2"]


def test_track_draws_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    assert list(track("ab", total=2, label="work")) == ["a", "b"]
    assert "2/2" in terminal.getvalue()

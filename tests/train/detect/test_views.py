"""Parts of photos that the network is shown: tiles for small objects, crops that reach beyond the edge."""

import json
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from synth.dataset.coco import object_category
from synth.errors import ConfigError
from train import runtime
from train.config import TrainConfig, with_changes
from train.data.objects import resize
from train.detect.predict import Detector, InferenceSettings, tiles_in_words, tiling_for
from train.model.snapshot import make_meta
from train.runtime import (
    MAX_VIEWS,
    Exported,
    ExportedObject,
    OnnxDetector,
    Tiling,
    best_of_views,
    cut,
    cut_off,
)

DEVICE = torch.device("cpu")


@pytest.mark.parametrize("readable", [0.05, 0.1, 0.25])
@pytest.mark.parametrize(("width", "height"), [(4000, 3000), (1000, 1700), (3001, 200)])
def test_every_object_lies_whole_in_a_view_that_shows_it_large_enough(
    readable: float, width: int, height: int
) -> None:
    views = np.array(Tiling(readable, smallest_px=30).views(width, height))
    rng = np.random.default_rng(0)
    for size in (30, 45, 60, 95, 180):
        low = rng.uniform(0, np.array([width, height]) - size)
        inside = (views[:, :2] <= low).all(1) & (views[:, :2] + views[:, 2:] >= low + size).all(1)
        assert (inside & (size >= 0.99 * readable * views[:, 2])).any()


def test_tiles_lie_in_the_photo_and_the_first_view_is_the_whole() -> None:
    first, *tiles = Tiling(0.1, smallest_px=30).views(1000, 700)
    assert first == (0, 0, 1000)
    assert {side for *_, side in tiles} == {300, 600}
    assert all(left >= 0 and top >= 0 and left + side <= 1000 for left, top, side in tiles)
    assert max(top + side for _, top, side in tiles) == 700


@pytest.mark.parametrize(
    "tiling", [Tiling(), Tiling(0.1, 0.1), Tiling(0.1, 0.01, 0), Tiling(0.1, 0.01, 100)], ids=str
)
def test_photos_are_read_whole_where_that_shows_all_that_is_wanted(tiling: Tiling) -> None:
    assert tiling.views(1000, 700) == [(0, 0, 1000)]


def test_tiles_are_for_objects_smaller_than_the_network_reads(tiny_config: TrainConfig) -> None:
    config = with_changes(tiny_config, {"model": {"long_side_px": 320}}, "x")
    meta = make_meta(config, [object_category("glue_tube")[0]], [None], {})
    assert tiling_for(meta, InferenceSettings()) == Tiling(0.075, 1.0)
    large = tiling_for(replace(meta, smallest_share=0.15), InferenceSettings())
    assert (large.readable_share, len(large.views(4000, 3000))) == (0.15, 1)
    small = tiling_for(replace(meta, smallest_share=0.0375), InferenceSettings())
    assert {side for *_, side in small.views(4000, 3000)} == {4000, 2000}
    asked = tiling_for(replace(meta, smallest_share=0.4), InferenceSettings(smallest_px=30))
    assert min(side for *_, side in asked.views(4000, 3000)) == 120
    finer = tiling_for(meta, InferenceSettings(long_side_px=640))
    assert finer.readable_share == 0.0375


def test_boxes_at_a_tiles_border_are_cut_off_but_not_those_at_the_photos() -> None:
    boxes = np.array([[0, 0, 50, 50], [150, 20, 200, 60], [20, 20, 90, 60], [99, 99.0, 300, 199]])
    assert cut_off(boxes, (0, 0, 200), 1000, 200).tolist() == [False, True, False, True]
    assert cut_off(boxes, (0, 0, 1000), 1000, 200).tolist() == [False] * 4


def test_an_object_seen_in_several_views_counts_once_at_its_best() -> None:
    boxes = np.array([[0.0, 0, 100, 40], [2, 0, 98, 40], [60, 0, 100, 40], [0, 0, 60, 40], [0, 0, 100, 40]])
    scores = np.array([0.7, 0.9, 0.8, 0.5, 0.6])
    assert best_of_views(boxes, scores, ["part"] * 5, [0, 1, 2, 3, 1]) == [1, 4]
    assert best_of_views(boxes, scores, ["part"] * 4 + ["other"], [0, 1, 2, 3, 2]) == [1, 4]
    assert best_of_views(boxes[:0], scores[:0], [], []) == []


def marks(picture: Any) -> dict[str, Any]:
    """What a network finds that knows bright rectangles, and only those at least 6 px long."""
    grey = np.ascontiguousarray(picture[..., 0] > 128, dtype=np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(grey)
    rows = [row for row in stats[1:].astype(np.float64) if max(row[2:4]) >= 6]
    boxes = np.array([[x, y, x + w, y + h] for x, y, w, h, _ in rows]).reshape(-1, 4)
    return {
        "boxes": boxes,
        "scores": np.full(len(boxes), 0.9),
        "labels": np.ones(len(boxes), dtype=np.int64),
        "keypoints": boxes.reshape(-1, 2, 2),
        "keypoints_scores": np.ones((len(boxes), 2)),
        "keypoints_visibility": np.ones((len(boxes), 2)),
    }


class Marks:
    """Stands in for the network, as PyTorch and as ONNX Runtime call it; counts what it is shown."""

    training = False
    roi_heads = type("Heads", (), {"score_thresh": 0.05})

    def __init__(self) -> None:
        self.looks = 0

    def eval(self) -> None: ...

    def train(self, mode: bool) -> None: ...

    def find_objects(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        self.looks += 1
        found = marks((image * 255).permute(1, 2, 0).numpy())
        return {name: torch.from_numpy(values) for name, values in found.items()}

    def run(self, _: None, inputs: dict[str, Any]) -> list[Any]:
        self.looks += 1
        return list(marks(inputs["image"]).values())


def exported(tiling: Tiling, detections: int | None = None) -> Exported:
    names = object_category("glue_tube")[0].schema.names
    kind = ExportedObject("glue_tube", names, (), None, (0.1, 0.1), None)
    return Exported((kind,), 80, 0.05, 0.5, 40, 1.5, 0.05, tiling, detections)


def field(*rectangles: tuple[int, int, int, int]) -> Any:
    """A dark photo of 1200 x 800 with bright rectangles: x, y, width, height."""
    rgb = np.zeros((800, 1200, 3), dtype=np.uint8)
    for x, y, width, height in rectangles:
        rgb[y : y + height, x : x + width] = 255
    return rgb


TILING = Tiling(0.1, smallest_px=16)
SMALL, ON_A_BORDER, LARGE = (700, 500, 16, 8), (152, 300, 20, 12), (100, 60, 900, 150)


def test_small_objects_are_found_in_tiles_and_none_twice() -> None:
    rgb = field(SMALL, ON_A_BORDER, LARGE)
    network: Any = Marks()
    category = object_category("glue_tube")[0]
    whole = Detector(network, [category], 80, DEVICE, 40, 1.5).found(rgb)
    assert len(whole.boxes) == 1
    network.looks = 0
    detector = Detector(network, [category], 80, DEVICE, 40, 1.5, tiling=TILING)
    found = detector.found(rgb)
    assert network.looks == 1 + detector.n_tiles(1200, 800) + 3
    expected = [[x, y, x + w, y + h] for x, y, w, h in (LARGE, ON_A_BORDER, SMALL)]
    order = np.argsort(found.boxes[:, 0])
    np.testing.assert_allclose(found.boxes[order], np.array(expected, dtype=np.float64), atol=20)
    np.testing.assert_allclose(found.boxes[order][1:], expected[1:], atol=1)


def test_an_exported_file_reads_the_same_tiles() -> None:
    ours: Any = Marks()
    theirs: Any = Marks()
    category = object_category("glue_tube")[0]
    rgb = field(SMALL, ON_A_BORDER, LARGE)
    expected = Detector(ours, [category], 80, DEVICE, 40, 1.5, tiling=TILING)(rgb)
    found = OnnxDetector(theirs, exported(TILING), 0.05)(rgb)
    assert theirs.looks == ours.looks
    assert len(found) == len(expected) == 3
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a.box_xyxy, b.box_xyxy, atol=1e-4)
        np.testing.assert_allclose(a.keypoints, b.keypoints, atol=1e-4)


def test_the_most_detections_asked_for_are_those_of_the_photo() -> None:
    network: Any = Marks()
    category = object_category("glue_tube")[0]
    rgb = field(SMALL, ON_A_BORDER, LARGE)
    assert len(Detector(network, [category], 80, DEVICE, tiling=TILING, detections=2).found(rgb).boxes) == 2
    assert len(OnnxDetector(network, exported(TILING, detections=2), 0.05)(rgb)) == 2


def test_how_photos_were_read_is_said() -> None:
    assert tiles_in_words([]) == tiles_in_words([0, 0]) == "read whole"
    assert tiles_in_words([12, 12]) == "read whole and in 12 overlapping tiles"
    assert tiles_in_words([0, 12]) == "read whole and in 0 to 12 overlapping tiles"


def padded(rgb: Any, left: int, top: int, side: int) -> Any:
    rows, columns = (np.arange(start, start + side) for start in (top, left))
    return rgb[rows.clip(0, rgb.shape[0] - 1)[:, None], columns.clip(0, rgb.shape[1] - 1)]


SQUARES = [(2, 3, 4), (-3, -2, 6), (5, 4, 9), (-4, -4, 20), (7, 5, 2)]


@pytest.mark.parametrize(("left", "top", "side"), SQUARES)
def test_a_cut_goes_on_with_the_rim_beyond_the_picture(left: int, top: int, side: int) -> None:
    rgb = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    np.testing.assert_array_equal(cut(rgb, left, top, side, side, resize), padded(rgb, left, top, side))


@pytest.mark.parametrize(
    ("left", "top", "side"), [(-37, 20, 200), (100, 61, 333), (-50, -71, 301), (5, -9, 40)]
)
@pytest.mark.parametrize("scale", [resize, runtime.resize], ids=["opencv", "numpy"])
def test_a_scaled_cut_beyond_the_edge_is_that_of_the_picture_with_its_rim_drawn_out(
    left: int, top: int, side: int, scale: Any
) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (150, 220, 3), dtype=np.uint8)
    rgb = cv2.GaussianBlur(rgb, (0, 0), 6).astype(np.uint8)
    found = cut(rgb, left, top, side, 64, scale).astype(int)
    expected = resize(padded(rgb, left, top, side), 64, 64).astype(int)
    assert np.abs(found - expected).max() <= 6
    assert np.abs(found - expected).mean() < 1


def test_a_cut_far_beyond_a_panorama_takes_no_more_memory_than_its_part_of_it() -> None:
    rgb = np.zeros((100, 20_000, 3), dtype=np.uint8)
    tracemalloc.start()
    cut(rgb, -3000, -12_950, 26_000, 160, runtime.resize)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * rgb.nbytes


def test_files_of_before_there_were_tiles_read_photos_whole(tmp_path: Path) -> None:
    entry = {"format": 2, "objects": [], "long_side_px": 320, "score": 0.05, "nms": 0.5}
    read = runtime.read_metadata({runtime.METADATA: json.dumps(entry)}, "x.onnx")
    assert (read.tiling, read.detections) == (Tiling(), None)


@pytest.mark.parametrize(
    "wrong",
    [
        {"readable_share": 0.0},
        {"readable_share": 0.6},
        {"readable_share": float("nan")},
        {"smallest_share": 0.0},
        {"smallest_share": 2.0},
        {"smallest_px": -1.0},
        {"smallest_px": float("inf")},
    ],
)
def test_tilings_that_would_not_end_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Tiling(**wrong)


def test_a_photo_is_read_in_so_many_tiles_at_most() -> None:
    views = Tiling(0.1, smallest_px=1).views(4000, 3000)
    assert 1 < len(views) <= MAX_VIEWS
    assert min(side for *_, side in views) > 10


@pytest.mark.parametrize(("left", "top"), [(-30, 5), (-500, 5), (5, -30), (700, 900), (-31, -29)])
def test_squares_beyond_the_picture_show_its_edge(left: int, top: int) -> None:
    rgb = np.full((40, 60, 3), 7, dtype=np.uint8)
    assert (cut(rgb, left, top, 30, 16, resize) == 7).all()


def test_objects_too_small_to_see_are_not_asked_for() -> None:
    with pytest.raises(ConfigError, match=r"smallest object: 3 px, expected 0 .* at least 8"):
        InferenceSettings(smallest_px=3)

"""Mistakes by name: hand-made detections, hand-counted."""

import json
from dataclasses import replace

import numpy as np
import pytest

from synth.dataset.coco import Category
from synth.types import KeypointSchema
from train.score.mistakes import Mistakes, bias_in_words, count_mistakes, in_words
from train.score.outcomes import grouped, list_outcomes, nearest_keypoints
from train.types import Found, Truth

NAMES = ("a", "b", "c")
CATEGORIES = [Category(1, "thing", KeypointSchema(NAMES, (), None, (0.1,) * 3))]
BOX = [0.0, 0, 100, 100]
POINTS = [[10.0, 10, 2], [90, 10, 1], [50, 90, 0]]
PLACES = [[10.0, 10], [90, 10], [50, 90]]
AWAY = [[310.0, 260], [340, 260], [325, 290]]


def truth(*boxes: list[float], crowd: bool = False) -> Truth:
    n = len(boxes)
    return Truth(
        np.array(boxes).reshape(n, 4),
        np.ones(n, dtype=np.int64),
        np.array([POINTS] * n, dtype=float).reshape(n, 3, 3),
        np.full(n, 1e4),
        np.full(n, crowd),
    )


def found(*rows: tuple[list[float], float, list[list[float]]]) -> Found:
    return Found(
        np.array([r[0] for r in rows], dtype=float).reshape(-1, 4),
        np.array([r[1] for r in rows], dtype=float),
        np.ones(len(rows), dtype=np.int64),
        np.array([r[2] for r in rows], dtype=float).reshape(-1, 3, 2),
    )


def count(truth_: Truth, found_: Found) -> Mistakes:
    return count_mistakes(list_outcomes([truth_], [found_], CATEGORIES, [(400, 300)]))


def test_right_keypoints_are_no_mistakes_and_unlabelled_ones_do_not_count() -> None:
    m = count(truth(BOX), found((BOX, 0.9, [[15, 10], [90, 14], [0, 0]])))
    assert (m.keypoints, m.right, m.wrong_name, m.elsewhere, m.not_found) == (2, 2, 0, 0, 0)
    assert in_words(m, 640) == []


def test_keypoint_on_another_one_has_the_wrong_name() -> None:
    m = count(truth(BOX), found((BOX, 0.9, [[88, 12], [12, 10], [50, 90]])))
    assert (m.right, m.wrong_name, m.elsewhere) == (0, 2, 0)
    assert dict(m.wrong_names) == {("a", "b"): 1, ("b", "a"): 1}
    assert "2 of 2 keypoints stand on another keypoint" in in_words(m, 640)[0]


def test_keypoint_near_nothing_or_near_an_unlabelled_one_is_elsewhere() -> None:
    m = count(truth(BOX), found((BOX, 0.9, [[50, 50], [50, 90], [50, 90]])))
    assert (m.wrong_name, m.elsewhere) == (0, 2)
    assert "off by more than 10%" in in_words(m, 640)[0]


def test_own_place_counts_where_another_is_even_nearer() -> None:
    near = np.array([[10.0, 10, 2], [14, 10, 2]])
    assert nearest_keypoints(near, np.array([[13.0, 10], [14, 10]]), 100).tolist() == [0, 1]


def test_missed_object_says_how_small_it_is() -> None:
    m = count(truth([0.0, 0, 10, 4]), found())
    assert (m.objects, m.missed, m.keypoints, m.not_found) == (1, 1, 2, 2)
    assert m.missed_size == pytest.approx(10 / 400)
    assert "are 16 px long" in in_words(m, 640)[0]
    assert "train longer" in in_words(m, 4000)[0]


def test_found_twice_false_and_too_large_are_told_apart() -> None:
    detections = found(
        ([0.0, 0, 130, 120], 0.9, PLACES),
        (BOX, 0.6, PLACES),
        ([300.0, 250, 350, 300], 0.7, AWAY),
        ([300.0, 0, 350, 50], 0.4, AWAY),
    )
    m = count(truth(BOX), detections)
    assert (m.large_boxes, m.small_boxes, m.twice, m.false_finds) == (1, 0, 1, 1)


def test_generously_drawn_labels_are_named_where_boxes_are_smaller() -> None:
    m = count(truth([0.0, 0, 150, 100]), found((BOX, 0.9, PLACES)))
    assert (m.large_boxes, m.small_boxes) == (0, 1)
    assert any("drawn generously" in sentence for sentence in in_words(m, 640))


def test_bias_is_not_blamed_on_the_definition_while_names_are_swapped() -> None:
    right = count(truth(BOX), found((BOX, 0.9, PLACES)))
    assert "elsewhere in object.yaml" in bias_in_words(right)
    swapped = count(truth(BOX), found((BOX, 0.9, [[90, 10], [10, 10], [50, 90]])))
    assert "2 keypoints stand in the right place under the wrong name" in bias_in_words(swapped)
    assert "elsewhere in object.yaml" not in bias_in_words(swapped)


def test_misses_and_false_finds_are_told_apart_by_size_and_surroundings() -> None:
    objects = truth([50.0, 50, 150, 150], [140.0, 50, 240, 150], [0.0, 250, 10, 260])
    swapped = [[90.0, 10], [10, 10], [50, 90]]
    detections = found(
        ([50.0, 50, 150, 150], 0.9, [[x + 50, y + 50] for x, y in swapped]),
        ([300.0, 280, 360, 300], 0.8, AWAY),
        ([130.0, 100, 200, 200], 0.7, AWAY),
    )
    points = objects.keypoints.copy()
    points[..., :2] += objects.boxes[:, None, :2]
    groups = grouped(
        list_outcomes([replace(objects, keypoints=points)], [detections], CATEGORIES, [(400, 300)])
    )
    kinds = ("objects", "missed", "false_finds", "twice", "wrong_name")
    by_size = {row["from"]: tuple(row[kind] for kind in kinds) for row in groups["by_size"]}
    assert by_size == {0.0: (1, 1, 0, 0, 0), 0.08: (0, 0, 1, 0, 0), 0.16: (2, 1, 1, 0, 2)}
    where = {row["surroundings"]: tuple(row[kind] for kind in kinds) for row in groups["by_surroundings"]}
    assert where == {
        "free": (0, 0, 0, 0, 0),
        "overlapped": (2, 1, 1, 0, 2),
        "at the border": (1, 1, 1, 0, 0),
    }


def test_crowds_are_neither_missed_nor_found_falsely() -> None:
    m = count(truth(BOX, crowd=True), found((BOX, 0.9, PLACES)))
    assert (m.objects, m.keypoints, m.twice, m.false_finds) == (0, 0, 0, 0)
    assert m.missed_size is None


def test_counts_are_json() -> None:
    m = count(truth(BOX), found((BOX, 0.9, [[88, 12], [90, 10], [50, 90]])))
    raw = json.loads(json.dumps(m.as_json()))
    assert raw["wrong_names"] == [{"keypoint": "a", "stands_on": "b", "times": 1}]

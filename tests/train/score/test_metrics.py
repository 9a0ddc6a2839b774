import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from synth.dataset.coco import Category
from synth.types import KeypointSchema
from train.score.intervals import as_json
from train.score.matching import box_iou, keypoint_errors, match_detections, object_axes, oks
from train.score.metrics import evaluate, pck
from train.score.precision import average_precision
from train.types import Found, Truth

SCHEMA = KeypointSchema(("head", "tail"), ((0, 1),), (), (0.1, 0.1))
CATEGORIES = [Category(1, "thing", SCHEMA)]


def truth(*objects: tuple[list[float], list[list[float]]], crowd: bool = False) -> Truth:
    boxes = np.array([o[0] for o in objects], dtype=float).reshape(-1, 4)
    points = np.array([o[1] for o in objects], dtype=float).reshape(
        len(objects), len(objects[0][1]) if objects else 2, 3
    )
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    return Truth(boxes, np.ones(len(boxes), dtype=int), points, area, np.full(len(boxes), crowd))


def found(*detections: tuple[list[float], float, list[list[float]]], k: int = 2) -> Found:
    return Found(
        np.array([d[0] for d in detections], dtype=float).reshape(-1, 4),
        np.array([d[1] for d in detections], dtype=float),
        np.ones(len(detections), dtype=int),
        np.array([d[2] for d in detections], dtype=float).reshape(-1, k, 2),
    )


BOX = [0.0, 0, 100, 40]
ENDS = [[10.0, 20, 2], [90.0, 20, 2]]
RIGHT = [[10.0, 20], [90.0, 20]]


def test_oks_is_the_mean_over_labelled_keypoints() -> None:
    points = np.array([[0.0, 0, 2], [10.0, 0, 1], [5, 5, 0]])
    got = np.array([[[0.0, 0], [10.0, 20], [99, 99]], [[0.0, 0], [10.0, 0], [5, 5]]])
    expected = (1 + math.exp(-400 / (8 * 1000 * 0.1**2))) / 2
    assert oks(points, got, area=1000, sigmas=(0.1, 0.1, 0.1)) == pytest.approx([expected, 1.0])
    assert np.isnan(oks(points * [1, 1, 0], got, 1000, (0.1,) * 3)).all()


def test_hidden_keypoints_are_told_from_visible_ones() -> None:
    half_hidden = [[[10.0, 20, 2], [90.0, 20, 1]], [[10.0, 20, 1], [90.0, 20, 2]]]
    truths = [truth((BOX, points)) for points in half_hidden]
    said = ([0.9, 0.2], [0.6, 0.55])
    founds = [replace(found((BOX, 0.9, RIGHT)), keypoint_visibility=np.array([each])) for each in said]
    told = evaluate(truths, founds, CATEGORIES)["visibility"]
    assert (told["n_visible"], told["n_hidden"]) == (2, 2)
    assert told["auc"] == 0.75
    assert told["accuracy"] == 0.75
    assert told["calibration_error"] == pytest.approx((0.1 + 0.2 + 0.6 + 0.45) / 4)


def test_labels_that_call_all_visible_tell_nothing_of_hidden_ones() -> None:
    seen = replace(found((BOX, 0.9, RIGHT)), keypoint_visibility=np.array([[0.9, 0.2]]))
    told = evaluate([truth((BOX, ENDS))], [seen], CATEGORIES)["visibility"]
    assert (told["n_visible"], told["auc"], told["accuracy"]) == (0, None, None)


def test_iou_of_boxes() -> None:
    a, b = np.array([[0.0, 0, 10, 10]]), np.array([[5.0, 0, 15, 10], [20, 20, 30, 30]])
    np.testing.assert_allclose(box_iou(a, b), [[1 / 3, 0]])


def test_better_scored_detection_chooses_first_and_an_object_is_found_once() -> None:
    image = truth((BOX, ENDS))
    twice = found((BOX, 0.4, RIGHT), ([0, 0, 90, 40], 0.9, RIGHT))
    assert match_detections(image, twice, CATEGORIES) == [1]


def test_far_detection_finds_nothing() -> None:
    far = found(([300, 300, 400, 340], 0.9, [[310, 320], [390, 320]]))
    assert match_detections(truth((BOX, ENDS)), far, CATEGORIES) == [None]


@pytest.mark.parametrize(
    "drawn", [[10.0, 19, 90, 21], [-200.0, -200, 300, 300]], ids=["keypoints' extent", "generous"]
)
def test_keypoints_say_what_was_found_however_the_labels_box_was_drawn(drawn: list[float]) -> None:
    image = truth((drawn, ENDS))
    image = replace(image, area=np.array([4000.0]))
    got = found((BOX, 0.9, [[12.0, 20], [90, 22]]))
    assert box_iou(image.boxes, got.boxes).max() < 0.3
    assert match_detections(image, got, CATEGORIES) == [0]


def test_touching_objects_are_told_apart_by_keypoints_not_by_boxes() -> None:
    crossing = [[10.0, 5, 2], [90.0, 35, 2]], [[10.0, 35, 2], [90.0, 5, 2]]
    image = truth((BOX, crossing[0]), ([0.0, 0, 100, 41], crossing[1]))
    got = found(([0.0, 0, 100, 41], 0.9, [[10, 5], [90, 35]]), (BOX, 0.8, [[10, 35], [90, 5]]))
    assert match_detections(image, got, CATEGORIES) == [0, 1]


def test_boxes_say_what_was_found_where_keypoints_do_not() -> None:
    swapped, unlabelled = [[90.0, 20], [10, 20]], [[10.0, 20, 0], [90, 20, 0]]
    assert match_detections(truth((BOX, ENDS)), found((BOX, 0.9, swapped)), CATEGORIES) == [0]
    assert match_detections(truth((BOX, unlabelled)), found((BOX, 0.9, swapped)), CATEGORIES) == [0]


def test_keypoints_near_their_places_say_it_where_oks_is_strict_and_boxes_are_none() -> None:
    """A thin tube, whose keypoints have no extent across it."""
    strict = Category(1, "tube", KeypointSchema(("head", "tail"), (), None, (0.01, 0.01)))
    for points, expected in (
        ([[16.0, 20], [84, 20]], [0]),
        ([[84.0, 20], [16, 20]], [0]),
        ([[16.0, 20], [50, 60]], [None]),
    ):
        got = found(([0.0, -500, 1000, 500], 0.9, points))
        assert match_detections(truth((BOX, ENDS)), got, [strict]) == expected


def test_the_extent_of_keypoints_counts_as_a_box_where_names_are_wrong() -> None:
    corners = [[0.0, 0, 2], [100, 0, 2], [100, 100, 2], [0, 100, 2]]
    category = Category(1, "plate", KeypointSchema(("a", "b", "c", "d"), (), None, (0.05,) * 4))
    turned = [[80.0, 20], [80, 80], [20, 80], [20, 20]]
    image = truth(([0.0, 0, 100, 100], corners))
    assert match_detections(image, found(([0.0, 0, 300, 300], 0.9, turned), k=4), [category]) == [0]


def test_pck_counts_keypoints_of_objects_not_found_as_wrong() -> None:
    image = truth((BOX, ENDS), ([200.0, 0, 300, 40], [[210.0, 20, 2], [290.0, 20, 2]]))
    got = found((BOX, 0.9, [[14.0, 20], [97.0, 20]]))
    errors = keypoint_errors([image], [got], CATEGORIES)
    assert pck(errors, 0.05) == pytest.approx(1 / 4)
    assert pck(errors, 0.10) == pytest.approx(2 / 4)
    result = evaluate([image], [got], CATEGORIES)
    assert result["not_found"] == 2
    assert result["error_px"]["median"] == pytest.approx(5.5)
    assert result["per_keypoint"]["tail"]["pck"] == {"0.05": 0.0, "0.10": 0.5}


def test_pck_is_of_the_longer_side_and_unlabelled_keypoints_do_not_count() -> None:
    image = truth(([0.0, 0, 20, 200], [[10.0, 10, 2], [0, 0, 0]]))
    got = found(([0, 0, 20, 200], 0.9, [[10.0, 19.9], [500, 500]]))
    errors = keypoint_errors([image], [got], CATEGORIES)
    assert len(errors.error_px) == 1
    assert pck(errors, 0.05) == 1.0


@pytest.mark.parametrize("angle", [0, 40, 90, 200])
def test_bias_is_told_in_the_objects_axes(angle: float) -> None:
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    turn = np.array([[c, -s], [s, c]])
    points = np.array([[-40.0, 0], [40.0, 0]]) @ turn.T + 200
    shifted = np.array([[-40.0 + 4, 2], [40.0, 0]]) @ turn.T + 200
    box = [150.0, 150, 250, 250]
    image = truth((box, [[*points[0], 2], [*points[1], 2]]))
    result = evaluate([image], [found((box, 0.9, shifted.tolist()))], CATEGORIES)
    assert result["per_keypoint"]["head"]["bias"]["px"] == pytest.approx([4, 2])
    assert result["per_keypoint"]["head"]["bias"]["share"] == pytest.approx([0.04, 0.02])
    in_picture = result["per_keypoint"]["head"]["bias"]["picture_share"]
    assert in_picture == pytest.approx(turn @ [0.04, 0.02])
    assert result["per_keypoint"]["tail"]["bias"]["px"] == pytest.approx([0, 0], abs=1e-9)


def test_bias_is_the_median_of_right_keypoints() -> None:
    """Two of seven stand on the other's place, one on nothing: they say nothing of where their own is."""
    off = [[2.0, 1], [3.0, 1], [4.0, 1], [9.0, 1], [80, 0], [80, 0], [0, 500]]
    founds = [found((BOX, 0.9, [[10 + x, 20 + y], [90, 20]])) for x, y in off]
    result = evaluate([truth((BOX, ENDS))] * len(off), founds, CATEGORIES)
    assert result["per_keypoint"]["head"]["bias"]["px"] == pytest.approx([3.5, 1])
    assert result["per_keypoint"]["head"]["bias"]["picture_share"] == pytest.approx([0.035, 0.01])
    nowhere = evaluate([truth((BOX, ENDS))], [found((BOX, 0.9, [[90, 20], [10, 20]]))], CATEGORIES)
    assert nowhere["per_keypoint"]["head"]["bias"]["px"] is None


def test_axes_run_from_first_to_last_labelled_keypoint() -> None:
    np.testing.assert_allclose(
        object_axes(np.array([[9.0, 9, 0], [0, 0, 2], [5, 5, 0], [0, 3, 1]])), [[0, 1], [-1, 0]]
    )
    np.testing.assert_allclose(object_axes(np.array([[9.0, 9, 2]])), np.eye(2))


def test_perfect_detections_score_one_everywhere() -> None:
    image = truth((BOX, ENDS))
    result = evaluate([image, truth()], [found((BOX, 0.9, RIGHT)), found()], CATEGORIES)
    assert result["bbox"] == {"ap": pytest.approx(1.0), "ap50": pytest.approx(1.0)}
    assert result["keypoints"] == {"ap": pytest.approx(1.0), "ap50": pytest.approx(1.0)}
    assert result["pck"] == {"0.05": 1.0, "0.10": 1.0}
    assert (result["n_images"], result["n_objects"], result["n_found"]) == (2, 1, 1)


@pytest.mark.parametrize(("sigma", "expected"), [(0.1, 0.6), (0.2, 0.9), (0.02, 0.0)])
def test_keypoint_ap_uses_the_objects_sigmas_and_area(sigma: float, expected: float) -> None:
    """One object, one detection: AP is the share of the ten thresholds 0.50 to 0.95 its OKS reaches."""
    distance = 0.1 * math.sqrt(8 * 4000 * -math.log(0.77))
    points = [[10.0, 20 + distance], [90.0, 20 + distance]]
    ap, ap50 = average_precision(
        [truth((BOX, ENDS))], [found((BOX, 0.9, points))], (sigma, sigma), "keypoints"
    )
    assert ap == pytest.approx(expected)
    assert ap50 == pytest.approx(1.0 if expected else 0.0)


@pytest.mark.parametrize("k", [1, 2, 6])
def test_any_number_of_keypoints_is_scored(k: int) -> None:
    points = [[10.0 + i, 20.0, 2.0] for i in range(k)]
    got = [[10.0 + i, 20.0] for i in range(k)]
    ap, _ = average_precision([truth((BOX, points))], [found((BOX, 0.9, got), k=k)], (0.05,) * k, "keypoints")
    assert ap == pytest.approx(1.0)


def test_false_detection_lowers_ap() -> None:
    image = truth((BOX, ENDS))
    good, bad = (BOX, 0.5, RIGHT), ([300.0, 0, 400, 40], 0.9, [[310.0, 20], [390.0, 20]])
    ap, _ = average_precision([image], [found(good, bad)], (0.1, 0.1), "bbox")
    assert ap == pytest.approx(0.5)


def test_crowds_neither_count_as_objects_nor_make_detections_false() -> None:
    images = [truth((BOX, ENDS)), truth((BOX, ENDS), crowd=True)]
    founds = [found((BOX, 0.5, RIGHT)), found((BOX, 0.9, RIGHT))]
    result = evaluate(images, founds, CATEGORIES)
    assert result["bbox"]["ap"] == pytest.approx(1.0)
    assert (result["n_objects"], result["n_keypoints"]) == (1, 2)


def test_nothing_labelled_is_none_and_nothing_found_is_zero() -> None:
    empty = evaluate([truth()], [found()], CATEGORIES)
    assert empty["bbox"]["ap"] is None
    assert empty["pck"]["0.05"] is None
    blind = evaluate([truth((BOX, ENDS))], [found()], CATEGORIES)
    assert (blind["bbox"]["ap"], blind["pck"]["0.10"], blind["error_px"]["median"]) == (0.0, 0.0, None)


def test_visibility_is_told_apart() -> None:
    image = truth((BOX, [[10.0, 20, 2], [90.0, 20, 1]]))
    result = evaluate([image], [found((BOX, 0.9, [[10.0, 20], [60.0, 20]]))], CATEGORIES)
    assert result["pck_by_visibility"]["visible"]["0.05"] == 1.0
    assert result["pck_by_visibility"]["occluded"]["0.05"] == 0.0


def test_confidence_interval_holds_the_value_and_widens_with_fewer_images() -> None:
    def interval(n: int) -> Any:
        images = [truth((BOX, ENDS))] * n
        founds = [found((BOX, 0.9, RIGHT if i % 2 else [[10.0, 20], [60.0, 20]])) for i in range(n)]
        result = evaluate(images, founds, CATEGORIES)
        low, high = result["confidence_95"]["pck"]["0.05"]
        assert low <= result["pck"]["0.05"] <= high
        return high - low

    assert interval(8) > interval(80) > 0


def test_intervals_of_pck_know_resamples_in_which_nothing_is_found() -> None:
    truths = [truth((BOX, ENDS))] * 10
    nothing = evaluate(truths, [found()] * 10, CATEGORIES)["confidence_95"]
    assert nothing["pck"]["0.05"] == [0.0, 0.0]
    assert nothing["error_px_median"] is None
    one = evaluate(truths, [found((BOX, 0.9, RIGHT)), *[found()] * 9], CATEGORIES)["confidence_95"]
    assert one["pck"]["0.05"][0] == 0.0 < one["pck"]["0.05"][1]
    assert one["error_px_median"] == [0.0, 0.0]


def test_what_is_no_number_is_none_in_json() -> None:
    assert as_json(np.array([0.12344, np.nan])) == [0.1234, None]

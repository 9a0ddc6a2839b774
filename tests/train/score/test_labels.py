"""Labels whose boxes are only of their keypoints, and areas that no object has."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from synth.dataset.coco import Category
from synth.types import KeypointSchema
from train.score.labels import boxes_are_extents, boxes_as_labelled, labels_in_words
from train.score.metrics import evaluate
from train.types import Found, Sample, truth_of

CATEGORY = Category(1, "crate", KeypointSchema(("a", "b", "c", "d"), (), None, (0.05,) * 4))
TOP = np.array([[100.0, 100, 2], [300, 110, 2], [310, 150, 2], [0, 0, 0]])
EXTENT = [100.0, 100, 310, 150]
WHOLE = [90.0, 95, 320, 330]
"""What a detector trained on rendered images finds: the whole crate, of which three corners are labelled."""


def sample(box: list[float], area: float | None = None, mask: bool = False) -> Sample:
    size = np.array(box[2:]) - np.array(box[:2])
    return Sample(
        Path("photos/p.jpg"),
        640,
        480,
        np.array([box]),
        np.array([1]),
        TOP[None].copy(),
        np.array([float(np.prod(size)) if area is None else area]),
        np.array([False]),
        np.ones(1),
        ([[100.0, 100, 300, 110, 310, 150]] if mask else None,),
    )


def found(points: np.ndarray, *boxes: list[float]) -> Found:
    n = len(boxes)
    return Found(np.array(boxes), np.linspace(0.9, 0.6, n), np.ones(n, int), np.tile(points, (n, 1, 1)))


POINTS = TOP[:, :2] + np.array([[1.0, 0], [0, 1], [-1, 0], [100, 300]])


def test_boxes_no_larger_than_their_keypoints_are_told_from_boxes_of_objects() -> None:
    assert boxes_are_extents([sample(EXTENT)])
    assert boxes_are_extents([*[sample(EXTENT)] * 9, sample(WHOLE)])
    assert not boxes_are_extents([sample(EXTENT), sample(WHOLE)])
    assert not boxes_are_extents([sample(EXTENT, mask=True)])
    few = replace(sample(EXTENT), keypoints=TOP[None] * [1, 1, 0])
    assert not boxes_are_extents([few])


def test_a_good_detector_looks_good_on_boxes_that_are_their_keypoints_extent() -> None:
    samples = [sample(EXTENT)] * 3
    founds = [found(POINTS, WHOLE)] * 3
    truths = [truth_of(s) for s in samples]
    assert evaluate(truths, founds, [CATEGORY])["bbox"]["ap"] == 0.0
    compared = boxes_as_labelled(samples, founds, [CATEGORY])
    assert compared[0].boxes[0] == pytest.approx([101, 100, 309, 150])
    result = evaluate(truths, compared, [CATEGORY])
    assert result["n_found"] == 3
    assert result["bbox"]["ap"] > 0.8
    assert "(3 of 3)" in labels_in_words(samples)[0]


def test_boxes_of_objects_are_compared_as_they_were_found() -> None:
    samples = [sample(WHOLE)]
    founds = [found(POINTS, WHOLE)]
    assert boxes_as_labelled(samples, founds, [CATEGORY]) == founds
    assert labels_in_words(samples) == []


def test_a_detection_elsewhere_keeps_its_box() -> None:
    far = found(POINTS + 200, [500.0, 300, 600, 400])
    (compared,) = boxes_as_labelled([sample(EXTENT)], [far], [CATEGORY])
    assert compared.boxes.tolist() == far.boxes.tolist()


@pytest.mark.parametrize("area", [0.0, 1.0, 1e7])
def test_areas_that_no_object_in_the_box_has_are_replaced_and_named(area: float) -> None:
    odd = sample(WHOLE, area=area)
    truth = truth_of(odd)
    assert truth.area == pytest.approx([230 * 235])
    result = evaluate([truth], [found(TOP[:, :2] + 1, WHOLE)], [CATEGORY])
    assert result["keypoints"]["ap"] == pytest.approx(1.0)
    (said,) = labels_in_words([sample(WHOLE), odd])
    assert said.startswith("1 of 2 labels have an `area`")
    assert f"such as {area:g} in p.jpg" in said


def test_areas_of_thin_and_of_cut_off_objects_are_believed() -> None:
    thin, cut_off = sample(WHOLE, area=0.03 * 230 * 235), sample(WHOLE, area=1.5 * 230 * 235)
    assert truth_of(thin).area == thin.area
    assert truth_of(cut_off).area == cut_off.area
    assert labels_in_words([thin, cut_off]) == []

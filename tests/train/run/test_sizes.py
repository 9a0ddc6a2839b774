"""What follows from how large pictures and objects are."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from synth.dataset.coco import Category
from train.config import TrainConfig, with_changes
from train.data.samples import read_samples
from train.model.snapshot import make_meta
from train.run.sizes import LEAST_VALIDATED, large_enough, n_validated, smallest_share
from train.types import Sample

Maker = Callable[..., Path]


def shrunk(sample: Sample, side_px: float) -> Sample:
    """The sample with objects whose boxes' longer side is that."""
    size = (sample.boxes[:, 2:] - sample.boxes[:, :2]).max(axis=1, keepdims=True)
    ends = sample.boxes[:, :2] + (sample.boxes[:, 2:] - sample.boxes[:, :2]) * side_px / size
    boxes = sample.boxes.copy()
    boxes[:, 2:] = ends
    return replace(sample, boxes=boxes)


def test_small_objects_are_seen_larger_and_a_few_tiny_ones_do_not_count(
    coco_folder: Maker, category: Category, tiny_config: TrainConfig
) -> None:
    samples = read_samples(coco_folder("s", n=30, seed=2), category)
    config = with_changes(tiny_config, {"model": {"smallest_px": 24}}, "x")
    assert large_enough(config, smallest_share([shrunk(s, 40) for s in samples])).model.long_side_px == 160
    small = smallest_share([shrunk(s, 10.1) for s in samples])
    assert small == pytest.approx(10.1 / 160)
    assert large_enough(config, small).model.long_side_px == 384
    one_tiny = [shrunk(samples[0], 1), *(shrunk(s, 40) for s in samples)]
    assert large_enough(config, smallest_share(one_tiny)).model.long_side_px == 160
    as_it_is = with_changes(config, {"model": {"smallest_px": 0}}, "x")
    assert large_enough(as_it_is, small) == as_it_is
    assert smallest_share([]) is None
    assert large_enough(config, None) == config


WHOLE_PICTURES = {"model": {"crop_px": 0}, "data": {"batch_size": 4}}


def validated(config: TrainConfig, samples: Sequence[Sample], category: Category, **schedule: int) -> int:
    meta = make_meta(with_changes(config, {"schedule": schedule}, "x"), [category], [None], {})
    return n_validated(meta, samples)


def test_validation_takes_at_most_a_tenth_of_the_pixels_of_an_epoch(
    coco_folder: Maker, category: Category, tiny_config: TrainConfig
) -> None:
    samples = read_samples(coco_folder("s", n=30, seed=2), category) * 2
    config = with_changes(tiny_config, WHOLE_PICTURES, "x")
    assert validated(config, samples, category, steps_per_epoch=200) == 60
    some = validated(config, samples, category, steps_per_epoch=100)
    assert 50 < some < 60
    assert validated(config, samples, category, steps_per_epoch=2) == LEAST_VALIDATED
    assert validated(config, samples[:3], category, steps_per_epoch=2) == 3
    looks_twice = with_changes(config, {"model": {"crop_px": 64}}, "x")
    assert validated(looks_twice, samples, category, steps_per_epoch=100) < some


def test_photos_read_in_tiles_take_longer_to_validate_on(
    coco_folder: Maker, category: Category, tiny_config: TrainConfig
) -> None:
    samples = read_samples(coco_folder("s", n=30, seed=2), category) * 2
    config = with_changes(tiny_config, {**WHOLE_PICTURES, "schedule": {"steps_per_epoch": 200}}, "x")
    meta = make_meta(config, [category], [None], {}, smallest_share=0.1)
    assert n_validated(meta, samples) < 30

"""What is odd about the labels that a run learns from."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from synth.dataset.coco import Category
from train.config import TrainConfig
from train.run.sources import TrainSources, load_run

Maker = Callable[..., Path]


def test_photos_whose_labels_change_the_scores_are_named(
    coco_folder: Maker, category: Category, tiny_config: TrainConfig, caplog: pytest.LogCaptureFixture
) -> None:
    sound, odd = coco_folder("sound", n=4), coco_folder("odd", n=4)
    content = json.loads((odd / "annotations.json").read_text())
    for row in content["annotations"]:
        x, y = row["keypoints"][0::3], row["keypoints"][1::3]
        row["bbox"], row["area"] = [min(x), min(y), max(x) - min(x), max(y) - min(y)], 0.1
    (odd / "annotations.json").write_text(json.dumps(content))
    load_run(tiny_config, [category], [None], TrainSources((sound,), sound), False)
    assert caplog.messages == []
    load_run(tiny_config, [category], [None], TrainSources((sound,), sound, odd), False)
    boxes, areas = caplog.messages
    assert boxes.startswith(f"{odd}: the labels' boxes are the extent of their keypoints")
    assert areas.startswith(f"{odd}: 6 of 6 labels have an `area`")

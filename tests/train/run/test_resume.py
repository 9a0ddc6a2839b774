"""Runs that go on: what they keep from their start, and when they are over."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from synth.dataset.coco import Category
from synth.errors import DataError
from train.config import ScheduleConfig, TrainConfig, with_changes
from train.data.samples import read_samples
from train.model.snapshot import make_meta
from train.run.batches import TrainData
from train.run.engine import train
from train.run.prepare import prepare
from train.run.processes import Processes
from train.run.resume import is_finished

Maker = Callable[..., Path]


def test_a_run_goes_on_with_pictures_as_large_as_before_and_its_best_as_merit(
    coco_folder: Maker, category: Category, tiny_config: TrainConfig, tmp_path: Path
) -> None:
    changes = {"model": {"smallest_px": 24}, "schedule": {"max_steps": 1}}
    config = with_changes(tiny_config, changes, "x")
    samples = read_samples(coco_folder("train", n=4, seed=1), category)
    data, meta = TrainData(samples, (), samples[:1]), make_meta(config, [category], [None], {"x": "y"})
    train(meta, data, tmp_path / "run", "cpu")

    path = tmp_path / "run" / "last" / "state.json"
    saved = json.loads(path.read_text())
    del saved["decay_from"], saved["decay_to"]
    saved["epochs_log"] = [{"step": 1, "keypoint AP": ap, "PCK@0.10": 3 * ap} for ap in (0.1, 0.25, 0.2)]
    path.write_text(json.dumps({**saved, "best_score": 0.25}))

    more_images = replace(meta, config=with_changes(config, {"model": {"long_side_px": 256}}, "x"))
    alone = Processes(0, 1, torch.device("cpu"))
    resumed = prepare(more_images, data, tmp_path / "run", alone, True)
    assert resumed.config == config
    assert resumed.state.best_score == 0.5
    assert resumed.state.decay_to == 0


@pytest.mark.parametrize(
    ("state", "max_steps", "until_learned", "over"),
    [
        ({"step": 800, "decay_to": 800}, 1000, True, True),
        ({"step": 800, "decay_to": 800}, 1000, False, False),
        ({"step": 800, "decay_to": 0}, 1000, True, False),
        ({"step": 800}, 1000, True, False),
        ({"step": 800}, 800, False, True),
        ({"step": 800, "decay_to": 900}, 700, True, True),
    ],
)
def test_a_run_is_over_at_its_last_step(
    state: dict[str, int], max_steps: int, until_learned: bool, over: bool, tmp_path: Path
) -> None:
    schedule = ScheduleConfig(max_steps=max_steps, until_learned=until_learned)
    assert not is_finished(tmp_path, schedule)
    (tmp_path / "last").mkdir()
    (tmp_path / "last" / "state.json").write_text(json.dumps(state))
    assert is_finished(tmp_path, schedule) is over


@pytest.mark.parametrize("text", ["{", "[]", "null", "{}", '{"step": "8"}', '{"step": 1, "decay_to": "8"}'])
def test_a_damaged_state_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "last").mkdir()
    (tmp_path / "last" / "state.json").write_text(text)
    with pytest.raises(DataError, match=r"state\.json"):
        is_finished(tmp_path, ScheduleConfig(until_learned=True))

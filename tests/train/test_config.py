from pathlib import Path

import pytest

from synth.errors import ConfigError
from train.config import load_train_config, preset_path, with_changes


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_shipped_presets_are_valid(name: str) -> None:
    load_train_config(preset_path(name, cuda=False))


@pytest.mark.parametrize(("cuda", "chosen"), [(True, "gpu"), (False, "cpu")])
def test_auto_chooses_by_the_machine(cuda: bool, chosen: str) -> None:
    assert preset_path("auto", cuda).stem == chosen


def test_unknown_preset_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"preset 'tpu'.*auto, cpu, gpu"):
        preset_path("tpu", cuda=False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "model: {backbone: vgg}",
            r"model\.backbone: 'vgg', expected one of tf_efficientnet_lite0",
        ),
        ("model: {backbone: resnet50, anchor_sizes: [[8]], hats: 3}", r"model"),
        ("- 1", "expected a mapping of fields, got list"),
        ("model: [", "not valid YAML"),
        ("model: {backbone: mobilenet_v2, anchor_sizes: [[8]]}", "anchor_sizes has 1 levels, expected 4"),
        ("model: {backbone: mobilenet_v2, anchor_sizes: [[], [], [], []]}", r"anchor_sizes\.0"),
        ("model: {backbone: mobilenet_v2, anchor_sizes: [[0], [8], [8], [8]]}", r"anchor_sizes\.0\.0"),
        (
            "model: {backbone: mobilenet_v2, weights: coco, anchor_sizes: [[8], [8], [8], [8]]}",
            "coco exist for backbone resnet50",
        ),
        (
            "model: {backbone: mobilenet_v2, anchor_sizes: [[8, 9], [8], [8], [8]]}",
            "as many sizes on every level",
        ),
        (
            "{model: {backbone: mobilenet_v2, anchor_sizes: [[8], [8], [8], [8]]}, "
            "schedule: {until_learned: true, max_minutes: 3}}",
            "max_minutes and until_learned are both given",
        ),
        (
            "{model: {backbone: mobilenet_v2, anchor_sizes: [[8], [8], [8], [8]]}, "
            "data: {real_fraction: [0, 0.5]}, schedule: {until_learned: true}}",
            "this run goes on until it has learned; give its length",
        ),
    ],
)
def test_bad_config_is_one_clear_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as error:
        load_train_config(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_unknown_key_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(preset_path("cpu", cuda=False).read_text() + "\nepochs: 3\n")
    with pytest.raises(ConfigError, match="epochs"):
        load_train_config(path)


def test_changes_are_validated_and_none_keeps_the_value() -> None:
    config = load_train_config(preset_path("cpu", cuda=False))
    changed = with_changes(config, {"data": {"real_fraction": 0.5, "workers": None}, "seed": None}, "x")
    assert (changed.data.real_fraction, changed.data.workers) == (0.5, config.data.workers)
    with pytest.raises(ConfigError, match=r"command line: data\.real_fraction"):
        with_changes(config, {"data": {"real_fraction": 1.5}}, "command line")

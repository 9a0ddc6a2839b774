"""`meshmark doctor`: torch and the weights that presets start from; the command as a whole."""

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

import train.doctor
from synth.doctor import Check
from synth.system.cache import cache_folder
from train.backbones import BACKBONES
from train.cli import main
from train.doctor import check_torch, check_weights
from train.model.weights import weights_folder


def test_torch_names_its_version() -> None:
    assert check_torch().found.startswith(torch.__version__)


def test_weights_in_the_cache_are_found_and_absent_ones_say_where_to_put_them(tmp_path: Path) -> None:
    (tmp_path / BACKBONES["resnet50"].vendor_files["coco"].name).write_bytes(b"")
    found = {check.name: check for check in check_weights(tmp_path)}
    assert found["weights tf_efficientnet_lite0 imagenet"].level == "ok"
    assert found["weights resnet50 coco"].level == "ok"
    assert str(tmp_path) in found["weights resnet50 imagenet"].remedy


@pytest.mark.parametrize(("level", "code"), [("note", 0), ("missing", 2)])
def test_exit_code_says_whether_something_is_missing(
    monkeypatch: pytest.MonkeyPatch, level: str, code: int
) -> None:
    monkeypatch.setattr("synth.doctor.check_system", lambda: [Check(level, "OpenGL", "none", "apt-get")])
    monkeypatch.setattr(train.doctor, "check_training", list)
    result = CliRunner().invoke(main, ["doctor"])
    assert result.exit_code == code
    assert result.output == f"{level:8}OpenGL: none; apt-get\n"


def test_weights_are_kept_in_the_one_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESHMARK_CACHE", str(tmp_path))
    assert weights_folder() == cache_folder() / "weights" == tmp_path / "weights"

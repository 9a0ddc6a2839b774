"""Rendering while training. Everything that opens OpenGL runs in a process of its own, as in use."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.train.conftest import torchrun
from train.config import TrainConfig

pytestmark = [pytest.mark.slow, pytest.mark.gl]

ROOT = Path(__file__).resolve().parents[3]
SMALL = {"camera": {"width_px": 160, "height_px": 120}}


def run(code: str, exit_code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},  # sums depend on the number of threads
    )
    assert done.returncode == exit_code, done.stderr[-3000:]
    return done.stdout


def test_image_rendered_online_is_the_one_in_the_folder(tmp_path: Path) -> None:
    config = tmp_path / "small.yaml"
    config.write_text(yaml.safe_dump(SMALL))
    code = f"""
if __name__ == "__main__":
    from pathlib import Path
    import numpy as np
    from synth.config import load_synth_config
    from synth.generate.job import RenderJob
    from synth.generate.run import generate
    from synth.system.pictures import read_image
    from train.data.samples import read_samples
    from train.data.online import OnlineImages
    from synth.dataset.coco import object_category
    job = RenderJob("chessboard", load_synth_config({str(config)!r}), None, 5)
    folder = Path({str(tmp_path / "set")!r})
    generate(job, folder, 3, 1)
    category = object_category("chessboard")[0]
    online = OnlineImages(job, category)
    for i, sample in enumerate(read_samples(folder, category)):
        rgb, fresh = online.view(i)
        assert (rgb == read_image(sample.image_path)).all()
        assert (fresh.width, fresh.height) == (sample.width, sample.height)
        for name in ("boxes", "keypoints", "area"):
            np.testing.assert_allclose(getattr(fresh, name), getattr(sample, name), atol=0.01)
        assert fresh.segmentations == sample.segmentations
    print("same")
"""
    assert run(code).strip() == "same"


def weights_hash(folder: Path) -> str:
    return hashlib.sha256((folder / "last" / "model.safetensors").read_bytes()).hexdigest()


def online(tmp_path: Path, tiny_config: TrainConfig, steps: int) -> list[str]:
    """Arguments of a short training that renders its images."""
    config, preset = tmp_path / "small.yaml", tmp_path / "tiny.yaml"
    config.write_text(yaml.safe_dump(SMALL))
    raw = tiny_config.model_dump(mode="json")
    raw["data"] |= {"workers": 1, "batch_size": 2, "max_validation_images": 3}
    preset.write_text(yaml.safe_dump(raw))
    arguments = f"train --object chessboard --synth online --config {config} --preset {preset} --device cpu"
    return [*arguments.split(), *f"--backgrounds none --environments none --steps {steps}".split()]


def test_two_processes_render_while_training(tmp_path: Path, tiny_config: TrainConfig) -> None:
    arguments = [*online(tmp_path, tiny_config, 2), "--out", str(tmp_path / "run")]
    command = [sys.executable, "-c", f"from train.cli import main; main({arguments!r})"]
    torchrun([command, command], ROOT)
    assert json.loads((tmp_path / "run" / "last" / "state.json").read_text())["step"] == 2
    assert len(list((tmp_path / "run" / "validation" / "images").glob("*.jpg"))) == 3


def test_run_that_renders_while_training_resumes_to_the_same_weights(
    tmp_path: Path, tiny_config: TrainConfig
) -> None:
    common = online(tmp_path, tiny_config, 4)
    whole, cut = ([*common, "--out", str(tmp_path / name)] for name in ("whole", "cut"))
    code = f"""
import train.run.engine
from train.cli import main
assert not main({whole!r}, standalone_mode=False)
save = train.run.engine.save
def save_and_stop(*state_and_scores):
    save(*state_and_scores)
    raise KeyboardInterrupt
train.run.engine.save = save_and_stop
main({cut!r})
"""
    run(code, exit_code=130)
    steps = [json.loads((tmp_path / d / "last" / "state.json").read_text())["step"] for d in ("whole", "cut")]
    assert steps == [4, 2]
    run(f"from train.cli import main; main({[*cut, '--resume']!r})")
    assert weights_hash(tmp_path / "cut") == weights_hash(tmp_path / "whole")
    meta = json.loads((tmp_path / "cut" / "last" / "meta.json").read_text())
    assert set(meta["data"]) == {"online"}

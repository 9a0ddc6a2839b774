"""The whole way in one command: the chessboard from its mesh to a score on real photos."""

import json
from pathlib import Path
from typing import Any

from rich.console import Console

from synth.config import load_synth_config
from synth.dataset.formats.table import read_labels
from synth.fetch.chessboards import chessboard_photos
from synth.fetch.pools import background_photos, environment_maps
from synth.generate.job import RenderJob
from synth.generate.run import generate
from synth.inspect.preview import preview_sheet
from train.config import load_train_config, preset_path
from train.run.engine import train
from train.run.resume import is_finished
from train.run.sources import TrainSources, load_run, object_categories
from train.score.evaluate import evaluate_photos, print_table

OBJECT = "chessboard"
IMAGES = 5200
"""As many as the preset's steps look at: each once."""


def run_demo(out: Path, workers: int, device: str, console: Console) -> dict[str, Any]:
    """Renders, trains and evaluates into `out`; what is already there is not made again.

    Returns what eval.json holds.
    """
    photos = chessboard_photos()
    synth = out / "synth"
    job = RenderJob(
        OBJECT, load_synth_config("default"), background_photos(), seed=0, environments=environment_maps()
    )
    new = generate(job, synth, IMAGES, workers)
    training_sheet = synth / "preview.jpg"
    if new or not training_sheet.exists():
        preview_sheet(read_labels(synth), training_sheet, 24)

    weights = out / "train"
    config = load_train_config(preset_path("cpu", cuda=False))
    if not is_finished(weights, config.schedule):
        meta, data = load_run(config, *object_categories([OBJECT]), TrainSources((synth,)), False)
        train(meta, data, weights, device, resume=(weights / "last").exists())

    scores = out / "eval" / "eval.json"
    if scores.exists() and scores.stat().st_mtime > (weights / "best" / "model.safetensors").stat().st_mtime:
        result: dict[str, Any] = json.loads(scores.read_text(encoding="utf-8"))
    else:
        result = evaluate_photos(weights / "best", photos, out / "eval", (), device)
    print_table(result, console)
    console.print(
        f"training images {training_sheet}, real photos {out / 'eval' / 'predictions.jpg'}, "
        f"scores {scores}, weights {weights / 'best'}",
        soft_wrap=True,
    )
    return result

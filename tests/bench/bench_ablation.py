"""What each part of the recipe is worth on real photos: the same training with one thing changed at a time.

    python -m tests.bench.bench_ablation --object glue_tube --real FOLDER --steps 400 --seeds 1 --out FOLDER

Trains on rendered images alone and scores at the last step. What `--out` holds already is not run again.
Means over seeds; beside them the 95 % interval over photos and, of several seeds, the lowest and the highest.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from synth.objects.load import find_object
from synth.system.files import write_text
from train.config import load_train_config, with_changes
from train.score.intervals import interval

RECIPE = Path("tests/bench/whole_pictures.yaml")


@dataclass(frozen=True)
class Variant:
    """synth, train: what differs from the defaults of rendering and from RECIPE. thing: makes another
    object.yaml of the object's. images: how many."""

    title: str
    synth: dict[str, Any] = field(default_factory=dict)
    thing: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    train: dict[str, Any] = field(default_factory=dict)
    images: int = 2000

    @property
    def name(self) -> str:
        return re.sub(r"[^a-z0-9]+", "-", self.title).strip("-")


PLAIN_SENSOR = {
    "blur_sigma_px": [0.5, 0.5],
    "defocus": 0.0,
    "motion": 0.0,
    "fringes": 0.0,
    "vignetted": 0.0,
    "noise_shot": [0.0, 0.0],
    "noise_read": [0.0, 0.0],
    "tone": [0.0, 0.0],
    "contrast": [1.0, 1.0],
    "white_balance": [1.0, 1.0],
    "jpeg_quality": [95, 95],
}
ONE_LIGHT = {
    "key_irradiance": [0.8, 0.8],
    "key_elevation_deg": [60.0, 60.0],
    "key_radius_deg": [2.0, 2.0],
    "fills": [0, 0],
    "ambient": [0.35, 0.35],
    "temperature_k": [5500.0, 5500.0],
    "environment": 0.0,
    "from_photo": 0.0,
}
NO_AUGMENTATION = dict.fromkeys(("geometry", "color", "hue", "gray", "shadow", "blur", "noise", "jpeg"), 0.0)
SIX_LAYERS = {"keypoint_head_layers": 6, "keypoint_head_channels": 128}


def with_materials(**ranges: list[float]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """The same ranges for all parts; none: those of parts that object.yaml does not describe."""
    return lambda thing: {**thing, "materials": {"*": ranges} if ranges else {}}


def one_shape(thing: dict[str, Any]) -> dict[str, Any]:
    shapes = thing["mesh"]
    return {**thing, "mesh": shapes if isinstance(shapes, str) else shapes[0], "scale": {}}


VARIANTS = (
    Variant("the recipe"),
    Variant(
        "materials as the mesh has them",
        thing=with_materials(hue_deg=[0, 0], saturation=[1, 1], value=[1, 1]),
    ),
    Variant("materials not described", thing=with_materials()),
    Variant(
        "parts of any colour", thing=with_materials(hue_deg=[-180, 180], saturation=[0, 2], value=[0.4, 1.6])
    ),
    Variant("one shape of one size", thing=one_shape),
    Variant("lenses that bend no line", {"camera": {"distorted": 0.0}}),
    Variant("one light, always the same", {"light": ONE_LIGHT}),
    Variant("light without environment maps and photos", {"light": {"environment": 0.0, "from_photo": 0.0}}),
    Variant("a sensor without faults", {"sensor": PLAIN_SENSOR}),
    Variant("no photo backgrounds", {"background": {"photo": 0.0}}),
    Variant("photo backgrounds only", {"background": {"photo": 1.0}}),
    Variant("no distractors", {"distractors": {"count": [0, 0]}}),
    Variant("objects apart", {"objects": {"touching": 0.0, "piled": 0.0, "truncation": 0.0}}),
    Variant("no augmentation in training", train={"data": {"augment": NO_AUGMENTATION}}),
    Variant("250 images", images=250),
    Variant("1,000 images", images=1000),
    Variant("4,000 images", images=4000),
    Variant("two backbone stages trained", train={"model": {"trainable_stages": 2}}),
    Variant("the whole backbone trained", train={"model": {"trainable_stages": 8}}),
    Variant("normalisation trained too", train={"model": {"frozen_norm": False}}),
    Variant("keypoints within the box only", train={"model": {"keypoint_reach": 1.0}}),
    Variant("14 cells for the keypoint head", train={"model": {"keypoint_cells": 14}}),
    Variant("24 cells for the keypoint head", train={"model": {"keypoint_cells": 24}}),
    Variant("six keypoint layers of 128", train={"model": SIX_LAYERS}),
    Variant("128 channels in the pyramid", train={"model": {"fpn_channels": 128}}),
    Variant("input of 800 px", train={"model": {"long_side_px": 800}}),
    Variant("batches of 8", train={"data": {"batch_size": 8}}),
    Variant("48 regions, a quarter objects", train={"model": {"regions": 48, "positive_share": 0.25}}),
    Variant("half the learning rates", train={"optim": {"backbone_lr": 1.5e-4, "head_lr": 5e-4}}),
    Variant("twice the learning rates", train={"optim": {"backbone_lr": 6e-4, "head_lr": 2e-3}}),
)


def meshmark(*words: str | Path | int) -> None:
    subprocess.run([sys.executable, "-m", "train.cli", *map(str, words)], check=True)


def write_yaml(path: Path, value: dict[str, Any]) -> Path:
    write_text(path, yaml.safe_dump(value))
    return path


def changed_object(name: str, variant: Variant, folder: Path) -> Path:
    """A copy in `folder` of the object's folder, with the variant's object.yaml."""
    assert variant.thing
    source = find_object(name)
    copy = folder / source.name
    shutil.copytree(source, copy, dirs_exist_ok=True)
    own = yaml.safe_load((source / "object.yaml").read_text(encoding="utf-8"))
    return write_yaml(copy / "object.yaml", variant.thing(own)).parent


def score(variant: Variant, seed: int, chosen: argparse.Namespace) -> dict[str, Any]:
    """What `meshmark eval` says of the variant trained with `seed`."""
    folder = chosen.out / variant.name
    thing = ["--object", changed_object(chosen.object, variant, folder) if variant.thing else chosen.object]
    run, result = folder / f"train-{seed}", folder / f"eval-{seed}" / "eval.json"
    if not result.exists():
        synth = folder / "synth" if variant.synth or variant.thing else chosen.out / f"synth-{variant.images}"
        config = write_yaml(folder / "synth.yaml", variant.synth)
        preset = load_train_config(RECIPE)
        recipe = with_changes(preset, variant.train, variant.title)
        recipe_file = write_yaml(folder / "train.yaml", recipe.model_dump(mode="json"))
        meshmark("render", *thing, "--config", config, "--n", variant.images, "--out", synth)
        length = ["--steps", chosen.steps, "--seed", seed, *(["--resume"] if run.exists() else [])]
        meshmark("train", *thing, "--synth", synth, "--preset", recipe_file, *length, "--out", run)
        meshmark("eval", run / "last", *thing, "--real", chosen.real, "--out", result.parent)
    found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    return found


def row(title: str, founds: list[dict[str, Any]]) -> str:
    def mean(values: list[float | None]) -> float:
        return float(np.mean(np.array(values, dtype=float)))

    scores = [found["keypoints"]["ap"] for found in founds]
    draws = np.mean(np.array([found["keypoint_ap_draws"] for found in founds], np.float64), axis=0)
    low, high = interval(draws) or (np.nan, np.nan)
    seeds = f"; {min(scores):.3f} to {max(scores):.3f}" if len(scores) > 1 else ""
    return (
        f"| {title} | {mean(scores):.3f} ({low:.3f} to {high:.3f}{seeds}) "
        f"| {mean([found['pck']['0.05'] for found in founds]):.3f} "
        f"| {mean([found['bbox']['ap'] for found in founds]):.3f} "
        f"| {100 * mean([found['error_share']['median'] for found in founds]):.2f} % |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--object", default="glue_tube")
    parser.add_argument("--real", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="*", help="of the variants, such as no-distractors 250-images")
    chosen = parser.parse_args()
    wanted = [variant for variant in VARIANTS if not chosen.only or variant.name in chosen.only]
    rows = [row(v.title, [score(v, seed, chosen) for seed in range(chosen.seeds)]) for v in wanted]
    print("| | keypoint AP (95 %; seeds) | PCK@0.05 | bbox AP | median error |\n|---|---|---|---|---|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()

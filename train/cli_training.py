"""The commands that train detectors and measure them. torch is imported late."""

import math
import os
from pathlib import Path
from typing import Any

import click

from synth.cli import example
from synth.errors import ConfigError
from train.device import chosen_device, tune_cpu

ONLINE = "online"
existing = click.Path(path_type=Path)
smallest_object = click.option(
    "--smallest-object",
    "smallest_px",
    type=click.IntRange(0),
    help="Longer side, in px of the photo, of the smallest objects to find: photos too large for them are "
    "read in overlapping tiles. 0: never, else 8 or more. By default as small in the photo as in the "
    "training images.",
)


@click.command(
    "train",
    epilog=example(
        "meshmark train --object my_part --synth runs/my_part/synth",
        "--real photos/ --out runs/my_part/train",
    ),
)
@click.option(
    "--object",
    "objects",
    required=True,
    multiple=True,
    help="Name in assets/ or a path to an object's folder; repeatable, for one detector of several objects.",
)
@click.option(
    "--synth",
    "synthetic",
    multiple=True,
    help="Rendered data set, repeatable; or `online`: render while training.",
)
@click.option("--synth-weights", help="Shares of several --synth, such as 3,1; by default all images alike.")
@click.option("--config", default="default", show_default=True, help="Of --synth online, as for render.")
@click.option("--backgrounds", default="default", show_default=True, help="Of --synth online, as for render.")
@click.option(
    "--environments", default="default", show_default=True, help="Of --synth online, as for render."
)
@click.option("--real", type=existing, help="Labelled photos, in any label format.")
@click.option("--val", "validation", type=existing, help="Photos that choose the best snapshot.")
@click.option(
    "--real-fraction",
    help="Share of real images in every batch, 0 to 1; or 0,0.2,0.5: over stretches of the run.",
)
@click.option("--preset", default="auto", show_default=True, help="auto, cpu, gpu or a YAML file.")
@click.option("--init", type=existing, help="Snapshot or run, also of another object, to start from.")
@click.option("--out", type=existing, required=True, help="Folder for snapshots and curves.")
@click.option("--resume", is_flag=True, help="Continue the run in --out.")
@click.option("--steps", type=int, help="Steps at most.")
@click.option("--minutes", type=float, help="Minutes at most.")
@click.option("--seed", type=int)
@click.option("--workers", type=int, help="Processes that load images.")
@click.option("--device", help="cpu, cuda; by default cuda where there is one.")
def train_command(
    objects: tuple[str, ...],
    synthetic: tuple[str, ...],
    synth_weights: str | None,
    config: str,
    backgrounds: str,
    environments: str,
    real: Path | None,
    validation: Path | None,
    real_fraction: str | None,
    preset: str,
    init: Path | None,
    out: Path,
    resume: bool,
    steps: int | None,
    minutes: float | None,
    seed: int | None,
    workers: int | None,
    device: str | None,
) -> None:
    """Train a detector on rendered images, real photos or both."""
    tune_cpu()
    from synth.cli import background_folder, environment_folder
    from synth.config import load_synth_config
    from synth.generate.job import RenderJob
    from train.config import load_train_config, preset_path, with_changes
    from train.detect.predict import snapshot_folder
    from train.run.sources import TrainSources, load_run, object_categories

    device = chosen_device(device)
    recipe = load_train_config(preset_path(preset, device == "cuda"))
    recipe = with_changes(
        recipe,
        {
            "data": {"real_fraction": shares(real_fraction), "workers": workers},
            "schedule": fixed_schedule(steps, minutes),
            "seed": seed,
        },
        "command line",
    )
    online = None
    if ONLINE in synthetic:
        if len(synthetic) > 1:
            raise ConfigError("--synth: online stands alone, got other sets beside it")
        job_config = load_synth_config(config)
        photos, maps = background_folder(backgrounds), environment_folder(environments)
        online = RenderJob(objects[0], job_config, photos, recipe.seed, environments=maps)
    sources = TrainSources(
        () if online else tuple(map(Path, synthetic)),
        real,
        validation,
        numbers("--synth-weights", synth_weights) if synth_weights else (),
        online,
        out / "validation",
        init and snapshot_folder(init),
        objects[0] if len(objects) == 1 else None,
    )
    meta, data = load_run(recipe, *object_categories(objects), sources, real_fraction is not None)
    from train.run.engine import train

    result = train(meta, data, out, device, resume, sources.init)
    if os.environ.get("RANK", "0") == "0":
        click.echo(f"best snapshot: {result.best}, merit {result.score:.3f} on validation images")
        click.echo(f"curves: {out / 'curves.png'}, pictures: {out / 'progress.jpg'}")


def fixed_schedule(steps: int | None, minutes: float | None) -> dict[str, Any]:
    """What --steps and --minutes change: a run of a given length does not go on until it has learned."""
    given = steps is not None or minutes is not None
    return {"max_steps": steps, "max_minutes": minutes, "until_learned": False if given else None}


def shares(text: str | None) -> float | tuple[float, ...] | None:
    """`0.2` or `0,0.2,0.5` as --real-fraction takes it."""
    if text is None:
        return None
    values = numbers("--real-fraction", text)
    return values[0] if len(values) == 1 else values


def numbers(option: str, text: str) -> tuple[float, ...]:
    try:
        values = tuple(float(word) for word in text.split(","))
    except ValueError:
        values = (math.nan,)
    if not all(map(math.isfinite, values)):
        raise ConfigError(f"{option}: {text!r}, expected numbers separated by commas")
    return values


@click.command(
    "eval",
    epilog=example(
        "meshmark eval runs/my_part/train --real test-photos/",
        "--out runs/my_part/eval",
    ),
)
@click.argument("weights", type=existing)
@click.option("--real", type=existing, required=True, help="Labelled photos: COCO file or a folder.")
@click.option(
    "--object", "objects", multiple=True, help="To find, repeatable; by default all of the weights."
)
@click.option("--out", type=existing, required=True, help="Folder for eval.json and sheets.")
@smallest_object
@click.option("--device", help="cpu, cuda; by default cuda where there is one.")
def eval_command(
    weights: Path,
    real: Path,
    objects: tuple[str, ...],
    out: Path,
    smallest_px: int | None,
    device: str | None,
) -> None:
    """Measure a trained detector (a run's folder or a snapshot) on labelled photos."""
    tune_cpu()
    from rich.console import Console

    from train.detect.predict import InferenceSettings
    from train.run.sources import object_categories
    from train.score.evaluate import evaluate_photos, print_table

    categories, _ = object_categories(objects)
    object_ = objects[0] if len(objects) == 1 else None
    settings = InferenceSettings(smallest_px=smallest_px)
    result = evaluate_photos(weights, real, out, categories, chosen_device(device), object_, settings)
    print_table(result, Console())
    click.echo(f"results: {out / 'report.html'}, {out / 'eval.json'}, {out / 'predictions.jpg'}")


@click.command("compare", epilog=example("meshmark compare runs/my_part/eval runs/other/eval"))
@click.argument("a", type=existing)
@click.argument("b", type=existing)
@click.option("--out", type=existing, help="JSON file for the comparison.")
def compare_command(a: Path, b: Path, out: Path | None) -> None:
    """Two evaluations (folders of `meshmark eval`) of the same photos: which is better, and is it chance?"""
    import json

    from rich.console import Console

    from synth.system.files import write_text
    from train.score.compare import compare, print_comparison

    result = compare(a, b)
    print_comparison(result, Console())
    if out is not None:
        write_text(out, json.dumps(result, indent=1))


@click.command(
    "sweep",
    epilog=example(
        "meshmark sweep --object my_part --synth runs/my_part/synth",
        "--real photos/ --test test-photos/ --out runs/my_part/sweep",
    ),
)
@click.option("--object", "object_", required=True, help="Name in assets/ or a path to an object's folder.")
@click.option("--synth", type=existing, required=True, help="Rendered data set.")
@click.option("--real", type=existing, required=True, help="Labelled photos to train on.")
@click.option("--test", type=existing, required=True, help="Labelled photos to be scored on.")
@click.option("--out", type=existing, required=True, help="Folder for the runs, the table and the figure.")
@click.option("--counts", help="Numbers of labelled photos; by default 0,5,10,25 as far as there are, all.")
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True, help="Runs of each cell.")
@click.option("--real-fraction", type=float, help="Share of real images in every mixed batch, 0 to 1.")
@click.option("--preset", default="auto", show_default=True, help="auto, cpu, gpu or a YAML file.")
@click.option("--steps", type=int, help="Steps of every run.")
@click.option("--device", help="cpu, cuda; by default cuda where there is one.")
def sweep_command(
    object_: str,
    synth: Path,
    real: Path,
    test: Path,
    out: Path,
    counts: str | None,
    seeds: int,
    real_fraction: float | None,
    preset: str,
    steps: int | None,
    device: str | None,
) -> None:
    """Learning curve: few to many labelled photos, with rendered images and without; goes on when cut off."""
    tune_cpu()
    from rich.console import Console

    from synth.dataset.coco import object_category
    from train.config import load_train_config, preset_path, with_changes
    from train.run.sweep import SweepSources, print_sweep, sweep

    device = chosen_device(device)
    config = with_changes(
        load_train_config(preset_path(preset, device == "cuda")),
        {
            "data": {"real_fraction": real_fraction},
            "schedule": {"max_steps": steps, "until_learned": False},
        },
        "command line",
    )
    category = object_category(object_)[0]
    sources = SweepSources(synth, real, test)
    print_sweep(sweep(config, category, sources, counts, seeds, out, device), Console())
    click.echo(f"results: {out / 'sweep.png'}, {out / 'sweep.md'}, {out / 'sweep.json'}")


training_commands = (train_command, eval_command, compare_command, sweep_command)

"""The `meshmark` command: train and eval here, the rest from synth. torch is imported late."""

import importlib.util
import logging
import sys
from pathlib import Path
from typing import Any, Literal

import click

from synth.errors import ConfigError, UserError
from train.cpu import tune_cpu

INTERRUPTED = 130
ONLINE = "online"
USER_ERROR = 2


class Meshmark(click.Group):
    """Turns errors a user can mend into one line on stderr and exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except UserError as error:
            message = str(error).strip().splitlines()[-1]
            click.echo(f"error: {message}", err=True)
            ctx.exit(USER_ERROR)
        except KeyboardInterrupt:
            click.echo("interrupted; run the same command again (training: with --resume) to go on", err=True)
            ctx.exit(INTERRUPTED)


class Echo(logging.Handler):
    """What the library logs, on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(record.getMessage(), err=True)


@click.group(cls=Meshmark, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """From a mesh with named keypoints to a keypoint detector that works on real photos."""
    log = logging.getLogger("train")
    if not log.handlers:
        log.setLevel(logging.INFO)
        log.addHandler(Echo())


existing = click.Path(path_type=Path)


@main.command("train")
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
@click.option("--real", type=existing, help="Labelled photos: a COCO file, or a folder with one JSON each.")
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
    import torch

    from synth.cli import background_folder, environment_folder
    from synth.config import load_config as load_render_config
    from synth.generate import RenderJob
    from train.config import load_config, preset_path, with_changes
    from train.predict import snapshot_folder
    from train.setup import Sources, load_run, object_categories

    device = chosen_device(device)
    recipe = load_config(preset_path(preset, torch.cuda.is_available()))
    recipe = with_changes(
        recipe,
        {
            "data": {"real_fraction": shares(real_fraction), "workers": workers},
            "schedule": {"max_steps": steps, "max_minutes": minutes},
            "seed": seed,
        },
        "command line",
    )
    online = None
    if ONLINE in synthetic:
        if len(synthetic) > 1:
            raise ConfigError("--synth: online stands alone, got other sets beside it")
        job_config = load_render_config(config)
        photos, maps = background_folder(backgrounds), environment_folder(environments)
        online = RenderJob(objects[0], job_config, photos, recipe.seed, environments=maps)
    sources = Sources(
        () if online else tuple(map(Path, synthetic)),
        real,
        validation,
        numbers("--synth-weights", synth_weights) if synth_weights else (),
        online,
        out / "validation",
        init and snapshot_folder(init),
    )
    recipe, data, meta = load_run(recipe, *object_categories(objects), sources, real_fraction is not None)
    from train.engine import train

    result = train(recipe, data, meta, out, device, resume, sources.init)
    click.echo(f"best snapshot: {result.best}, validation keypoint AP {result.score:.3f}")
    click.echo(f"curves: {out / 'curves.png'}")


def shares(text: str | None) -> float | tuple[float, ...] | None:
    """`0.2` or `0,0.2,0.5` as --real-fraction takes it."""
    if text is None:
        return None
    values = numbers("--real-fraction", text)
    return values[0] if len(values) == 1 else values


def numbers(option: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError as error:
        raise ConfigError(f"{option}: {text!r}, expected numbers separated by commas") from error


@main.command("eval")
@click.argument("weights", type=existing)
@click.option("--real", type=existing, required=True, help="Labelled photos: COCO file or a folder.")
@click.option(
    "--object", "objects", multiple=True, help="To find, repeatable; by default all of the weights."
)
@click.option("--out", type=existing, required=True, help="Folder for eval.json and sheets.")
@click.option("--device", help="cpu, cuda; by default cuda where there is one.")
def eval_command(weights: Path, real: Path, objects: tuple[str, ...], out: Path, device: str | None) -> None:
    """Measure a trained detector (a run's folder or a snapshot) on labelled photos."""
    tune_cpu()
    from rich.console import Console

    from train.evaluate import evaluate_photos, print_table
    from train.setup import object_categories

    categories, _ = object_categories(objects)
    result = evaluate_photos(weights, real, out, categories, chosen_device(device))
    print_table(result, Console())
    click.echo(f"results: {out / 'report.html'}, {out / 'eval.json'}, {out / 'predictions.jpg'}")


@main.command("compare")
@click.argument("a", type=existing)
@click.argument("b", type=existing)
@click.option("--out", type=existing, help="JSON file for the comparison.")
def compare_command(a: Path, b: Path, out: Path | None) -> None:
    """Two evaluations (folders of `meshmark eval`) of the same photos: which is better, and is it chance?"""
    import json

    from rich.console import Console

    from synth.files import write_text
    from train.compare import compare, print_comparison

    result = compare(a, b)
    print_comparison(result, Console())
    if out is not None:
        write_text(out, json.dumps(result, indent=1))


@main.command("sweep")
@click.option("--object", "object_", required=True, help="Name in assets/ or a path to an object's folder.")
@click.option("--synth", type=existing, required=True, help="Rendered data set.")
@click.option("--real", type=existing, required=True, help="Labelled photos to train on.")
@click.option("--test", type=existing, required=True, help="Labelled photos to be scored on.")
@click.option("--out", type=existing, required=True, help="Folder for the runs, the table and the figure.")
@click.option("--counts", default="0,5,10,25,all", show_default=True, help="Numbers of labelled photos.")
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
    counts: str,
    seeds: int,
    real_fraction: float | None,
    preset: str,
    steps: int | None,
    device: str | None,
) -> None:
    """Learning curve: few to many labelled photos, with rendered images and without; goes on when cut off."""
    tune_cpu()
    import torch
    from rich.console import Console

    from train.config import load_config, preset_path, with_changes
    from train.setup import object_category
    from train.sweep import Sources, print_sweep, sweep

    config = with_changes(
        load_config(preset_path(preset, torch.cuda.is_available())),
        {"data": {"real_fraction": real_fraction}, "schedule": {"max_steps": steps}},
        "command line",
    )
    category = object_category(object_)[0]
    sources = Sources(synth, real, test)
    print_sweep(sweep(config, category, sources, counts, seeds, out, chosen_device(device)), Console())
    click.echo(f"results: {out / 'sweep.png'}, {out / 'sweep.md'}, {out / 'sweep.json'}")


@main.command("predict")
@click.argument("weights", type=existing)
@click.argument("inputs", nargs=-1, required=True)
@click.option("--out", type=existing, required=True, help="Folder for predictions and overlays.")
@click.option("--score", type=float, default=0.5, show_default=True, help="Least score of a detection.")
@click.option("--keypoint-score", type=float, default=0.1, show_default=True, help="Least, of a keypoint.")
@click.option("--nms", type=float, help="IoU above which the weaker of two boxes goes.")
@click.option("--detections", type=int, help="Objects in a picture at most.")
@click.option("--size", type=int, help="Longer side, in px, to which pictures are scaled.")
@click.option("--frames", type=click.IntRange(1), help="Pictures of a video or camera at most.")
@click.option("--overlays/--no-overlays", default=True, show_default=True)
@click.option("--device", help="cpu, cuda; by default cuda where there is one.")
def predict_command(
    weights: Path,
    inputs: tuple[str, ...],
    out: Path,
    score: float,
    keypoint_score: float,
    nms: float | None,
    detections: int | None,
    size: int | None,
    frames: int | None,
    overlays: bool,
    device: str | None,
) -> None:
    """Find objects in images, folders, globs, videos or a camera (its number)."""
    tune_cpu()
    from train.inputs import find_inputs
    from train.predict import Detector, Settings
    from train.predict_files import predict_files

    settings = Settings(score, nms, detections, size)
    photos, films = find_inputs(inputs)
    detector = Detector.load(weights, chosen_device(device), settings)
    summary = predict_files(detector, photos, films, out, keypoint_score, frames, overlays)
    click.echo(f"{summary.objects} objects in {summary.pictures} pictures: {out}")
    for reason in summary.failed.values():
        click.echo(f"left out: {reason}", err=True)
    if summary.failed:
        click.echo(f"{len(summary.failed)} of the files given could not be read", err=True)
        sys.exit(1)


@main.command("label-helper")
@click.argument("weights", type=existing)
@click.argument("inputs", nargs=-1, required=True)
@click.option("--out", type=existing, required=True, help="New folder for photos and labels.")
@click.option(
    "--score", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="Least score of a detection."
)
@click.option("--keypoint-score", type=float, default=0.1, show_default=True, help="Least, of a visible one.")
@click.option("--device", help="cpu, cuda; by default cuda where there is one.")
def label_helper_command(
    weights: Path, inputs: tuple[str, ...], out: Path, score: float, keypoint_score: float, device: str | None
) -> None:
    """First labels for unlabelled photos, to correct in CVAT or Label Studio: least certain photos first."""
    tune_cpu()
    from train.inputs import find_inputs
    from train.label_helper import COCO_FILE, WEAKEST, label_helper
    from train.predict import Detector, Settings

    photos, films = find_inputs(inputs)
    if films:
        raise ConfigError(f"{films[0].source}: labels are for photos, not for films")
    detector = Detector.load(weights, chosen_device(device), Settings(score=min(score, WEAKEST)))
    summary = label_helper(detector, photos, out, score, keypoint_score)
    click.echo(f"{summary.objects} objects in {summary.photos} photos: {out / COCO_FILE}")
    for reason in summary.failed.values():
        click.echo(f"left out: {reason}", err=True)
    if summary.failed:
        sys.exit(1)


@main.command("export")
@click.argument("weights", type=existing)
@click.option("--format", "file_format", type=click.Choice(["onnx", "torchscript"]), default="onnx")
@click.option("--out", type=existing, required=True, help="File to write.")
@click.option("--int8", type=existing, help="Also write OUT.int8.onnx, its ranges from this labelled folder.")
@click.option("--int8-images", type=click.IntRange(1), default=100, show_default=True)
@click.option("--score", type=float, help="Least score of a detection; by default that of the training.")
@click.option("--nms", type=float, help="IoU above which the weaker of two boxes goes.")
@click.option("--detections", type=int, help="Objects in a picture at most.")
@click.option("--size", type=int, help="Longer side, in px, to which pictures are scaled.")
def export_command(
    weights: Path,
    file_format: Literal["onnx", "torchscript"],
    out: Path,
    int8: Path | None,
    int8_images: int,
    score: float | None,
    nms: float | None,
    detections: int | None,
    size: int | None,
) -> None:
    """One file that finds objects without this project: ONNX (read by train/runtime.py) or TorchScript."""
    tune_cpu()
    from train.checkpoint import read_meta
    from train.datasets import read_samples
    from train.export import export, quantize
    from train.predict import Settings, snapshot_folder

    if int8 is not None and file_format != "onnx":
        raise ConfigError("--int8: 8-bit files are ONNX, expected --format onnx")
    meta = read_meta(snapshot_folder(weights))
    samples = read_samples(int8, *meta.categories)[:int8_images] if int8 is not None else ()
    export(weights, out, file_format, Settings(score, nms, detections, size))
    click.echo(f"{out}: {out.stat().st_size / 1e6:.1f} MB")
    if int8 is not None:
        small = out.with_suffix(".int8.onnx")
        quantize(out, small, samples, size or meta.config.model.long_side_px)
        click.echo(f"{small}: {small.stat().st_size / 1e6:.1f} MB")


@main.command("pose")
@click.argument("weights", type=existing)
@click.argument("inputs", nargs=-1, required=True)
@click.option("--object", "object_", required=True, help="Name in assets/ or a path to an object's folder.")
@click.option("--camera", type=existing, help="Calibration file as OpenCV or ROS writes it.")
@click.option("--fov-deg", type=click.FloatRange(1, 170), help="Field of view along the longer side.")
@click.option("--out", type=existing, required=True, help="Folder for poses.jsonl and overlays.")
@click.option("--score", type=float, default=0.5, show_default=True, help="Least score of a detection.")
@click.option("--device", help="cpu, cuda; by default cuda where there is one.")
def pose_command(
    weights: Path,
    inputs: tuple[str, ...],
    object_: str,
    camera: Path | None,
    fov_deg: float | None,
    out: Path,
    score: float,
    device: str | None,
) -> None:
    """Where objects are, seen from the camera: metres, from keypoints and intrinsics."""
    tune_cpu()
    from train.inputs import find_inputs
    from train.pose_files import POSES, pose_files
    from train.predict import Detector, Settings

    photos, films = find_inputs(inputs)
    if films:
        raise ConfigError(f"{films[0].source}: poses are found in images, not in films")
    detector = Detector.load(weights, chosen_device(device), Settings(score=score))
    count, failed = pose_files(detector, object_, photos, out, camera, fov_deg)
    click.echo(f"{count} poses in {len(photos) - len(failed)} pictures: {out / POSES}")
    for reason in failed.values():
        click.echo(f"left out: {reason}", err=True)
    if failed:
        sys.exit(1)


@main.command("eval-pose")
@click.argument("weights", type=existing)
@click.option("--synth", type=existing, required=True, help="Folder that `meshmark render` made.")
@click.option("--object", "object_", required=True, help="Name in assets/ or a path to an object's folder.")
@click.option("--out", type=existing, required=True, help="Folder for poses.json.")
@click.option("--count", type=click.IntRange(1), default=200, show_default=True, help="Images at most.")
@click.option("--device", help="cpu, cuda; by default cuda where there is one.")
def eval_pose_command(
    weights: Path, synth: Path, object_: str, out: Path, count: int, device: str | None
) -> None:
    """Measure poses on rendered images, whose true poses are known."""
    tune_cpu()
    from train.pose_eval import evaluate_poses

    result = evaluate_poses(weights, synth, object_, out, count, chosen_device(device))
    counts = f"{result['n_objects']} objects, {result['n_found']} found, {result['n_posed']} posed"
    click.echo(f"{counts}; ADD within a tenth of the size: {result['add_within_a_tenth']:.3f}")
    for which in ("median", "p90"):
        if result[which]:
            m = result[which]
            click.echo(
                f"{which}: {m['rotation_deg']:.2f} deg, {1000 * m['translation_m']:.1f} mm "
                f"({100 * m['translation_share']:.2f} % of the distance), "
                f"ADD {100 * m['add_share']:.2f} %, ADD-S {100 * m['add_s_share']:.2f} % of the size"
            )
    click.echo(f"results: {out / 'poses.json'}")


@main.command("doctor")
def doctor_command() -> None:
    """Say what works on this machine and what is missing; exit code 2 when something is."""
    from rich.console import Console

    from synth.doctor import check_system, print_checks
    from train.doctor import check_training

    sound = print_checks(check_system() + check_training(), Console(soft_wrap=True))
    raise SystemExit(0 if sound else USER_ERROR)


@main.command("demo")
@click.option("--out", type=existing, default=Path("runs/demo"), show_default=True)
@click.option("--workers", type=click.IntRange(0), default=0, help="Render processes; 0 = one per core.")
@click.option("--device", help="cpu, cuda; by default cuda where there is one.")
def demo_command(out: Path, workers: int, device: str | None) -> None:
    """The chessboard from its mesh to a score on real photos."""
    tune_cpu()
    import os

    from rich.console import Console

    from train.demo import run_demo

    run_demo(out, workers or os.cpu_count() or 1, chosen_device(device), Console())


def chosen_device(name: str | None) -> str:
    import torch

    has_cuda = torch.cuda.is_available()
    if name is None:
        return "cuda" if has_cuda else "cpu"
    if name not in ("cpu", "cuda"):
        raise ConfigError(f"--device: {name!r}, expected cpu or cuda")
    if name == "cuda" and not has_cuda:
        raise ConfigError("--device: cuda asked for, but torch finds no CUDA device")
    return name


if importlib.util.find_spec("synth.cli") is not None:
    from synth.cli import synth_commands

    for command in synth_commands:
        main.add_command(command)


if __name__ == "__main__":
    sys.exit(main())
